package table_test

import (
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"

	"atoll/internal/learn/text"
	"atoll/internal/table"
)

const visits = `{"fields": [{"name": "id", "type": "integer"}, {"name": "customer", "type": "string"}, {"name": "day", "type": "date"}, {"name": "label", "type": "integer"}], "primaryKey": "id"}`

// visitsFile has n rows of 50 customers, 7 days and 3 labels.
func visitsFile(n int) string {
	var b strings.Builder
	b.WriteString("id,customer,day,label\n")
	for i := range n {
		fmt.Fprintf(&b, "%d,c%d,2026-01-%02d,%d\n", i, i*i%50, 1+i%7, i%3)
	}
	return b.String()
}

func readVisits(t testing.TB, n int) (*table.Schema, iter.Seq2[table.Row, error]) {
	r := resource(t, visits)
	return r.Schema, r.ReadCSV("visits", strings.NewReader(visitsFile(n)))
}

func TestHoldout(t *testing.T) {
	t.Parallel()
	const n = 2000
	held := func(h table.Holdout) (out []bool) {
		s, rows := readVisits(t, n)
		rule, err := h.Rule(s)
		if err != nil {
			t.Fatal(err)
		}
		for row, err := range rows {
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, rule(row))
		}
		return out
	}
	count := func(x []bool) (n int) {
		for _, h := range x {
			if h {
				n++
			}
		}
		return n
	}
	byKey := held(table.Holdout{Share: 200_000})
	if c := count(byKey); c < 300 || c > 500 || !slices.Equal(byKey, held(table.Holdout{Share: 200_000, Columns: []string{"id"}})) {
		t.Errorf("%d of %d rows held out, want a fifth", c, n)
	}
	if slices.Equal(byKey, held(table.Holdout{Share: 200_000, Key: "other"})) {
		t.Error("another key draws the same rows")
	}
	of := make(map[int]bool)
	for i, h := range held(table.Holdout{Share: 200_000, Columns: []string{"customer"}}) {
		c := i * i % 50
		if was, ok := of[c]; ok && was != h {
			t.Fatalf("customer %d has rows on both sides", c)
		}
		of[c] = h
	}
	for i, h := range held(table.Holdout{Date: "day", From: "2026-01-06"}) {
		if h != (i%7 >= 5) {
			t.Fatalf("row %d of day %d: held out is %t", i, 1+i%7, h)
		}
	}
	if c := count(held(table.Holdout{})); c != 0 {
		t.Errorf("%d rows held out without being asked", c)
	}
	for _, h := range []table.Holdout{
		{Share: -1}, {Share: 1_000_000}, {Share: 1, Columns: []string{"x"}}, {Date: "customer", From: "2026-01-01"}, {Date: "day"}, {Date: "day", From: "6.1.2026"},
		{Date: "day", From: "2026-01-06", Share: text.PPM(5)}, {From: "2026-01-06"},
	} {
		s, _ := readVisits(t, 0)
		if _, err := h.Rule(s); !errors.Is(err, table.ErrSplit) {
			t.Errorf("%+v: %v", h, err)
		}
	}
}

func TestPartition(t *testing.T) {
	t.Parallel()
	const n = 3000
	assign := func(p table.Partition) []int32 {
		s, rows := readVisits(t, n)
		sites, err := p.Assign(s, rows)
		if err != nil || len(sites) != n {
			t.Fatalf("%+v: %d rows, %v", p, len(sites), err)
		}
		return sites
	}
	// perLabel counts the rows of each site and label.
	perLabel := func(sites []int32, of int) [][3]int {
		out := make([][3]int, of)
		for i, s := range sites {
			out[s][i%3]++
		}
		return out
	}
	even := assign(table.Partition{Sites: 4, Seed: 1})
	for s, c := range perLabel(even, 4) {
		if c[0]+c[1]+c[2] != n/4 || min(c[0], c[1], c[2]) < 200 {
			t.Errorf("site %d has %v rows of the labels", s, c)
		}
	}
	if slices.Equal(even, assign(table.Partition{Sites: 4, Seed: 2})) || !slices.Equal(even, assign(table.Partition{Sites: 4, Seed: 1})) {
		t.Error("the seed does not decide")
	}
	of := make(map[int]int32)
	load := make([]int, 4)
	for i, s := range assign(table.Partition{Sites: 4, Column: "customer"}) {
		c := i * i % 50
		if was, ok := of[c]; ok && was != s {
			t.Fatalf("customer %d is at two sites", c)
		}
		of[c] = s
		load[s]++
	}
	if slices.Max(load) > 2*slices.Min(load) {
		t.Errorf("the sites have %v rows", load)
	}
	// Skew is how much of a site its most frequent label is, on average.
	skew := func(alpha float64) (sum float64) {
		for _, c := range perLabel(assign(table.Partition{Sites: 5, Column: "label", Alpha: alpha, Seed: 6}), 5) {
			sum += float64(max(c[0], c[1], c[2])) / float64(c[0]+c[1]+c[2]) / 5
		}
		return sum
	}
	if hard, soft := skew(0.3), skew(1000); hard < 0.55 || soft > 0.40 {
		t.Errorf("the most frequent label is %.2f of a site with alpha 0.3, %.2f with 1000", hard, soft)
	}
	for _, p := range []table.Partition{{}, {Sites: 2, Column: "x"}, {Sites: 2, Alpha: 1}, {Sites: 2, Column: "label", Alpha: -1}, {Sites: 4, Column: "label"}} {
		s, rows := readVisits(t, n)
		if _, err := p.Assign(s, rows); !errors.Is(err, table.ErrSplit) {
			t.Errorf("%+v: %v", p, err)
		}
	}
	s, rows := readVisits(t, 3)
	if _, err := (table.Partition{Sites: 4}).Assign(s, rows); err == nil || !strings.Contains(err.Error(), "of 4 gets no rows of 3") {
		t.Errorf("three rows for four sites: %v", err)
	}
}
