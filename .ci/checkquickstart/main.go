// Command checkquickstart reads what "atoll quickstart --json" has printed from
// standard input and fails unless the promises of that run were kept.
//
// It does not take the run's own word for it ("ok", "checks") alone: what can
// be computed again from the figures is computed again, with types of its own,
// so that a renamed or vanished key is a failure, too. All that is wrong is
// printed, not only the first.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/big"
	"os"
	"slices"
	"strings"
)

// maxInput is many times what quickstart prints.
const maxInput = 16 << 20

func main() {
	run, err := read(os.Stdin)
	if err != nil {
		fmt.Fprintln(os.Stderr, "checkquickstart:", err)
		os.Exit(1)
	}
	problems := run.problems()
	for _, p := range problems {
		fmt.Fprintln(os.Stderr, "checkquickstart:", p)
	}
	if len(problems) > 0 {
		os.Exit(1)
	}
	fmt.Printf("quickstart kept its promises: %d/%d parts, %d receipts, cost %s of %s\n",
		run.PartsDone, run.Parts, run.Receipts, run.Cost.FloatString(2), run.Budget.FloatString(2))
}

// run holds the keys that are looked at; others are let pass.
type run struct {
	OK        bool     `json:"ok"`
	State     string   `json:"state"`
	Requests  int      `json:"requests"`
	Parts     int      `json:"parts"`
	PartsDone int      `json:"parts_done"`
	Replicas  int      `json:"replicas"`
	Agree     int      `json:"agree"`
	Owners    int      `json:"owners"`
	Residency []string `json:"residency"`
	Cost      credits  `json:"cost"`
	Budget    credits  `json:"budget"`
	Refunded  credits  `json:"refunded"`
	Accuracy  float64  `json:"accuracy"`
	Majority  float64  `json:"majority"`
	Receipts  int      `json:"receipts"`
	Verified  int      `json:"receipts_verified"`
	Verdicts  int      `json:"verdicts"`
	Judged    int      `json:"verdicts_verified"`
	Tampered  string   `json:"tampered"`
	Nodes     []node   `json:"nodes"`
	Story     story    `json:"story"`
	Together  together `json:"together"`
	Learnt    learnt   `json:"learnt"`
	Checks    []check  `json:"checks"`
}

type node struct {
	Node      string  `json:"node"`
	Owner     string  `json:"owner"`
	Country   string  `json:"country"`
	Price     credits `json:"price"`
	OK        int     `json:"ok"`
	Bad       int     `json:"bad"`
	Moved     int     `json:"moved"`
	Paid      credits `json:"paid"`
	State     string  `json:"state"`
	NotChosen string  `json:"not_chosen"`
}

// story is what the language model wrote.
type story struct {
	Model   string  `json:"model"`
	Text    string  `json:"text"`
	Tokens  int     `json:"tokens"`
	Cost    credits `json:"cost"`
	Writer  hand    `json:"writer"`
	Checker hand    `json:"checker"`
}

// together is what a model has written whose layers three nodes held, of which one was
// lost.
type together struct {
	Stages []hand `json:"stages"`
	Before string `json:"before"`
	After  string `json:"after"`
	Alone  string `json:"alone"`
	Lost   string `json:"lost"`
	Spare  string `json:"spare"`
}

// learnt is a model that banks have trained together.
type learnt struct {
	Rounds  int     `json:"rounds"`
	AUC     float64 `json:"auc"`
	Pooled  float64 `json:"pooled"`
	Worst   float64 `json:"worst"`
	Left    string  `json:"left"`
	Seen    string  `json:"seen"`
	Set     float64 `json:"bits_set"`
	Counted int64   `json:"counted"`
	Rows    int64   `json:"rows"`
}

type hand struct {
	Node  string `json:"node"`
	Owner string `json:"owner"`
}

type check struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail"`
}

// credits is an amount, exactly.
type credits struct{ big.Rat }

// UnmarshalJSON takes a decimal in a string, the one form in which the product
// writes money.
func (c *credits) UnmarshalJSON(data []byte) error {
	var s string
	if err := json.Unmarshal(data, &s); err != nil {
		return err
	}
	if _, ok := c.SetString(s); !ok || strings.ContainsAny(s, "/eE") {
		return fmt.Errorf("%q is not an amount", s)
	}
	return nil
}

// optional are keys that may be missing, since they say something only of some.
var optional = []string{"not_chosen", "detail"}

func read(r io.Reader) (*run, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxInput+1))
	if err != nil {
		return nil, err
	}
	if len(data) == 0 {
		return nil, errors.New("nothing to read: did quickstart start at all?")
	}
	if len(data) > maxInput {
		return nil, fmt.Errorf("more than %d bytes", maxInput)
	}
	var got run
	if err := json.Unmarshal(data, &got); err != nil {
		return nil, fmt.Errorf("not what quickstart --json prints: %w", err)
	}
	return &got, missing(data)
}

// missing refuses output that lacks a key: a zero value must be one that was
// printed.
func missing(data []byte) error {
	var top map[string]json.RawMessage
	if err := json.Unmarshal(data, &top); err != nil {
		return err
	}
	errs := []error{lacks("the output", top, run{})}
	for key, of := range map[string]any{"story": story{}, "together": together{}, "learnt": learnt{}} {
		text, ok := top[key]
		if !ok {
			continue // said already
		}
		var object map[string]json.RawMessage
		if err := json.Unmarshal(text, &object); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", key, err))
		}
		errs = append(errs, lacks(key, object, of))
	}
	for _, list := range []struct {
		key string
		of  any
	}{{"nodes", node{}}, {"checks", check{}}} {
		var rows []map[string]json.RawMessage
		if top[list.key] == nil {
			continue // said already
		}
		if err := json.Unmarshal(top[list.key], &rows); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", list.key, err))
		}
		for i, row := range rows {
			errs = append(errs, lacks(fmt.Sprintf("%s[%d]", list.key, i), row, list.of))
		}
	}
	return errors.Join(errs...)
}

// lacks compares an object's keys with those of a value of the wanted type.
func lacks(what string, got map[string]json.RawMessage, want any) error {
	data, err := json.Marshal(want)
	if err != nil {
		return err
	}
	var keys map[string]json.RawMessage
	if err := json.Unmarshal(data, &keys); err != nil {
		return err
	}
	var errs []error
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		if _, ok := got[key]; !ok && !slices.Contains(optional, key) {
			errs = append(errs, fmt.Errorf("%s lacks the key %q", what, key))
		}
	}
	return errors.Join(errs...)
}

// problems are the promises that were not kept, in words.
func (r *run) problems() []string {
	var list []string
	must := func(ok bool, format string, args ...any) {
		if !ok {
			list = append(list, fmt.Sprintf(format, args...))
		}
	}
	must(r.State == "succeeded", "the task is %q, not succeeded", r.State)
	must(r.Parts > 0 && r.PartsDone == r.Parts, "%d of %d parts done", r.PartsDone, r.Parts)
	must(r.Requests >= r.Parts, "%d requests in %d parts", r.Requests, r.Parts)
	must(r.Replicas == 3 && r.Agree == 2, "verified by %d of %d owners, not 2 of 3", r.Agree, r.Replicas)
	must(slices.Equal(r.Residency, []string{"EU"}), "residency is %v, not EU", r.Residency)
	must(r.Accuracy > 0.80 && r.Accuracy < 1, "accuracy %v is not between .80 and 1", r.Accuracy)
	must(r.Accuracy > r.Majority, "accuracy %v is no better than the most frequent label's %v", r.Accuracy, r.Majority)
	must(r.Receipts >= r.Parts*r.Agree && r.Verified == r.Receipts, "%d of %d receipts verify", r.Verified, r.Receipts)
	must(r.Verdicts >= r.Parts*r.Agree && r.Judged == r.Verdicts, "%d of %d verdicts verify", r.Judged, r.Verdicts)
	must(r.Tampered != "", "the tampered copy was not refused")
	must(strings.HasPrefix(r.Story.Model, "coral@") && r.Story.Text != "" && r.Story.Tokens > 0, "the language model wrote nothing: %+v", r.Story)
	w, c := r.Story.Writer, r.Story.Checker
	must(w.Node != "" && c.Node != "" && w.Owner != c.Owner && r.Story.Cost.Sign() > 0, "the language model's answer was not computed again by another owner: %+v, %+v", w, c)
	t := &r.Together
	must(len(t.Stages) == 3 && t.Before != "" && t.After != "" && t.Before+t.After == t.Alone, "the text of three nodes is not that of one: %+v", t)
	must(slices.ContainsFunc(t.Stages, func(h hand) bool { return h.Node == t.Lost }) && t.Spare != "" && !slices.ContainsFunc(t.Stages, func(h hand) bool { return h.Node == t.Spare }),
		"no node that held layers was lost and replaced: %+v", t)
	l := &r.Learnt
	must(l.Rounds > 1 && l.AUC > l.Worst && l.AUC > l.Pooled-0.02 && l.Left != "", "what the banks learnt together is not near to what all rows in one place give: %+v", l)
	must(l.Seen != "" && l.Set > 0.48 && l.Set < 0.52 && l.Counted == l.Rows && l.Rows > 0, "the hub saw more than sums, or they are not exact: %+v", l)
	for _, n := range r.Nodes {
		must(n.Bad == 0 || n.Node != t.Spare && !slices.ContainsFunc(t.Stages, func(h hand) bool { return h.Node == n.Node }), "%s was found out, and holds layers all the same", n.Node)
	}
	for _, name := range []string{"charged_once", "books_balance", "residency_held", "receipts_verify", "tampered_refused", "story_recomputed", "text_survives", "rows_stay"} {
		i := slices.IndexFunc(r.Checks, func(c check) bool { return c.Name == name })
		must(i >= 0, "the check %q was not made", name)
		must(i < 0 || r.Checks[i].OK, "the check %q failed", name)
	}
	must(r.OK, "quickstart itself says that a promise was not kept")
	return append(list, r.nodeProblems()...)
}

// nodeProblems look at who worked, who was found out, and who was paid.
func (r *run) nodeProblems() []string {
	var list []string
	owners, paid := map[string]bool{}, new(big.Rat)
	died, lied, abroad := 0, 0, 0
	for _, n := range r.Nodes {
		owners[n.Owner] = true
		paid.Add(paid, &n.Paid.Rat)
		due := new(big.Rat).Mul(&n.Price.Rat, big.NewRat(int64(n.OK), 1))
		if due.Cmp(&n.Paid.Rat) != 0 {
			list = append(list, fmt.Sprintf("%s: %d good leases at %s come to %s, but %s was paid",
				n.Node, n.OK, n.Price.FloatString(2), due.FloatString(2), n.Paid.FloatString(2)))
		}
		if n.State != "up" && n.Moved > 0 {
			died++
		}
		if n.Bad > 0 {
			lied++
		}
		if n.Country != "US" {
			continue
		}
		abroad++
		if n.OK+n.Bad+n.Moved > 0 || n.Paid.Sign() != 0 {
			list = append(list, fmt.Sprintf("%s is in the US and was used", n.Node))
		}
		if !strings.Contains(n.NotChosen, "residency") {
			list = append(list, fmt.Sprintf("%s: not chosen for %q, not for residency", n.Node, n.NotChosen))
		}
	}
	for _, c := range []struct {
		ok   bool
		says string
	}{
		{len(owners) == r.Owners && r.Owners == 5, fmt.Sprintf("%d owners, %d said, not 5", len(owners), r.Owners)},
		{len(r.Nodes) == 7, fmt.Sprintf("%d nodes, not 7", len(r.Nodes))},
		{died > 0, "no node died with parts that moved elsewhere"},
		{lied > 0, "no liar was found out"},
		{abroad > 0, "there is no node in the US to be refused"},
		{r.Cost.Sign() > 0 && r.Cost.Cmp(&r.Budget.Rat) <= 0, fmt.Sprintf("cost %s of a budget of %s", r.Cost.FloatString(2), r.Budget.FloatString(2))},
		{paid.Cmp(&r.Cost.Rat) == 0, fmt.Sprintf("nodes were paid %s, the task cost %s", paid.FloatString(2), r.Cost.FloatString(2))},
		{paid.Add(&r.Cost.Rat, &r.Refunded.Rat).Cmp(&r.Budget.Rat) == 0, fmt.Sprintf("cost %s and refund %s are not the budget of %s", r.Cost.FloatString(2), r.Refunded.FloatString(2), r.Budget.FloatString(2))},
	} {
		if !c.ok {
			list = append(list, c.says)
		}
	}
	return list
}
