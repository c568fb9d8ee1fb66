package control

import (
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"atoll/api"
	"atoll/internal/bus"
	"atoll/internal/core"
	"atoll/internal/receipt"
	"atoll/internal/request"
	"atoll/internal/store"
)

func TestQuorumPaysWhoAgrees(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, b, c := w.join("a-1", "alice", "FR", 30_000), w.join("b-1", "bob", "IT", 40_000), w.join("c-1", "carol", "DE", 20_000)
	us := w.join("o-1", "erin", "US", 1)
	r := w.mustSubmit(func(s *api.TaskSpec) { quorum(s); s.Residency = []string{"EU"} })
	if got := w.balance("demo"); got.Held != core.Credit || got.Available != 99*core.Credit {
		t.Fatalf("after submit: %+v", got)
	}
	if n := len(w.leases(us.id)); n != 0 {
		t.Fatalf("%d leases left the EU", n)
	}
	w.report(a, w.leases(a.id)[0], "right", nil)
	w.report(c, w.leases(c.id)[0], "wrong", nil)
	leases, _, err := w.hub.Leases(t.Context(), request.Viewer{Account: "demo"}, r.ID, request.Page{Limit: 10})
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range leases {
		if !l.ResultDigest.IsZero() || l.Receipt != "" {
			t.Fatalf("a result is shown while a replica is out: %+v", l)
		}
	}
	w.report(b, w.leases(b.id)[0], "right", nil)
	task := w.task(r.ID)
	if task.State != "succeeded" || task.Cost.Pending != 70_000 || task.Cost.Paid != 0 {
		t.Fatalf("before the checkpoint: %+v", task)
	}
	var out strings.Builder
	if err := w.hub.PartResult(t.Context(), request.Viewer{Account: "demo"}, r.ID, 0, &out); err != nil || out.String() != "right" {
		t.Fatalf("result %q, %v", out.String(), err)
	}
	w.settle()
	task = w.task(r.ID)
	if task.Cost.Paid != 70_000 || task.Cost.Pending != 0 || task.Cost.Refunded != core.Credit-70_000 {
		t.Fatalf("after the checkpoint: %+v", task.Cost)
	}
	if w.balance("alice").Available != 30_000 || w.balance("bob").Available != 40_000 || w.balance("carol").Available != 0 {
		t.Fatal("pay went elsewhere")
	}
	if len(task.NotChosen) != 1 || task.NotChosen[0].Node != "o-1" || !strings.Contains(task.NotChosen[0].Reason, "EU") {
		t.Fatalf("not chosen: %+v", task.NotChosen)
	}
	w.audit()
	if len(w.hub.tasks) != 0 || len(w.hub.leases) != 0 || len(w.hub.payouts) != 0 {
		t.Fatalf("memory keeps %d tasks, %d leases, %d payouts", len(w.hub.tasks), len(w.hub.leases), len(w.hub.payouts))
	}
}

func TestIdempotency(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first, err := w.submit("key", nil)
	if err != nil {
		t.Fatal(err)
	}
	again, err := w.submit("key", nil)
	if err != nil || again.ID != first.ID || !again.Duplicate {
		t.Fatalf("again: %+v, %v", again, err)
	}
	if _, err := w.submit("key", quorum); core.KindOf(err) != core.Mismatch {
		t.Fatalf("same key, other body: %v", err)
	}
	w.reopen()
	if again, err := w.submit("key", nil); err != nil || again.ID != first.ID {
		t.Fatalf("after a restart: %+v, %v", again, err)
	}
	if w.balance("demo").Held != core.Credit {
		t.Fatal("held twice")
	}
	w.audit()
}

// A receipt that is not for the lease it names is refused, acknowledged so that
// the node forgets it, and changes nothing.
func TestBadReports(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.join("a-1", "alice", "FR", 10_000)
	b := w.join("b-1", "bob", "FR", 10_000)
	r := w.mustSubmit(func(s *api.TaskSpec) { s.Placement = &api.Placement{Selector: ""} })
	owner, other := a, b
	ls := w.leases(a.id)
	if len(ls) == 0 {
		owner, other = b, a
		ls = w.leases(b.id)
	}
	l := ls[0]
	for name, edit := range map[string]func(*receipt.ExecutedLease){
		"nonce": func(e *receipt.ExecutedLease) { e.Nonce = "other" },
		"input": func(e *receipt.ExecutedLease) { e.Input = core.DigestOf([]byte("x")) },
		"model": func(e *receipt.ExecutedLease) { e.Model = core.DigestOf([]byte("x")) },
		"price": func(e *receipt.ExecutedLease) { e.PriceMicro++ },
		"task":  func(e *receipt.ExecutedLease) { e.Task++ },
		"data":  func(e *receipt.ExecutedLease) { e.Result = core.DigestOf([]byte("x")) },
	} {
		w.report(owner, l, "result", edit)
		if s := w.task(r.ID); s.State != "running" || !w.acked(owner.id, l.ID) {
			t.Errorf("%s: the task is %s, acked %v", name, s.State, w.acked(owner.id, l.ID))
		}
	}
	w.report(other, l, "result", nil) // another node answers a lease that is not its own
	spoof := *other
	spoof.id = owner.id // and signs as if it were the owner
	w.report(&spoof, l, "result", nil)
	if s := w.task(r.ID); s.State != "running" {
		t.Fatalf("a stranger's report was taken: %+v", s)
	}
	for _, junk := range []string{"", "{", `{"envelope":{}}`, `{"envelope":"x","results":[]}`, "\x00\xff"} {
		for _, kind := range []string{bus.KindReport, bus.KindStatus, bus.KindHeartbeat, "odd"} {
			w.hub.Inbound(owner.id, kind, []byte(junk))
		}
	}
	w.beat(owner)
	w.report(owner, l, "result", nil)
	w.report(owner, l, "result", nil) // repeated
	w.settle()
	if s := w.task(r.ID); s.State != "succeeded" || s.Cost.Paid != 10_000 {
		t.Fatalf("%+v", s)
	}
	w.audit()
}

func TestLostNodeIsReplacedAndNotPaidLate(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.join("a-1", "alice", "FR", 10_000)
	r := w.mustSubmit(nil)
	l := w.leases(a.id)[0]
	b := w.join("b-1", "bob", "FR", 10_000)
	for range 11 { // 2.75 s: a is silent, b is not
		w.pass(250 * time.Millisecond)
		w.beat(b)
	}
	moved := w.leases(b.id)
	if len(moved) != 1 || moved[0].Task != r.ID {
		t.Fatalf("moved: %+v", moved)
	}
	w.report(a, l, "late", nil)
	if !w.acked(a.id, l.ID) {
		t.Fatal("the late report is not acknowledged: the node would send it for ever")
	}
	w.report(b, moved[0], "result", nil)
	w.settle()
	if s := w.task(r.ID); s.State != "succeeded" || s.Parts.Moved != 1 {
		t.Fatalf("%+v", s)
	}
	if w.balance("alice").Available != 0 || w.balance("bob").Available != 10_000 {
		t.Fatal("the late report was paid, or the other was not")
	}
	w.audit()
}

// With replace: false a silent node is waited for, and its late result is paid.
func TestDisconnectWithoutReplace(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.join("a-1", "alice", "FR", 10_000)
	no := false
	r := w.mustSubmit(func(s *api.TaskSpec) { s.Disconnect = &api.Disconnect{Replace: &no} })
	l := w.leases(a.id)[0]
	status, _ := json.Marshal(bus.Status{Accepted: []core.LeaseID{l.ID}, Started: []core.LeaseID{l.ID}})
	w.hub.Inbound(a.id, bus.KindStatus, status)
	w.pass(2 * time.Minute)
	w.report(a, l, "late", nil)
	w.settle()
	if s := w.task(r.ID); s.State != "succeeded" || w.balance("alice").Available != 10_000 {
		t.Fatalf("%+v", s)
	}
	w.audit()
}

func TestTimeouts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.mustSubmit(nil) // no node at all
	w.pass(62 * time.Second)
	if s := w.task(r.ID); s.State != "expired" || s.Cost.Refunded != core.Credit {
		t.Fatalf("queue timeout: %+v", s)
	}
	a := w.join("a-1", "alice", "FR", 10_000)
	r = w.mustSubmit(func(s *api.TaskSpec) { s.Timeout = &api.Timeout{Total: api.Duration(10 * time.Second)} })
	for range 44 {
		w.beat(a)
		w.pass(250 * time.Millisecond)
	}
	if s := w.task(r.ID); s.State != "expired" || !strings.Contains(s.Reason, "10s") {
		t.Fatalf("total timeout: %+v", s)
	}
	if w.balance("demo").Available != 100*core.Credit {
		t.Fatal("not refunded")
	}
	w.audit()
}

// A result that rests on less than was asked for says so, part and task alike.
func TestShortQuorumIsTold(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	two := []*testNode{w.join("a-1", "alice", "FR", 10_000), w.join("b-1", "bob", "FR", 10_000)}
	r := w.mustSubmit(func(s *api.TaskSpec) { quorum(s); s.Timeout = &api.Timeout{Queue: api.Duration(5 * time.Second)} })
	for _, n := range two {
		w.report(n, w.leases(n.id)[0], "answer", nil)
	}
	for range 24 {
		w.beat(two[0])
		w.beat(two[1])
		w.pass(250 * time.Millisecond)
	}
	s := w.task(r.ID)
	if s.State != "succeeded" || s.Parts.Short != 1 || s.Reason != "done, decided by fewer owners than asked for" {
		t.Errorf("%s, %q, %+v", s.State, s.Reason, s.Parts)
	}
	parts, _, err := w.hub.Parts(t.Context(), request.Viewer{Account: "demo"}, r.ID, request.Page{Limit: 10})
	if err != nil || len(parts) != 1 || !strings.HasPrefix(parts[0].Reason, "2 of 2 owners agree; 3 were asked for") {
		t.Errorf("%+v, %v", parts, err)
	}
}

func TestFailureIsRetriedThenFinal(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.join("a-1", "alice", "FR", 10_000)
	r := w.mustSubmit(nil)
	for i := range 3 {
		ls := w.leases(a.id)
		if len(ls) != 1 {
			t.Fatalf("attempt %d: %d leases", i+1, len(ls))
		}
		w.report(a, ls[0], "fail:trap: unreachable", nil)
	}
	w.settle()
	if s := w.task(r.ID); s.State != "failed" || !strings.Contains(s.Reason, "unreachable") || s.Cost.Paid != 0 || s.Cost.Refunded != core.Credit {
		t.Fatalf("%+v", s)
	}
	w.audit()
}

func TestCancel(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.join("a-1", "alice", "FR", 10_000)
	r := w.mustSubmit(nil)
	l := w.leases(a.id)[0]
	s, err := w.hub.Cancel(t.Context(), request.Viewer{Account: "demo"}, r.ID)
	if err != nil || s.State != "cancelled" {
		t.Fatalf("%+v, %v", s, err)
	}
	if _, err := w.hub.Cancel(t.Context(), request.Viewer{Account: "mallory"}, r.ID); core.KindOf(err) != core.NotFound {
		t.Fatalf("a stranger's cancel: %v", err)
	}
	w.report(a, l, "too late", nil)
	w.settle()
	if w.balance("demo").Available != 100*core.Credit || !w.acked(a.id, l.ID) {
		t.Fatal("not refunded, or the late report not acknowledged")
	}
	w.audit()
}

func TestBudget(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.join("a-1", "alice", "FR", 10_000)
	if _, err := w.submit("", func(s *api.TaskSpec) { s.Budget = &api.Budget{MaxCost: 101 * core.Credit} }); core.KindOf(err) != core.Insufficient {
		t.Fatalf("more than the account has: %v", err)
	}
	r := w.mustSubmit(func(s *api.TaskSpec) { s.Budget = &api.Budget{MaxCost: 9_999} })
	s := w.task(r.ID)
	if s.State != "placing" || len(s.NotChosen) != 1 || !strings.Contains(s.NotChosen[0].Reason, "budget") {
		t.Fatalf("%+v", s)
	}
}

// At every commit of a task's life the hub dies, before or after it, and a
// restarted one ends the task all the same, once, paid once.
func TestCrashAtEveryCommit(t *testing.T) {
	t.Parallel()
	for _, point := range []store.Point{store.BeforeCommit, store.AfterCommit} {
		for at := 0; ; at++ {
			w := newWorld(t)
			a := w.join("a-1", "alice", "FR", 10_000)
			n, crashed := 0, false
			w.crash = func(p store.Point) bool {
				if p != point || crashed {
					return false
				}
				n++
				crashed = n > at
				return crashed
			}
			r, err := w.submit("key", nil)
			if err != nil {
				if !errors.Is(err, store.ErrStopped) {
					t.Fatal(err)
				}
				w.reopen()
				if r, err = w.submit("key", nil); err != nil {
					t.Fatal(err)
				}
			}
			for range 40 {
				if w.hub.store.Err() != nil {
					w.reopen()
				}
				for _, l := range w.leases(a.id) {
					w.report(a, l, "result", nil)
				}
				w.now = w.now.Add(500 * time.Millisecond)
				w.beat(a)
				w.hub.Sweep()
				_ = w.hub.Checkpoint(t.Context())
			}
			if s := w.task(r.ID); s.State != "succeeded" || s.Cost.Paid != 10_000 || s.Cost.Refunded != core.Credit-10_000 {
				t.Fatalf("crash %s %d: %+v", point, at, s)
			}
			w.audit()
			if !crashed {
				if at < 4 {
					t.Fatalf("only %d commits", at)
				}
				break
			}
		}
	}
}

// A published checkpoint that SQL does not bear out stops the start.
func TestStartRefusesAnOlderDatabase(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.join("a-1", "alice", "FR", 10_000)
	for range 3 {
		w.mustSubmit(nil)
		w.report(a, w.leases(a.id)[0], "result", nil)
	}
	w.settle()
	w.hub.Close()
	db, err := sql.Open("sqlite", filepath.Join(w.dir, "db"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.ExecContext(t.Context(), "DELETE FROM leaves WHERE idx = (SELECT MAX(idx) FROM leaves)"); err != nil {
		t.Fatal(err)
	}
	db.Close()
	log, err := NewLog(w.hub.cfg.Log.cfg)
	if err != nil {
		t.Fatal(err)
	}
	cfg := w.hub.cfg
	cfg.Log, cfg.Metrics = log, NewMetrics(prometheus.NewRegistry())
	if c, err := New(t.Context(), cfg); err == nil {
		c.Close()
		t.Fatal("the hub started over a database that lacks a published leaf")
	} else if !strings.Contains(err.Error(), "published") {
		t.Fatalf("the error does not say why: %v", err)
	}
}

func TestLargeInputAndResultOfManyParts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.join("a-1", "alice", "FR", 1)
	var in strings.Builder
	for i := range 3000 {
		fmt.Fprintf(&in, "line %d with some more text to make it longer\n", i)
	}
	v := request.Viewer{Account: "demo"}
	d, _, err := w.hub.PutBlob(t.Context(), v, strings.NewReader(in.String()), core.Digest{}, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	r := w.mustSubmit(func(s *api.TaskSpec) {
		s.Input = []api.DataPointer{{URI: "blob:" + d.String()}}
		s.Split = &api.Split{Lines: 70}
	})
	if r.Parts.Total != 43 {
		t.Fatalf("%d parts, want 43", r.Parts.Total)
	}
	for range 20 {
		for _, l := range w.leases(a.id) {
			w.report(a, l, string(l.Data), nil)
		}
	}
	var out strings.Builder
	if err := w.hub.Result(t.Context(), v, r.ID, &out); err != nil {
		t.Fatal(err)
	}
	if out.String() != in.String() {
		t.Fatalf("the parts' results do not join to the input: %d bytes of %d", out.Len(), in.Len())
	}
	w.settle()
	w.audit()
}

// A task may want nodes to be given up sooner than the hub calls them down: its
// part waits for another rather than go to the silent one again.
func TestSilentNodeIsNotOfferedItsPartAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	silent := w.join("a-1", "alice", "FR", 10_000)
	w.mustSubmit(func(s *api.TaskSpec) { s.Disconnect = &api.Disconnect{LostAfter: api.Duration(time.Second)} })
	first := w.leases(silent.id)
	w.pass(1500 * time.Millisecond)
	for _, l := range w.leases(silent.id) {
		if l.ID != first[0].ID { // said again it may be
			t.Errorf("the silent node was offered part %d again", l.Part)
		}
	}
	other := w.join("b-1", "bob", "FR", 400_000)
	if got := w.leases(other.id); len(got) != 1 {
		t.Errorf("the other node was offered %d leases, want 1", len(got))
	}
}
