package dataset

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"atoll/internal/core"
	"atoll/internal/fed"
	"atoll/internal/identity"
	"atoll/internal/privacy"
	"atoll/internal/secagg"
)

const schema = `{"fields":[{"name":"id","type":"integer"},{"name":"x","type":"number"},{"name":"y","type":"string"}],"primaryKey":["id"]}`

func plan(t *testing.T, sites int, more string) *fed.Plan {
	t.Helper()
	s, err := fed.Parse(fmt.Appendf(nil, `{"name":"f","dataset":"rows","purpose":"health","schema":%s,"features":{"inputs":[{"column":"x","as":"number"}],"label":{"column":"y","classes":["a","b"]}},
		"model":{"kind":"logistic"},"rounds":10,"train":{"epochs":1,"batch":8,"rate":0.5}%s}`, schema, more))
	if err != nil {
		t.Fatal(err)
	}
	p, err := fed.NewPlan(s, sites)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func file(t *testing.T, rows string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "rows.csv")
	if err := os.WriteFile(path, []byte(rows), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func rows(n int) string {
	var b strings.Builder
	b.WriteString("id,x,y\n")
	for i := range n {
		fmt.Fprintf(&b, "%d,%d.5,%s\n", i, i%7, []string{"a", "b"}[i%2])
	}
	return b.String()
}

// Datasets are added whole or not at all, and found again.
func TestStore(t *testing.T) {
	t.Parallel()
	s := Store(filepath.Join(t.TempDir(), "datasets"))
	if all, err := s.List(); err != nil || len(all) != 0 {
		t.Fatalf("%v, %v", all, err)
	}
	d, err := s.Add("rows", file(t, rows(100)), []byte(schema), Policy{Purposes: []string{"health"}}, time.Unix(1, 0).UTC())
	if err != nil || d.Rows != 100 {
		t.Fatalf("%+v, %v", d, err)
	}
	loaded, err := d.Load(plan(t, 4, ""))
	if err != nil || loaded.Train.Len()+loaded.Held.Len() != 100 || loaded.Held.Len() < 5 {
		t.Fatalf("%+v, %v", loaded, err)
	}
	for name, try := range map[string]func() error{
		"a bad row": func() error {
			_, err := s.Add("bad", file(t, "id,x,y\n1,secret,a\n"), []byte(schema), Policy{}, time.Now())
			return err
		},
		"no rows": func() error {
			_, err := s.Add("bad", file(t, "id,x,y\n"), []byte(schema), Policy{}, time.Now())
			return err
		},
		"no file": func() error { _, err := s.Add("bad", "nowhere.csv", []byte(schema), Policy{}, time.Now()); return err },
		"no schema": func() error {
			_, err := s.Add("bad", file(t, rows(3)), []byte("{}"), Policy{}, time.Now())
			return err
		},
		"a name that leaves the directory": func() error {
			_, err := s.Add("../bad", file(t, rows(3)), []byte(schema), Policy{}, time.Now())
			return err
		},
		"a limit of 0": func() error {
			_, err := s.Add("bad", file(t, rows(3)), []byte(schema), Policy{Limit: &privacy.Limit{Unit: privacy.Record, Delta: 1e-6}}, time.Now())
			return err
		},
		"none of that name": func() error { return s.Remove("other") },
	} {
		err := try()
		if err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if all, err := s.List(); err != nil || len(all) != 1 || all[0].Schema != d.Schema {
		t.Errorf("%v, %v", all, err)
	}
	if err := s.Remove("rows"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get("rows"); core.KindOf(err) != core.NotFound {
		t.Error(err)
	}
}

// What the owner does not allow is refused, with the reason.
func TestPolicy(t *testing.T) {
	t.Parallel()
	record := &privacy.Limit{Unit: privacy.Record, Epsilon: 4, Delta: 1e-6}
	customer := &privacy.Limit{Unit: privacy.Customer, Epsilon: 4, Delta: 1e-6}
	const private = `,"privacy":{"unit":"record","epsilon":2,"delta":1e-6,"steps":2,"sample":0.1,"clip":1}`
	for _, tt := range []struct {
		name, more, refused string
		policy              Policy
	}{
		{name: "any"},
		{name: "purpose", policy: Policy{Purposes: []string{"health", "care"}}},
		{name: "another purpose", policy: Policy{Purposes: []string{"care"}}, refused: "purpose"},
		{name: "without masks", more: `,"secure":{"off":true}`, refused: "masked"},
		{name: "without masks, which is allowed", more: `,"secure":{"off":true}`, policy: Policy{Unmasked: true}},
		{name: "too few sites", policy: Policy{Sites: 5}, refused: "must be of 5"},
		{name: "enough sites", policy: Policy{Sites: 5}, more: `,"sites":{"least":5}`},
		{name: "no bound", policy: Policy{Limit: record}, refused: "the federation does not"},
		{name: "a bound", policy: Policy{Limit: record}, more: private},
		{name: "a weaker unit", policy: Policy{Limit: customer}, more: private, refused: "of a customer, and the federation of a record"},
	} {
		p := plan(t, 5, tt.more)
		err := tt.policy.Allows(p)
		if (err == nil) != (tt.refused == "") || err != nil && (core.KindOf(err) != core.Forbidden || !strings.Contains(err.Error(), tt.refused)) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

// A table that means something else is refused, with what differs.
func TestOtherSchema(t *testing.T) {
	t.Parallel()
	s := Store(t.TempDir())
	other := strings.Replace(schema, `"x","type":"number"`, `"x","type":"integer"`, 1)
	d, err := s.Add("rows", file(t, "id,x,y\n1,2,a\n"), []byte(other), Policy{}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Load(plan(t, 4, "")); core.KindOf(err) != core.Mismatch || !strings.Contains(err.Error(), "x") {
		t.Error(err)
	}
}

// A budget outlives the process, counts all federations together, takes no charge twice and
// never more than it has.
func TestLedger(t *testing.T) {
	t.Parallel()
	s := Store(t.TempDir())
	limit := &privacy.Limit{Unit: privacy.Record, Epsilon: 1.2, Delta: 1e-6}
	d, err := s.Add("rows", file(t, rows(50)), []byte(schema), Policy{Limit: limit}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	p := plan(t, 4, `,"privacy":{"unit":"record","epsilon":1,"delta":1e-6,"steps":2,"sample":0.1,"clip":1}`)
	room, err := s.Room(d, p)
	if err != nil || room != 10 {
		t.Fatalf("room for %d rounds, %v", room, err)
	}
	charge := func(federation string, round int) privacy.Charge {
		return privacy.Charge{ID: fmt.Sprint(federation, round), Federation: federation, Round: round, Unit: privacy.Record, Cost: p.PerRound.Cost()}
	}
	var spent int
	for life := range 40 {
		l, err := s.Ledger(d)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Ledger(d); err == nil {
			t.Fatal("two have it open")
		}
		c := charge([]string{"one", "two"}[life%2], life)
		if err = l.Spend(c); err == nil {
			spent++
			err = l.Spend(c) // it came twice
		}
		if err != nil && core.KindOf(err) != core.Insufficient {
			t.Fatal(err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	epsilon, rounds, err := s.Spent("rows")
	if err != nil || epsilon > limit.Epsilon || epsilon < 0.8*limit.Epsilon || rounds != spent || spent < 10 || spent > 20 {
		t.Errorf("ε %g in %d rounds of %d, %v", epsilon, rounds, spent, err)
	}
	if err := s.Remove("rows"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Add("rows", file(t, rows(50)), []byte(schema), Policy{}, time.Now()); core.KindOf(err) != core.Conflict {
		t.Errorf("its limit is gone: %v", err)
	}
	if _, err := s.Add("rows", file(t, rows(50)), []byte(schema), Policy{Limit: limit}, time.Now()); err != nil {
		t.Error(err)
	}
	if room, err := s.Room(d, p); err != nil || room != 0 {
		t.Errorf("room for %d rounds, %v", room, err)
	}
}

// An owner names whom its rows are learnt from together with, by their keys: a hub that
// enters others under the same names is refused.
func TestAdmits(t *testing.T) {
	t.Parallel()
	var members []secagg.Member
	var named []Member
	for _, name := range []string{"own", "north", "south"} {
		k, err := identity.Generate()
		if err != nil {
			t.Fatal(err)
		}
		members = append(members, secagg.Member{Name: name, Key: k.Public()})
		named = append(named, Member{Name: name, Key: k.Public().Digest()})
	}
	other, err := identity.Generate()
	if err != nil {
		t.Fatal(err)
	}
	swapped := slices.Clone(members)
	swapped[2].Key = other.Public()
	for name, c := range map[string]struct {
		policy  Policy
		members []secagg.Member
		want    string
	}{
		"nobody is named": {Policy{}, members, "north=sha256:"},
		"all are":         {Policy{Members: named[1:]}, members, ""},
		"one is not":      {Policy{Members: named[1:2]}, members, "south=sha256:"},
		"another key":     {Policy{Members: named[1:]}, swapped, "south=" + other.Public().Digest().String()},
		"anybody":         {Policy{AnyMember: true}, swapped, ""},
	} {
		err := c.policy.Admits(c.members, "own")
		if (err == nil) != (c.want == "") || err != nil && (core.KindOf(err) != core.Forbidden || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := (&Policy{Residency: []string{"EU"}}).MayStay("US"); core.KindOf(err) != core.Forbidden {
		t.Errorf("EU alone, in the US: %v", err)
	}
	if err := (&Policy{Residency: []string{"EU"}}).MayStay("FR"); err != nil {
		t.Error(err)
	}
}
