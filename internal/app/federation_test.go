package app

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"atoll/api"
	"atoll/client"
	"atoll/examples/federation"
	"atoll/internal/core"
	fedclient "atoll/internal/fed/client"
	"atoll/internal/fed/dataset"
	"atoll/internal/learn/model"
	"atoll/internal/receipt"
	"atoll/internal/tlog"
)

func example(t *testing.T, name string) []byte {
	t.Helper()
	b, err := federation.Files.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// addLoans gives each node a share of the example's rows.
func addLoans(t *testing.T, n *Network, p dataset.Policy, nodes ...string) {
	t.Helper()
	lines := strings.SplitAfter(string(example(t, "loans.csv")), "\n")
	for i, name := range nodes {
		var b strings.Builder
		b.WriteString(lines[0])
		for j, line := range lines[1:] {
			if j%len(nodes) == i {
				b.WriteString(line)
			}
		}
		path := filepath.Join(t.TempDir(), "loans.csv")
		if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := fedclient.Datasets(n.Hub.path(filepath.Join("nodes", name))).Add("loans", path, example(t, "loans.schema.json"), p, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
}

// loansSpec is the example's specification, with other members.
func loansSpec(t *testing.T, more string) []byte {
	t.Helper()
	return fmt.Appendf(nil, `{"name":"loan-defaults","purpose":"credit-risk","dataset":"loans","schema":%s,
		"features":{"inputs":[{"column":"income","as":"number","mean":33,"deviation":18},{"column":"debt","as":"number","mean":22,"deviation":16}],"label":{"column":"defaulted","classes":["no","yes"]}},
		"model":{"kind":"logistic"},"train":{"epochs":1,"batch":32,"rate":0.1}%s}`, example(t, "loans.schema.json"), more)
}

// begin waits until all nodes offer their datasets, and starts.
func begin(t *testing.T, c *client.Client, spec []byte, sites int) api.Federation {
	t.Helper()
	for {
		r, err := c.FederationRoster(t.Context(), spec)
		if err != nil {
			t.Fatal(err)
		}
		if len(r.Sites) >= sites {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	f, err := c.BeginFederation(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func untilOver(t *testing.T, c *client.Client, id core.FederationID) api.Federation {
	t.Helper()
	for {
		f, err := c.Federation(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if f.State != api.FederationRunning {
			return f
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// Three nodes learn together over the network: each round leaves a receipt that chains to
// the one before, and the model says where it is from.
func TestFederation(t *testing.T) {
	t.Parallel()
	names := []string{"north", "south", "west"}
	n, c := startTest(t, spec(names[0], "ann", "FR", 0, ""), spec(names[1], "bob", "DE", 0, ""), spec(names[2], "cyd", "IT", 0, ""))
	addLoans(t, n, dataset.Policy{Purposes: []string{"credit-risk"}, AnyMember: true}, names...)
	f := begin(t, c, loansSpec(t, `,"rounds":3`), 3)
	f = untilOver(t, c, f.ID)
	if f.State != api.FederationDone || f.Last == nil || f.Last.Number != 4 || f.Last.Accuracy < 0.6 {
		t.Fatalf("%s: %s, %+v", f.State, f.Why, f.Last)
	}
	rounds, err := client.Collect(c.FederationRounds(t.Context(), f.ID))
	if err != nil {
		t.Fatal(err)
	}
	var before core.Digest
	for _, r := range rounds {
		bundle, err := c.FederationReceipt(t.Context(), f.ID, r.Number)
		for core.KindOf(err) == core.Unavailable || err != nil && strings.Contains(err.Error(), "checkpoint") {
			time.Sleep(20 * time.Millisecond)
			bundle, err = c.FederationReceipt(t.Context(), f.ID, r.Number)
		}
		if err != nil {
			t.Fatal(err)
		}
		rep, err := receipt.Check(bundle, receipt.Want{Logs: trusted(t, c), Type: receipt.RoundType, Result: r.Params})
		if err != nil {
			t.Fatal(err)
		}
		x := rep.Round
		if x == nil || x.Round != r.Number || len(x.Participants) != 3 || r.Number > 1 && x.Before != before || x.Run != f.Run || x.Spec != f.Spec {
			t.Errorf("round %d: %+v", r.Number, x)
		}
		before = x.After
	}
	file, err := c.FederationModel(t.Context(), f.ID)
	if err != nil {
		t.Fatal(err)
	}
	m, err := model.Load(file)
	if err != nil || !strings.Contains(string(m.About), f.Run.String()) {
		t.Errorf("%s, %v", m.About, err)
	}
	card, err := c.FederationCard(t.Context(), f.ID)
	if err != nil || !strings.Contains(string(card), "| south | `sha256:") || strings.Contains(string(card), "<no value>") {
		t.Errorf("%s\n%v", card, err)
	}
	t.Logf("%s", card)
}

func trusted(t *testing.T, c *client.Client) []tlog.Key {
	t.Helper()
	root, err := c.TrustedRoot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	keys, err := receipt.ParseTrustedRoot(root)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// A federation with a schedule runs again, over who is there then, and begins with the
// model that the run before has yielded; once it is stopped it runs no more.
func TestFederationSchedule(t *testing.T) {
	t.Parallel()
	names := []string{"north", "south", "west"}
	n, c := startTest(t, spec(names[0], "ann", "FR", 0, ""), spec(names[1], "bob", "DE", 0, ""), spec(names[2], "cyd", "IT", 0, ""))
	addLoans(t, n, dataset.Policy{AnyMember: true}, names...)
	f := begin(t, c, loansSpec(t, `,"rounds":1,"promote":{"by":"loss"},"schedule":{"every":"1s"}`), 3)
	first := untilOver(t, c, f.ID)
	for {
		all, err := client.Collect(c.Federations(t.Context()))
		if err != nil {
			t.Fatal(err)
		}
		if len(all) > 1 && all[0].State == api.FederationDone && all[0].Next != nil {
			second := all[0]
			if second.Run == first.Run || second.Last == nil || second.Last.Number != 2 {
				t.Errorf("%+v after %+v", second, first)
			}
			rounds, err := client.Collect(c.FederationRounds(t.Context(), second.ID))
			if err != nil {
				t.Fatal(err)
			}
			bundle, err := c.FederationReceipt(t.Context(), second.ID, rounds[0].Number)
			for err != nil && strings.Contains(err.Error(), "checkpoint") {
				bundle, err = c.FederationReceipt(t.Context(), second.ID, rounds[0].Number)
			}
			if err != nil {
				t.Fatal(err)
			}
			rep, err := receipt.Check(bundle, receipt.Want{Logs: trusted(t, c)})
			if err != nil || rep.Round.Before != first.Last.Params {
				t.Errorf("%v: the second run begins with %s, the first has come to %s", err, rep.Round.Before, first.Last.Params)
			}
			if f, err := c.StopFederation(t.Context(), second.ID); err != nil || f.Next != nil {
				t.Errorf("%+v, %v", f, err)
			}
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}
