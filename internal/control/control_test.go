package control

import (
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nkeys"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace/noop"

	"atoll/api"
	"atoll/internal/blob"
	"atoll/internal/bus"
	"atoll/internal/core"
	"atoll/internal/fetch"
	"atoll/internal/identity"
	"atoll/internal/ledger"
	"atoll/internal/receipt"
	"atoll/internal/request"
	"atoll/internal/store"
)

// world is a hub without a network: what it sends is kept, and nodes are
// functions of the test.
type world struct {
	t     *testing.T
	dir   string
	now   time.Time
	hub   *Control
	key   *identity.Key
	crash func(store.Point) bool
	nodes map[core.NodeID]*testNode
	sent  []message
	model api.Model
}

type message struct {
	node core.NodeID
	kind string
	data []byte
}

type testNode struct {
	id      core.NodeID
	owner   core.AccountID
	key     *identity.Key
	signer  *receipt.Signer
	country string
	price   core.Money
}

func (w *world) Send(node core.NodeID, kind string, data []byte, _ string) error {
	w.sent = append(w.sent, message{node, kind, data})
	return nil
}

type admitAll struct{}

func (admitAll) IssueNode(core.NodeID, string) (string, error) { return "jwt", nil }
func (admitAll) Revoke(string, time.Time) error                { return nil }

func newWorld(t *testing.T) *world {
	t.Helper()
	key, err := identity.Generate()
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, dir: t.TempDir(), now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), key: key, nodes: map[core.NodeID]*testNode{}}
	w.open()
	t.Cleanup(func() { w.hub.Close() })
	must(t, func() error { _, err := w.hub.CreateAccount(t.Context(), "demo", 100*core.Credit, "start"); return err })
	v := request.Viewer{Account: "demo"}
	d, _, err := w.hub.PutBlob(t.Context(), v, strings.NewReader("a model"), core.Digest{}, 1000)
	if err != nil {
		t.Fatal(err)
	}
	if w.model, err = w.hub.RegisterModel(t.Context(), v, request.ModelUpload{Name: "echo", Engine: "test", Digest: d}); err != nil {
		t.Fatal(err)
	}
	return w
}

// open starts the hub over the world's directory, also after a crash.
func (w *world) open() {
	w.t.Helper()
	logKey, err := identity.LoadOrCreateEd25519(w.dir, "log")
	if err != nil {
		w.t.Fatal(err)
	}
	log, err := NewLog(LogConfig{Dir: filepath.Join(w.dir, "log"), Origin: "hub.test", Key: logKey})
	if err != nil {
		w.t.Fatal(err)
	}
	blobs, err := blob.Open(filepath.Join(w.dir, "blobs"), blob.Options{})
	if err != nil {
		w.t.Fatal(err)
	}
	fetcher, err := fetch.New(fetch.Config{})
	if err != nil {
		w.t.Fatal(err)
	}
	w.hub, err = New(w.t.Context(), Config{
		HubID: "hub", Path: filepath.Join(w.dir, "db"), Key: w.key, Log: log, Blobs: blobs, Fetch: fetcher, Send: w, Admit: admitAll{},
		Models: func(string, string) (ModelFacts, error) { return ModelFacts{Reproducible: true}, nil },
		Tracer: noop.NewTracerProvider().Tracer(""), Now: func() time.Time { return w.now }, Inline: true, NoSync: true,
		Metrics: NewMetrics(prometheus.NewRegistry()), Crash: func(p store.Point) bool { return w.crash != nil && w.crash(p) },
	})
	if err != nil {
		w.t.Fatal(err)
	}
	if err := w.hub.Resume(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) reopen() {
	w.hub.Close()
	w.crash = nil
	w.open()
	for _, n := range w.nodes {
		w.beat(n)
	}
}

func must(t *testing.T, f func() error) {
	t.Helper()
	if err := f(); err != nil {
		t.Fatal(err)
	}
}

func (w *world) join(id core.NodeID, owner core.AccountID, country string, price core.Money) *testNode {
	w.t.Helper()
	_, err := w.hub.CreateAccount(w.t.Context(), owner, 0, "")
	if err != nil && core.KindOf(err) != core.Conflict {
		w.t.Fatal(err)
	}
	tok, err := w.hub.CreateJoinToken(w.t.Context(), owner, 1, api.Duration(time.Hour))
	if err != nil {
		w.t.Fatal(err)
	}
	key, err := identity.Generate()
	if err != nil {
		w.t.Fatal(err)
	}
	signer, err := receipt.NewSigner(key.Signer())
	if err != nil {
		w.t.Fatal(err)
	}
	user, err := nkeys.CreateUser()
	if err != nil {
		w.t.Fatal(err)
	}
	public, _ := user.PublicKey()
	req, err := identity.SignJoin(identity.JoinRequest{Token: identity.Token(tok.Token), Node: id, NkeyPublic: public, Version: "1", Country: country}, key)
	if err != nil {
		w.t.Fatal(err)
	}
	grant, err := w.hub.Join(w.t.Context(), req)
	if err != nil {
		w.t.Fatal(err)
	}
	if grant.Owner != owner {
		w.t.Fatalf("the hub entered owner %s for a token of %s", grant.Owner, owner)
	}
	n := &testNode{id, owner, key, signer, country, price}
	w.nodes[id] = n
	w.beat(n)
	return n
}

func (w *world) beat(n *testNode) {
	data, _ := json.Marshal(bus.Heartbeat{Boot: "1", Offer: bus.NodeOffer{Price: n.price, Country: n.country, Engines: []string{"test"}, Arch: "amd64", OS: "linux", Slots: 2, Queue: 8, CPUMillis: 2000, Memory: 1 << 30}})
	w.hub.Inbound(n.id, bus.KindHeartbeat, data)
}

// leases returns the leases sent to a node since the last call.
func (w *world) leases(id core.NodeID) (out []bus.Lease) {
	w.t.Helper()
	w.sent = slices.DeleteFunc(w.sent, func(m message) bool {
		if m.node != id || m.kind != bus.KindLease {
			return false
		}
		payload, err := identity.Open(m.data, bus.LeasePayloadType, w.key.Public())
		if err != nil {
			w.t.Fatal(err)
		}
		var b bus.LeaseBatch
		if err := json.Unmarshal(payload, &b); err != nil {
			w.t.Fatal(err)
		}
		out = append(out, b.Leases...)
		return true
	})
	return out
}

func (w *world) acked(id core.NodeID, l core.LeaseID) bool {
	for _, m := range w.sent {
		var a bus.Ack
		if m.node == id && m.kind == bus.KindAck && json.Unmarshal(m.data, &a) == nil && slices.Contains(a.Leases, l) {
			return true
		}
	}
	return false
}

// report has a node answer a lease. edit may spoil the receipt.
func (w *world) report(n *testNode, l bus.Lease, result string, edit func(*receipt.ExecutedLease)) {
	w.t.Helper()
	e := receipt.ExecutedLease{
		Lease: l.ID, Task: l.Task, Part: l.Part, Attempt: l.Attempt, Input: l.Input, Model: l.Model, Params: l.ParamsHash, Result: core.DigestOf([]byte(result)),
		Engine: l.Engine, Nonce: l.Nonce, Outcome: receipt.OK, StartedMs: 1, FinishedMs: 2, PriceMicro: int64(l.Price), RegionDeclared: n.country,
	}
	if why, failed := strings.CutPrefix(result, "fail:"); failed {
		e.Outcome, e.Error, e.Result = receipt.Failed, why, core.DigestOf([]byte(why))
		result = why
	}
	if edit != nil {
		edit(&e)
	}
	s, err := n.signer.Execution(&receipt.Execution{Hub: "hub", Node: n.id, Owner: n.owner, Account: l.Account, Leases: []receipt.ExecutedLease{e}})
	if err != nil {
		w.t.Fatal(err)
	}
	data, _ := json.Marshal(bus.Report{Envelope: s.Envelope, Results: []bus.Result{{Lease: e.Lease, Data: []byte(result)}}})
	w.hub.Inbound(n.id, bus.KindReport, data)
}

func (w *world) submit(key string, edit func(*api.TaskSpec)) (api.SubmitReply, error) {
	spec := &api.TaskSpec{Model: "echo", Input: []api.DataPointer{{URI: "data:text/plain;base64,aGVsbG8="}}}
	if edit != nil {
		edit(spec)
	}
	if err := spec.Validate(); err != nil {
		w.t.Fatal(err)
	}
	full := spec.WithDefaults()
	body, _ := json.Marshal(spec)
	return w.hub.Submit(w.t.Context(), request.Submission{Account: "demo", Key: key, Body: core.DigestOf(body), Spec: &full})
}

func (w *world) task(id core.TaskID) api.Task {
	w.t.Helper()
	t, err := w.hub.Task(w.t.Context(), request.Viewer{Account: "demo"}, id)
	if err != nil {
		w.t.Fatal(err)
	}
	return t
}

func (w *world) settle() {
	w.t.Helper()
	for range 3 {
		must(w.t, func() error { return w.hub.Checkpoint(w.t.Context()) })
	}
}

func (w *world) pass(d time.Duration) {
	for end := w.now.Add(d); w.now.Before(end); {
		w.now = w.now.Add(250 * time.Millisecond)
		w.hub.Sweep()
	}
}

func (w *world) audit() {
	w.t.Helper()
	a, err := w.hub.Audit(w.t.Context())
	if err != nil || !a.OK {
		w.t.Fatalf("audit: %+v, %v", a, err)
	}
}

func (w *world) balance(id core.AccountID) ledger.Account {
	w.t.Helper()
	all, err := w.hub.store.Accounts(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	for _, a := range all {
		if a.ID == id {
			return a
		}
	}
	return ledger.Account{}
}

func quorum(s *api.TaskSpec) { s.Verification = &api.Verification{Method: "quorum"} }

func TestQuorumPaysWhoAgrees(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, b, c := w.join("a-1", "alice", "FR", 30_000), w.join("b-1", "bob", "IT", 40_000), w.join("c-1", "carol", "DE", 20_000)
	us := w.join("o-1", "erin", "US", 1)
	r, err := w.submit("", func(s *api.TaskSpec) { quorum(s); s.Residency = []string{"EU"} })
	if err != nil {
		t.Fatal(err)
	}
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
	out, err := w.hub.PartResult(t.Context(), request.Viewer{Account: "demo"}, r.ID, 0)
	if err != nil || string(out) != "right" {
		t.Fatalf("result %q, %v", out, err)
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
	r, err := w.submit("", func(s *api.TaskSpec) { s.Placement = &api.Placement{Selector: ""} })
	if err != nil {
		t.Fatal(err)
	}
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
	r, err := w.submit("", nil)
	if err != nil {
		t.Fatal(err)
	}
	l := w.leases(a.id)[0]
	b := w.join("b-1", "bob", "FR", 10_000)
	for range 14 { // 3.5 s: a is silent, b is not
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
	r, err := w.submit("", func(s *api.TaskSpec) { s.Disconnect = &api.Disconnect{Replace: &no} })
	if err != nil {
		t.Fatal(err)
	}
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
	r, err := w.submit("", nil) // no node at all
	if err != nil {
		t.Fatal(err)
	}
	w.pass(62 * time.Second)
	if s := w.task(r.ID); s.State != "expired" || s.Cost.Refunded != core.Credit {
		t.Fatalf("queue timeout: %+v", s)
	}
	a := w.join("a-1", "alice", "FR", 10_000)
	if r, err = w.submit("", func(s *api.TaskSpec) { s.Timeout = &api.Timeout{Total: api.Duration(10 * time.Second)} }); err != nil {
		t.Fatal(err)
	}
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

func TestFailureIsRetriedThenFinal(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.join("a-1", "alice", "FR", 10_000)
	r, err := w.submit("", nil)
	if err != nil {
		t.Fatal(err)
	}
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
	r, err := w.submit("", nil)
	if err != nil {
		t.Fatal(err)
	}
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
	r, err := w.submit("", func(s *api.TaskSpec) { s.Budget = &api.Budget{MaxCost: 9_999} })
	if err != nil {
		t.Fatal(err)
	}
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
		if _, err := w.submit("", nil); err != nil {
			t.Fatal(err)
		}
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
	r, err := w.submit("", func(s *api.TaskSpec) {
		s.Input = []api.DataPointer{{URI: "blob:" + d.String()}}
		s.Split = &api.Split{Lines: 70}
	})
	if err != nil {
		t.Fatal(err)
	}
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
