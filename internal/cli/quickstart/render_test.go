package quickstart

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"atoll/internal/core"
	"atoll/internal/corpus"
)

var update = flag.Bool("update", false, "rewrite golden files")

func mark(ok bool) string {
	if ok {
		return "✓"
	}
	return "✗"
}

func good() *Result {
	const cent = core.Credit / 100
	return &Result{
		URL: "http://127.0.0.1:8420", Owners: 5, Task: 77, Model: "triage@1", State: "succeeded", Reason: "all 30 parts done",
		Requests: 600, Parts: 30, PartsDone: 30, Replicas: 3, Agree: 2, Residency: []string{"EU"}, Seconds: 4.21, TrainSeconds: 0.7,
		Cost: 248 * cent, Budget: 300 * cent, Refunded: 52 * cent, Accuracy: 0.9183, Majority: 0.1,
		Example: &Answer{Text: "card swallowed by ATM", Label: "card_lost", P: "0.9312", Reasons: []string{"swallowed", "by atm"}},
		Nodes: []NodeRow{
			{Node: "paris-1", Owner: "alice", Country: "FR", Price: 3 * cent, OK: 20, Paid: 60 * cent, ReliabilityFrom: 0.5, ReliabilityTo: 0.9545, State: "up"},
			{Node: "paris-2", Owner: "alice", Country: "FR", Price: 3 * cent, OK: 8, Moved: 4, Paid: 24 * cent, ReliabilityFrom: 0.5, ReliabilityTo: 0.75, State: "silent"},
			{Node: "bonn-1", Owner: "carol", Country: "DE", Price: 2 * cent, OK: 13, Bad: 9, Paid: 26 * cent, ReliabilityFrom: 0.5, ReliabilityTo: 0.5833, State: "up"},
			{Node: "rome-1", Owner: "bob", Country: "IT", Price: 125 * cent, OK: 1, Moved: 1, ReliabilityFrom: 0.5, ReliabilityTo: 1, State: "up"},
			{Node: "idle-1", Owner: "dave", Country: "FR", Price: 3 * cent, ReliabilityFrom: 0.5, ReliabilityTo: 0.5, NotChosen: "could have done it; others ranked better", State: "up"},
			{Node: "ohio-1", Owner: "erin", Country: "US", Price: cent, ReliabilityFrom: 0.5, ReliabilityTo: 0.5, NotChosen: "residency EU: the node is in US", State: "up"},
		},
		Story: &Story{
			Task: 78, Model: "coral@1", Prompt: "It was a fine morning, and the whole party", Tokens: 24, Seconds: 0.21, Cost: 9 * cent,
			Text: " were soon in the park, where Mr. Weston was to be seen at a distance, and very happy to be so", Writer: Hand{"paris-1", "alice"}, Checker: Hand{"rome-1", "bob"},
		},
		Together: &Together{
			Model: "coral3", Task: 79, Prompt: "It was a fine morning, and the whole party", Tokens: 160, Seconds: 0.31, Lost: "rome-1", Spare: "lyon-1",
			Stages: []Stage{{Hand{"paris-1", "alice"}, [2]int{0, 2}}, {Hand{"rome-1", "bob"}, [2]int{2, 3}}, {Hand{"bonn-1", "carol"}, [2]int{3, 4}}},
			Before: " were soon in the park, where Mr. Wes", After: "ton was to be seen at a distance", Alone: " were soon in the park, where Mr. Weston was to be seen at a distance",
		},
		Learnt: &Learnt{
			Rounds: 12, Seconds: 0.14, AUC: 0.8468, Pooled: 0.8542, Worst: 0.7804, Best: 0.8451, Left: "bank-4", Round: 2, Shown: "bank-1", Seen: "a5 c0 4c ba e6 dc 3c 4f",
			Set: 0.4991, Counted: 603, Rows: 603,
		},
		Receipts: 90, Verified: 90, Verdicts: 90, Judged: 90, Tampered: "result digest ≠ subject", OK: true,
		Checks: []Check{
			{Name: "charged_once", OK: true, Text: "no part charged twice"}, {Name: "books_balance", OK: true, Text: "debits = credits"},
			{Name: "residency_held", OK: true, Text: "no lease left the EU"}, {Name: "receipts_verify", OK: true, Text: "90/90 receipts verify offline"},
			{Name: "tampered_refused", OK: true, Text: "tampered copy refused: result digest ≠ subject"},
			{Name: "story_recomputed", OK: true, Text: "paris-1 drew these 24 tokens; rome-1 drew the same"},
			{Name: "text_survives", OK: true, Text: "rome-1 died in mid-sentence; lyon-1 went on, bit for bit"},
			{Name: "rows_stay", OK: true, Text: "each bank's update was noise to the hub, and the sum exact: 603 of 603 rows"},
		},
	}
}

// bad is a rehearsal in which nothing held.
func bad() *Result {
	r := good()
	r.State, r.Reason, r.PartsDone, r.Example, r.OK = "failed", "3 parts found no node in time", 27, nil, false
	r.Story = &Story{Task: 78, Model: "coral@1", Prompt: "It was a fine morning, and the whole party"}
	r.Together = &Together{Model: "coral3", Prompt: "It was"}
	r.Learnt = nil
	r.Checks[6] = Check{Name: "text_survives", Text: "rome-1 died in mid-sentence; went on, bit for bit", Detail: "no node took its place"}
	r.Checks[5] = Check{Name: "story_recomputed", Text: "a story was written and computed again", Detail: "failed: nobody was there"}
	r.Checks[1] = Check{Name: "books_balance", Text: "debits = credits", Detail: "debits 1.00, credits 2.00"}
	r.Checks[3] = Check{Name: "receipts_verify", Text: "80/90 receipts verify offline", Detail: "lease_x: signature does not match the statement"}
	return r
}

func TestScreen(t *testing.T) {
	t.Parallel()
	for name, r := range map[string]*Result{"good": good(), "bad": bad()} {
		golden(t, name+".txt", r.Head()+r.Body(mark))
		js, err := json.MarshalIndent(r, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		golden(t, name+".json", string(js)+"\n")
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s: got\n%s\nwant\n%s", name, got, want)
	}
}

// The cast must be able to play the piece: whoever dies and whoever is abroad,
// three owners in the EU remain of whom at most one lies, and the worst mix of
// three of them fits the budget.
func TestCast(t *testing.T) {
	t.Parallel()
	left, prices := map[core.AccountID]core.Money{}, []core.Money{}
	liars, owners := 0, map[core.AccountID]bool{}
	for _, n := range Nodes(7) {
		owners[n.Owner] = true
		if n.Country == "US" || strings.Contains(n.Faults, "crash") {
			continue
		}
		if strings.Contains(n.Faults, "lie=") {
			liars++
		}
		left[n.Owner] = max(left[n.Owner], n.Price)
	}
	for _, p := range left {
		prices = append(prices, p)
	}
	slices.SortFunc(prices, func(a, b core.Money) int { return int(b - a) })
	if len(Nodes(7)) != 7 || len(owners) != 5 || len(left) < replicas+1 || liars != 1 {
		t.Errorf("%d nodes, %d owners, %d of them left, %d liars", len(Nodes(7)), len(owners), len(left), liars)
	}
	if worst := (prices[0] + prices[1] + prices[2]) * wantParts; worst > budget {
		t.Errorf("may cost %s of %s", worst, budget)
	}
}

func TestGrade(t *testing.T) {
	t.Parallel()
	w := &work{}
	for _, e := range [][2]string{{"the machine swallowed my card", "card"}, {"what is the rate today, please?", "rate"}, {"the card was stolen in the bus", "card"}} {
		w.requests = append(w.requests, corpus.Example{Text: e[0], Label: e[1]})
	}
	out := `{"id":0,"label":"card","p":"0.9312","reasons":[{"feature":"swallowed"},{"feature":"card"},{"feature":"x"}]}
{"id":1,"label":"card","p":"0.9000","reasons":[{"feature":"rate"}]}
{"id":2,"label":"card","p":"0.9999","reasons":[{"feature":"stolen"}]}
`
	var r Result
	if err := w.grade([]byte(out), &r); err != nil {
		t.Fatal(err)
	}
	if r.Accuracy != 2./3 || r.Majority != 2./3 || r.Example == nil || r.Example.Text != "the machine swallowed my card" || len(r.Example.Reasons) != 2 {
		t.Errorf("got %+v, %+v", r, r.Example)
	}
	for name, out := range map[string]string{
		"short": out[:strings.IndexByte(out, '\n')+1], "long": out + `{"id":3}` + "\n", "order": strings.Replace(out, `"id":1`, `"id":2`, 1), "garbage": "lie",
	} {
		if err := w.grade([]byte(out), &Result{}); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestSplit(t *testing.T) {
	t.Parallel()
	c := Config{Requests: 60, Seed: 3}
	train, fresh, err := c.split()
	if err != nil || len(train) != trainSize || len(fresh) != 60 {
		t.Fatalf("%d, %d, %v", len(train), len(fresh), err)
	}
	for _, e := range train {
		c.Data = append(c.Data, e)
		if len(c.Data) == 100 {
			break
		}
	}
	train, fresh, err = c.split()
	if err != nil || len(train) != 67 || len(fresh) != 33 {
		t.Errorf("own data: %d, %d, %v", len(train), len(fresh), err)
	}
	c.Data = c.Data[:60]
	if _, _, err := c.split(); err == nil {
		t.Error("60 examples were enough")
	}
}
