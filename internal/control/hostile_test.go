package control

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"atoll/api"
	"atoll/internal/bus"
	"atoll/internal/core"
	"atoll/internal/receipt"
	"atoll/internal/request"
)

// A node's words go into statements that must be UTF-8. Whatever it says, and
// wherever that is cut, the hub goes on.
func TestWordsOfANodeDoNotStopTheHub(t *testing.T) {
	t.Parallel()
	for _, words := range []string{strings.Repeat("a", 499) + "éé", strings.Repeat("é", 300), strings.Repeat("世", 1000)} {
		w := newWorld(t)
		a := w.join("a-1", "alice", "FR", 10_000)
		r := w.mustSubmit(func(s *api.TaskSpec) { s.Retry = &api.Retry{MaxAttempts: 1} })
		w.report(a, w.leases(a.id)[0], "fail:"+words, func(e *receipt.ExecutedLease) { e.Error = words })
		if s := w.task(r.ID); s.State == "running" {
			t.Errorf("%.20s…: %s", words, s.State)
		}
		if err := w.hub.Ready(t.Context()); err != nil {
			t.Errorf("%.20s…: %v", words, err)
		}
		w.settle()
		w.audit()
	}
}

func TestDescriptionsAreCutBetweenCharacters(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	v := request.Viewer{Account: "demo"}
	d, _, err := w.hub.PutBlob(t.Context(), v, strings.NewReader("other"), core.Digest{}, 1000)
	if err != nil {
		t.Fatal(err)
	}
	m, err := w.hub.RegisterModel(t.Context(), v, request.ModelUpload{Name: "long", Engine: "test", Digest: d, Description: "a" + strings.Repeat("é", 400)})
	if err != nil || m.Description != core.Clip(m.Description, 500) {
		t.Errorf("%q, %v", m.Description, err)
	}
}

// A digest is no key: receipts tell it to everybody.
func TestBytesAreForWhoBroughtThem(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if _, err := w.hub.CreateAccount(t.Context(), "bob", 10*core.Credit, ""); err != nil {
		t.Fatal(err)
	}
	secret := "blob:" + w.model.Digest.String()
	spec := &api.TaskSpec{Model: "echo", Input: []api.DataPointer{{URI: secret}}}
	submit := func(who core.AccountID, spec *api.TaskSpec) error {
		full := spec.WithDefaults()
		_, err := w.hub.Submit(t.Context(), request.Submission{Account: who, Spec: &full})
		return err
	}
	if err := submit("demo", spec); err != nil {
		t.Errorf("its owner: %v", err)
	}
	if err := submit("bob", spec); core.KindOf(err) != core.NotFound {
		t.Errorf("as input: %v", err)
	}
	if err := submit("bob", &api.TaskSpec{Model: w.model.Digest.String(), Engine: "test", Input: []api.DataPointer{{URI: "data:,x"}}}); core.KindOf(err) != core.NotFound {
		t.Errorf("as model: %v", err)
	}
	if _, err := w.hub.RegisterModel(t.Context(), request.Viewer{Account: "bob"}, request.ModelUpload{Name: "mine", Engine: "test", Digest: w.model.Digest}); core.KindOf(err) != core.NotFound {
		t.Errorf("as a model of his own: %v", err)
	}
	if err := submit("bob", &api.TaskSpec{Model: "echo", Input: []api.DataPointer{{URI: "data:,x"}}}); err != nil {
		t.Errorf("the registered model, which is for all: %v", err)
	}
	if _, _, err := w.hub.PutBlob(t.Context(), request.Viewer{Account: "bob"}, strings.NewReader("a model"), core.Digest{}, 1000); err != nil {
		t.Fatal(err)
	}
	if err := submit("bob", spec); err != nil {
		t.Errorf("having brought the same bytes: %v", err)
	}
}

// A client that repeats itself gets its task, though what it pointed to is gone.
func TestRepeatedAfterTheInputIsGone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d, _, err := w.hub.PutBlob(t.Context(), request.Viewer{Account: "demo"}, strings.NewReader("soon gone"), core.Digest{}, 1000)
	if err != nil {
		t.Fatal(err)
	}
	point := func(s *api.TaskSpec) { s.Input = []api.DataPointer{{URI: "blob:" + d.String()}} }
	first, err := w.submit("once", point)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.hub.cfg.Blobs.Delete(d); err != nil {
		t.Fatal(err)
	}
	again, err := w.submit("once", point)
	if err != nil || again.ID != first.ID || !again.Duplicate {
		t.Errorf("%+v, %v; the first was %s", again, err, first.ID)
	}
	if _, err := w.submit("another", point); core.KindOf(err) != core.NotFound {
		t.Errorf("a new task: %v", err)
	}
	if _, err := w.submit("once", func(s *api.TaskSpec) { point(s); s.Residency = []string{"EU"} }); err == nil {
		t.Error("the key served for another request")
	}
}

// What a requester demands of time is not held against nodes: they have time to
// say that it cannot be met.
func TestTightTimeoutsDoNotSpoilNodes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.join("a-1", "alice", "FR", 10_000)
	w.mustSubmit(func(s *api.TaskSpec) {
		s.Timeout = &api.Timeout{Queue: api.Duration(time.Second), Execution: api.Duration(100 * time.Millisecond)}
	})
	l := w.leases(a.id)[0]
	accepted, _ := json.Marshal(bus.Status{Accepted: []core.LeaseID{l.ID}})
	w.hub.Inbound(a.id, bus.KindStatus, accepted)
	for range 8 { // 2 s, which is after the queue timeout
		w.pass(250 * time.Millisecond)
		w.beat(a)
	}
	nodes, err := w.hub.Nodes(t.Context())
	if err != nil || nodes[0].Lost != 0 {
		t.Errorf("%+v, %v", nodes, err)
	}
}

// Tasks that no node fits cost nothing to hold, and hold up nobody.
func TestImpossibleTasksHoldUpNobody(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for range 300 {
		w.mustSubmit(func(s *api.TaskSpec) {
			s.Placement = &api.Placement{Regions: []string{"nowhere"}}
			s.Budget = &api.Budget{MaxCost: 1}
		})
	}
	a := w.join("a-1", "alice", "FR", 10_000)
	w.pass(2 * time.Second)
	w.beat(a)
	r := w.mustSubmit(nil)
	l := w.leases(a.id)
	if len(l) != 1 || l[0].Task != r.ID {
		t.Fatalf("%d leases for the one task that the node could do", len(l))
	}
	w.report(a, l[0], "done", nil)
	w.settle()
	w.audit()
}

// A hub that has stood still does not take that for the silence of its nodes.
func TestStandingStillIsNobodysFault(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.join("a-1", "alice", "FR", 10_000)
	w.mustSubmit(nil)
	w.now = w.now.Add(10 * time.Second)
	w.hub.Sweep()
	nodes, err := w.hub.Nodes(t.Context())
	if err != nil || nodes[0].Lost != 0 {
		t.Errorf("%+v, %v", nodes, err)
	}
	w.report(a, w.leases(a.id)[0], "result", nil)
	w.settle()
	w.audit()
}

// Bytes of somebody else are no result, whoever knows their digest.
func TestResultsAreBroughtForTheirLease(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.join("a-1", "alice", "FR", 10_000)
	secret := strings.Repeat("secret", 50_000)
	d, _, err := w.hub.PutBlob(t.Context(), request.Viewer{Account: "victim"}, strings.NewReader(secret), core.Digest{}, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	r := w.mustSubmit(nil)
	l := w.leases(a.id)[0]
	w.reportUploaded(a, l, d)
	if s := w.task(r.ID); s.State == "succeeded" {
		t.Fatal("a node lent the bytes of another account")
	}
	if err := w.hub.PutResult(t.Context(), a.id, l.ID, strings.NewReader(secret)); err != nil {
		t.Fatal(err)
	}
	w.reportUploaded(a, l, d)
	if s := w.task(r.ID); s.State != "succeeded" {
		t.Fatalf("%s: %s", s.State, s.Reason)
	}
}

// A record is made of work that other owners confirmed, for others.
func TestUnconfirmedWorkMakesNoRecord(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.join("a-1", "alice", "FR", 10_000)
	own := w.join("d-1", "demo", "FR", 10_000) // the requester's own
	for range 10 {
		w.mustSubmit(nil)
		for _, n := range []*testNode{a, own} {
			for _, l := range w.leases(n.id) {
				w.report(n, l, "anything", nil)
			}
		}
		w.settle()
	}
	nodes, err := w.hub.Nodes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range nodes {
		if n.Reliability != 0.5 {
			t.Errorf("%s: reliability %g after work that nobody has confirmed", n.ID, n.Reliability)
		}
	}
}

// Inputs that one account has read slowly do not hold up another's, and all
// together take no more memory than there is for them.
func TestReadingIsSharedFairly(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var all []*reading
	for range maxReading {
		x := w.hub.readers.begin("greedy")
		if err := x.enter(); err != nil {
			t.Fatal(err)
		}
		all = append(all, x)
	}
	if err := w.hub.readers.begin("greedy").enter(); core.KindOf(err) != core.Unavailable {
		t.Errorf("one more: %v", err)
	}
	stored := func(s *api.TaskSpec) { s.Input = []api.DataPointer{{URI: "blob:" + w.model.Digest.String()}} }
	if _, err := w.submit("", stored); err != nil {
		t.Errorf("another account: %v", err)
	}
	if err := all[0].take(t.Context(), readingBytes-10); err != nil {
		t.Fatal(err)
	}
	fetched := &buffer{ctx: t.Context(), x: all[1]}
	if _, err := fetched.Write(make([]byte, 10)); err != nil {
		t.Error(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	fetched.ctx = ctx // who waits no longer
	if _, err := fetched.Write(make([]byte, 1)); core.KindOf(err) != core.Unavailable {
		t.Errorf("a byte too many: %v", err)
	}
	for _, x := range all {
		x.end()
	}
	if x := w.hub.readers.begin("greedy"); x.enter() != nil || x.take(t.Context(), readingBytes) != nil {
		t.Error("not all was given back")
	} else {
		x.end()
	}
	if _, err := w.submit("", stored); err != nil || len(w.hub.readers.of) != 0 {
		t.Errorf("%v, %v are left", err, w.hub.readers.of)
	}
}

// Tasks of very many parts fill neither memory nor the hub's time: they are
// counted, and wait and end together.
func TestManyParts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	many := func(s *api.TaskSpec) {
		s.Input = []api.DataPointer{{URI: "data:text/plain;base64," + base64.StdEncoding.EncodeToString([]byte(strings.Repeat("x\n", maxParts)))}}
		s.Split, s.Timeout = &api.Split{Lines: 1}, &api.Timeout{Queue: api.Duration(time.Second)}
	}
	var last api.SubmitReply
	for range maxOpenParts / maxParts {
		last = w.mustSubmit(many)
	}
	if _, err := w.submit("", many); core.KindOf(err) != core.Throttled {
		t.Fatalf("more than %d parts: %v", maxOpenParts, err)
	}
	w.pass(2 * time.Second)
	if task := w.task(last.ID); task.State != "expired" {
		t.Fatalf("%s: %s", task.State, task.Reason)
	}
	w.settle()
	w.mustSubmit(many)
	w.audit()
}

// A node that brings results without end fills no disk with them: of one lease only
// so many may be on their way, and only so much be brought.
func TestResultsOnTheirWayAreBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.join("a-1", "alice", "FR", 10_000)
	w.mustSubmit(nil)
	l := w.leases(a.id)[0]
	ended := make(chan error, maxBringing)
	var bring [maxBringing]*io.PipeWriter
	for i := range bring {
		r, to := io.Pipe()
		bring[i] = to
		go func() { ended <- w.hub.PutResult(t.Context(), a.id, l.ID, r) }()
		fmt.Fprint(to, "the beginning of a result") // is being read
	}
	if err := w.hub.PutResult(t.Context(), a.id, l.ID, strings.NewReader("one more")); core.KindOf(err) != core.Throttled {
		t.Errorf("one more: %v", err)
	}
	bring[0].CloseWithError(io.ErrUnexpectedEOF) // the connection broke
	if err := <-ended; err == nil {
		t.Error("half of a result was taken")
	}
	if err := w.hub.PutResult(t.Context(), a.id, l.ID, strings.NewReader("once more")); err != nil {
		t.Errorf("once more, when there is room: %v", err)
	}
	bring[1].Close()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// A node's word for its life is kept, and repeated with each lease: it is a word.
func TestBootIsAWord(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.join("a-1", "alice", "FR", 10_000)
	w.pass(downAfterMs * time.Millisecond)
	for boot, up := range map[string]bool{"": false, strings.Repeat("x", bus.MaxWord+1): false, strings.Repeat("x", bus.MaxWord): true} {
		w.hub.nodes[a.id].offer.Up = false
		w.say(a, bus.KindHeartbeat, bus.Heartbeat{Boot: boot, Offer: bus.NodeOffer{Country: "FR", Slots: 1, Queue: 1}})
		if n := w.hub.nodes[a.id]; n.offer.Up != up || (n.bootID == boot) != up {
			t.Errorf("a boot ID of %d bytes: up %v", len(boot), n.offer.Up)
		}
	}
}
