package control

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"atoll/api"
	"atoll/internal/bus"
	"atoll/internal/core"
	"atoll/internal/draw"
	"atoll/internal/lifecycle"
	"atoll/internal/receipt"
	"atoll/internal/request"
)

func reexecute(rate float64) func(*api.TaskSpec) {
	return func(s *api.TaskSpec) {
		s.Verification = &api.Verification{Method: "reexecute", Rate: rate, Nonce: "mine"}
	}
}

// out returns the only lease that is out anywhere, and its node.
func (w *world) out() (*testNode, bus.Lease) {
	w.t.Helper()
	var node *testNode
	var lease bus.Lease
	for _, n := range w.nodes {
		for _, l := range w.leases(n.id) {
			if node != nil {
				w.t.Fatalf("%s and %s are out", lease.ID, l.ID)
			}
			node, lease = n, l
		}
	}
	if node == nil {
		w.t.Fatal("no lease is out")
	}
	return node, lease
}

// judged opens a lease's verdict and receipt as a stranger does, and casts the lot
// again.
func (w *world) judged(id core.LeaseID) receipt.JudgedLease {
	w.t.Helper()
	v := request.Viewer{Account: "demo"}
	bundle, err := w.hub.Receipt(w.t.Context(), v, id)
	if err != nil {
		w.t.Fatal(err)
	}
	report, _ := receipt.Check(bundle, receipt.Want{})
	commits := report.Commits()
	if bundle, err = w.hub.Verdict(w.t.Context(), v, id); err != nil {
		w.t.Fatal(err)
	}
	report, err = receipt.Check(bundle, receipt.Want{Commits: commits})
	if errors.Is(err, receipt.ErrDraw) {
		w.t.Fatal(err)
	}
	for _, l := range report.Verdict.Leases {
		if l.Lease == id {
			return l
		}
	}
	w.t.Fatalf("the verdict does not speak of %s", id)
	return receipt.JudgedLease{}
}

func three(t *testing.T) *world {
	w := newWorld(t)
	w.join("n1", "alice", "DE", 1000)
	w.join("n2", "bob", "DE", 2000)
	w.join("n3", "carol", "DE", 3000)
	return w
}

// The work is done once; drawn, it is done again by another owner from a lease
// that differs in random bytes only; both are paid, and the draw can be repeated.
func TestReexecuteConfirms(t *testing.T) {
	t.Parallel()
	w := three(t)
	id := w.mustSubmit(reexecute(1)).ID
	n, work := w.out()
	w.report(n, work, "x", nil)
	if got := w.task(id); got.Ended() {
		t.Fatalf("done before its check: %+v", got)
	}
	m, check := w.out()
	if m.owner == n.owner {
		t.Errorf("%s checks its own work", n.owner)
	}
	if check.Attempt != work.Attempt || check.Input != work.Input || string(check.Data) != string(work.Data) || check.Commit.IsZero() || check.Commit == work.Commit || check.ExecutionMs != work.ExecutionMs || check.Part != work.Part {
		t.Errorf("the check can be told from work:\n%+v\n%+v", work, check)
	}
	w.report(m, check, "x", nil)
	w.settle()
	w.audit()
	got := w.task(id)
	if got.State != "succeeded" || got.Cost.Paid != n.price+m.price || got.Cost.Refunded != got.Cost.Max-got.Cost.Paid {
		t.Errorf("%+v", got)
	}
	j := w.judged(work.ID)
	if j.Draw == nil || !j.Draw.Drawn || j.Draw.Rate != draw.Always || j.Draw.Nonce != "mine" || draw.Commit(j.Draw.Secret) != work.Commit {
		t.Errorf("the work's draw: %+v", j.Draw)
	}
	if c := w.judged(check.ID); c.Draw != nil || c.Checks != work.ID || c.Method != "reexecute" {
		t.Errorf("the check's verdict: %+v", c)
	}
	if a, b := w.hub.nodes[n.id].doc.Reputation, w.hub.nodes[m.id].doc.Reputation; a.Mean() <= 0.5 || b.Mean() <= 0.5 {
		t.Error("a confirmed result does not count for its nodes")
	}
}

// What is not drawn passes at once, and proves nothing of its node.
func TestReexecuteNotDrawn(t *testing.T) {
	t.Parallel()
	w := three(t)
	id := w.mustSubmit(reexecute(0.000001)).ID
	n, work := w.out()
	w.report(n, work, "x", nil)
	w.settle()
	w.audit()
	if got := w.task(id); got.State != "succeeded" || got.Cost.Paid != n.price {
		t.Errorf("%+v", got)
	}
	if j := w.judged(work.ID); j.Draw == nil || j.Draw.Drawn || j.Reason != "not drawn to be run again" {
		t.Errorf("%+v", j)
	}
	if r := w.hub.nodes[n.id].doc.Reputation; r.Mean() != 0.5 {
		t.Errorf("a record is to be had without any check: %v", r.Mean())
	}
}

// A third owner decides. Who is wrong is not paid, is marked, and loses the
// sampled work that it has not delivered.
func TestReexecuteCatches(t *testing.T) {
	t.Parallel()
	for name, results := range map[string][3]string{"the worker lies": {"lie", "x", "x"}, "the checker lies": {"x", "lie", "x"}, "the checker fails": {"x", "fail:boom", "x"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := three(t)
			id := w.mustSubmit(reexecute(1)).ID
			var liar *testNode
			var other core.TaskID
			var owners []core.AccountID
			for _, result := range results {
				n, l := w.out()
				owners = append(owners, n.owner)
				if result != "x" {
					// It has other work of the kind, which it has not delivered when it is found out.
					liar = n
					for _, x := range w.nodes {
						if x != liar {
							x.price += 10_000
							w.beat(x)
						}
					}
					other = w.mustSubmit(func(s *api.TaskSpec) {
						reexecute(1)(s)
						s.Budget = &api.Budget{MaxCost: 8000} // the others ask for more than half of it
					}).ID
					if got := w.leases(liar.id); len(got) != 1 {
						t.Fatalf("%d leases for %s", len(got), liar.id)
					}
				}
				w.report(n, l, result, nil)
			}
			w.settle()
			w.audit()
			if owners[0] == owners[1] || owners[1] == owners[2] || owners[0] == owners[2] {
				t.Fatalf("asked %v", owners)
			}
			got := w.task(id)
			leases, _, err := w.hub.Leases(t.Context(), request.Viewer{Account: "demo"}, id, request.Page{Limit: 10})
			if err != nil || got.State != "succeeded" {
				t.Fatalf("%+v, %v", got, err)
			}
			var paid core.Money
			for _, l := range leases {
				if (l.State == "passed") != (l.Node != liar.id) {
					t.Errorf("%s by %s: %s", l.ID, l.Node, l.Reason)
				}
				paid += l.Pay
			}
			if paid != got.Cost.Paid || w.balance(liar.owner).Available != 0 {
				t.Errorf("paid %s, granted %s, the liar has %s", got.Cost.Paid, paid, w.balance(liar.owner).Available)
			}
			if d := w.hub.nodes[liar.id].doc; d.Rejected != 1 || d.Reputation.Mean() >= 0.5 {
				t.Errorf("the liar's record: %+v", d)
			}
			if got := w.task(other); got.Parts.Moved != 1 {
				t.Errorf("the liar keeps work of which only a sample is checked: %+v", got)
			}
		})
	}
}

// The check runs only a piece, derived from the claim, which is there for it after a
// restart too; if it disagrees, those who are asked next run all.
func TestReexecuteAPiece(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		results string // of each lease in turn
		passed  string // which of them pass
	}{
		"confirmed":           {"x x", "yes yes"},
		"the checker lies":    {"x ? x", "yes no yes"},
		"the worker lies":     {"lie ? x x", "no yes yes yes"},
		"no piece to be made": {"garbage x x", "no yes yes"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := three(t)
			w.join("n4", "dave", "DE", 4000)
			id := w.mustSubmit(func(s *api.TaskSpec) {
				reexecute(1)(s)
				s.Verification.Span = 32
			}).ID
			var all []bus.Lease
			for i, result := range strings.Fields(c.results) {
				n, l := w.out()
				if i == 1 {
					w.sent = nil
					w.reopen()
					n, l = w.out()
				}
				if piece := i == 1 && name != "no piece to be made"; piece != strings.HasPrefix(string(l.Data), "32 steps of ") || core.DigestOf(l.Data) != l.Input || int64(len(l.Data)) != l.InputSize {
					t.Errorf("lease %d runs %q", i, l.Data)
				}
				var fetched strings.Builder
				if err := w.hub.LeaseInput(t.Context(), n.id, l.ID, &fetched); err != nil || fetched.String() != string(l.Data) {
					t.Errorf("lease %d: by HTTP it runs %q, %v", i, fetched.String(), err)
				}
				w.report(n, l, result, nil)
				all = append(all, l)
			}
			w.settle()
			w.audit()
			if got := w.task(id); got.State != "succeeded" {
				t.Fatalf("%+v", got)
			}
			for i, want := range strings.Fields(c.passed) {
				if j := w.judged(all[i].ID); (j.Outcome == receipt.Passed) != (want == "yes") {
					t.Errorf("lease %d: %s: %s", i, j.Outcome, j.Reason)
				}
			}
			if d := w.judged(all[0].ID).Draw; d.Span != 32 {
				t.Errorf("%+v", d)
			}
		})
	}
}

// A claim too large for memory is not taken apart: all is run again.
func TestLargeClaimIsRunAgainWhole(t *testing.T) {
	t.Parallel()
	for size, want := range map[int]bool{maxClaim: true, maxClaim + 1: false} {
		w := three(t)
		w.mustSubmit(func(s *api.TaskSpec) {
			reexecute(1)(s)
			s.Verification.Span = 32
		})
		n, l := w.out()
		claim := make([]byte, size)
		if err := w.hub.PutResult(t.Context(), n.id, l.ID, bytes.NewReader(claim)); err != nil {
			t.Fatal(err)
		}
		w.reportUploaded(n, l, core.DigestOf(claim))
		if _, check := w.out(); check.InputSize == 0 || (check.Input != l.Input) != want {
			t.Errorf("%d bytes: the check runs a piece: %v, want %v", size, check.Input != l.Input, want)
		}
	}
}

// A result that another may be asked to repeat does not show while it grows.
func TestNoPreviewOfWhatIsCompared(t *testing.T) {
	t.Parallel()
	w := three(t)
	for method, want := range map[string]bool{"none": true, "quorum": false, "reexecute": false} {
		spec := &api.TaskSpec{Model: "echo", Input: []api.DataPointer{{URI: "data:,x"}}, Verification: &api.Verification{Method: method}}
		full := spec.WithDefaults()
		r, err := w.hub.Submit(t.Context(), request.Submission{Account: "demo", Spec: &full, Preview: true})
		if err != nil {
			t.Fatal(err)
		}
		if _, changed := w.hub.Preview(request.Viewer{Account: "demo"}, r.ID, 0); (changed != nil) != want {
			t.Errorf("%s: preview %t, want %t", method, changed != nil, want)
		}
	}
}

// What cannot work is refused at submit, with what goes.
func TestMethodsThatAnEngineAllows(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, c := range []struct {
		method       string
		span         int
		engine       string
		reproducible bool
		field        string // refused at; "" if it goes
	}{
		{"none", 0, "gpu", false, ""},
		{"quorum", 0, "gpu", false, "verification.method"},
		{"reexecute", 0, "gpu", false, "verification.method"},
		{"logprobs", 0, "gpu", false, "verification.method"}, // it has no reference
		{"logprobs", 0, "test", true, "verification.method"},
		{"quorum", 0, "test", true, ""},
		{"reexecute", 0, "test", true, ""},
		{"reexecute", 32, "test", true, ""},
		{"reexecute", 32, "whole", true, "verification.span"},
	} {
		err := w.hub.checkMethod(&task{Task: lifecycle.Task{Engine: c.engine}}, &api.TaskSpec{Verification: &api.Verification{Method: c.method, Span: c.span}}, c.reproducible, core.Digest{})
		field := ""
		if e, ok := errors.AsType[*core.Error](err); ok {
			if field = e.Field; e.Hint == "" {
				t.Errorf("%+v: no word of what goes: %v", c, err)
			}
		}
		if field != c.field {
			t.Errorf("%+v: refused at %q: %v", c, field, err)
		}
	}
}

// Nobody else is there: the result stands, is paid, and says what it rests on.
func TestReexecuteWithoutAnotherOwner(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	n := w.join("n1", "alice", "DE", 1000)
	id := w.mustSubmit(func(s *api.TaskSpec) {
		reexecute(1)(s)
		s.Timeout = &api.Timeout{Queue: api.Duration(5 * time.Second)}
	}).ID
	_, work := w.out()
	w.report(n, work, "x", nil)
	for range 8 {
		w.pass(time.Second)
		w.beat(n)
	}
	w.settle()
	w.audit()
	parts, _, err := w.hub.Parts(t.Context(), request.Viewer{Account: "demo"}, id, request.Page{Limit: 1})
	if err != nil || w.task(id).State != "succeeded" || !strings.Contains(parts[0].Reason, "no other owner could be had") {
		t.Errorf("%+v, %+v, %v", w.task(id), parts, err)
	}
	if j := w.judged(work.ID); !j.Draw.Drawn || !strings.Contains(j.Reason, "no other owner could be had") || j.PayMicro != int64(n.price) {
		t.Errorf("%+v", j)
	}
}

// A lease is given only where as much again is left for its check; what is kept
// comes back with every end that a lease can have.
func TestReserveForTheCheck(t *testing.T) {
	t.Parallel()
	w := three(t)
	tight := func(max core.Money) func(*api.TaskSpec) {
		return func(s *api.TaskSpec) {
			reexecute(1)(s)
			s.Budget = &api.Budget{MaxCost: max}
		}
	}
	if got := w.task(w.mustSubmit(tight(1999)).ID); got.State != "placing" || !strings.Contains(got.Reason, "budget") {
		t.Errorf("%+v", got)
	}
	id := w.mustSubmit(tight(3000)).ID
	task := w.hub.tasks[id]
	n, work := w.out()
	if task.Committed != 2*n.price {
		t.Errorf("%s kept for a lease of %s", task.Committed, n.price)
	}
	w.report(n, work, "x", nil)
	m, check := w.out()
	if task.Committed != n.price+m.price {
		t.Errorf("%s kept while the check is out, want %s", task.Committed, n.price+m.price)
	}
	w.say(m, bus.KindStatus, bus.Status{Refused: []bus.Refusal{{Lease: check.ID, Reason: "busy"}}})
	if task.Committed != 2*n.price {
		t.Errorf("%s kept when the check was declined", task.Committed)
	}
	if _, err := w.hub.Cancel(t.Context(), request.Viewer{Account: "demo"}, id); err != nil {
		t.Fatal(err)
	}
	if task.Committed != 0 || !task.Settled {
		t.Errorf("%s kept of a cancelled task", task.Committed)
	}
	w.audit()
}

// Over many results the share that is drawn is the rate, and each draw can be
// repeated; and a restarted hub keeps to what it has drawn.
func TestDrawnAtTheRate(t *testing.T) {
	t.Parallel()
	w := three(t)
	const tasks, rate = 400, 0.25
	drawn := 0
	for range tasks {
		id := w.mustSubmit(func(s *api.TaskSpec) {
			reexecute(rate)(s)
			s.Budget = &api.Budget{MaxCost: 10_000}
		}).ID
		n, work := w.out()
		w.report(n, work, "x", nil)
		if got := w.task(id); got.Ended() {
			continue
		}
		if drawn++; drawn == 1 {
			w.sent = nil // it will say again what is out
			w.reopen()
		}
		m, check := w.out()
		w.report(m, check, "x", nil)
		if got := w.task(id); !got.Ended() {
			t.Fatal("confirmed, and not done")
		}
		if drawn%20 == 1 {
			w.settle()
			w.judged(work.ID)
		}
	}
	if sigmas := math.Abs(float64(drawn)-tasks*rate) / math.Sqrt(tasks*rate*(1-rate)); sigmas > 4 {
		t.Errorf("%d of %d drawn at a rate of %v: %.1f standard deviations off", drawn, tasks, rate, sigmas)
	}
	w.settle()
	w.audit()
}

// While a replica or a check is out, nothing shows what another has delivered.
func TestNothingShowsWhileAnotherIsOut(t *testing.T) {
	t.Parallel()
	for name, method := range map[string]func(*api.TaskSpec){"quorum": quorum, "reexecute": reexecute(1)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := three(t)
			id := w.mustSubmit(method).ID
			first := w.anyLease()
			w.report(first.node, first.Lease, "the secret answer", nil)
			w.settle()
			secret := []string{"the secret answer", core.DigestOf([]byte("the secret answer")).Hex(), core.DigestOf([]byte("the secret answer")).Short()}
			if shown := w.shown(id, first.ID); shown == "" || containsAny(shown, secret) {
				t.Errorf("shown while another is out:\n%s", shown)
			}
			for range 2 {
				if next := w.anyLease(); next.node != nil {
					w.report(next.node, next.Lease, "the secret answer", nil)
				}
			}
			w.settle()
			if shown := w.shown(id, first.ID); !containsAny(shown, secret) {
				t.Errorf("not shown when all is in:\n%s", shown)
			}
		})
	}
}

type sentLease struct {
	bus.Lease
	node *testNode
}

// anyLease returns one of the leases that are out, of which it forgets none, or a
// zero one.
func (w *world) anyLease() (out sentLease) {
	w.t.Helper()
	for _, n := range w.nodes {
		if out.node == nil {
			if l := w.leases(n.id); len(l) > 0 {
				out = sentLease{l[0], n}
			}
		}
	}
	return out
}

// shown is all that the requester can see of a task, as one text.
func (w *world) shown(id core.TaskID, lease core.LeaseID) string {
	w.t.Helper()
	ctx, v, all := w.t.Context(), request.Viewer{Account: "demo"}, request.Page{Limit: 100}
	parts, _, err1 := w.hub.Parts(ctx, v, id, all)
	leases, _, err2 := w.hub.Leases(ctx, v, id, all)
	receipts, _, err3 := w.hub.Receipts(ctx, v, id, all)
	events, _, _, err4 := w.hub.Events(ctx, v, id, 0)
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		w.t.Fatal(err)
	}
	text, err := json.Marshal([]any{w.task(id), parts, leases, receipts, events})
	if err != nil {
		w.t.Fatal(err)
	}
	var result strings.Builder
	_ = w.hub.PartResult(ctx, v, id, 0, &result) // refusals are wanted here
	bundle, _ := w.hub.Receipt(ctx, v, lease)
	verdict, _ := w.hub.Verdict(ctx, v, lease)
	return string(text) + result.String() + string(bundle) + string(verdict)
}

func containsAny(text string, words []string) bool {
	return slices.ContainsFunc(words, func(word string) bool { return strings.Contains(text, word) })
}
