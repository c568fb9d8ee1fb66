package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"atoll/internal/blob"
	"atoll/internal/blob/blobtest"
	"atoll/internal/blob/swarm"
	"atoll/internal/bus"
	"atoll/internal/core"
	"atoll/internal/engine"
	"atoll/internal/identity"
	"atoll/internal/node/outbox"
	"atoll/internal/receipt"
)

// patience bounds every wait of these tests; none of them measures time.
const patience = 20 * time.Second

var quiet = slog.New(slog.DiscardHandler)

// upper is an engine whose models say what to do with the input.
type upper struct {
	loads  atomic.Int64
	closed atomic.Int64
	gate   chan struct{} // runs of model "wait" end when it is closed, or their context does
}

func (*upper) Name() string       { return "text" }
func (*upper) Reproducible() bool { return true }
func (*upper) Close() error       { return nil }

func (e *upper) Load(_ context.Context, m engine.Model) (engine.Instance, error) {
	e.loads.Add(1)
	b, err := os.ReadFile(m.Path)
	switch {
	case err != nil:
		return nil, err
	case string(b) == "garbage":
		return nil, fmt.Errorf("%w: %s is garbage", engine.ErrModel, m.Path)
	case string(b) == "panic on load":
		panic("load")
	}
	return &upperInstance{e, string(b)}, nil
}

type upperInstance struct {
	e    *upper
	does string
}

func (i *upperInstance) Close(context.Context) error { i.e.closed.Add(1); return nil }

func (i *upperInstance) Run(ctx context.Context, in engine.Input) (out engine.Output, u engine.Usage, err error) {
	u.CPU = 3 * time.Millisecond
	switch i.does {
	case "upper":
		out.Data = bytes.ToUpper(in.Data)
	case "large":
		out.Data = bytes.Repeat(in.Data, 1+bus.InlineLimit/len(in.Data))
	case "refuse":
		err = fmt.Errorf("line 3: %w", engine.ErrInput)
	case "fail":
		err = &os.PathError{Op: "open", Path: "/home/owner/secret", Err: os.ErrPermission}
	case "panic":
		panic("run")
	case "wait":
		select {
		case <-i.e.gate:
			out.Data = []byte("waited")
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	return out, u, err
}

// rig is a hub in memory, and an agent that talks to it.
type rig struct {
	t      *testing.T
	agent  *Agent
	engine *upper
	key    *identity.Key
	disk   *outbox.Memory
	faults Faults
	models map[core.Digest][]byte
	fetch  atomic.Int64

	mu      sync.Mutex // guards what follows
	inputs  map[core.LeaseID][]byte
	results map[core.LeaseID][]byte
	news    chan struct{} // gets a token at each message of the node
	status  bus.Status    // all there were, joined
	beats   []bus.Heartbeat
	reports map[core.LeaseID]receipt.ExecutedLease
	bodies  map[core.LeaseID]bus.Result
	mute    bool // do not acknowledge
	ran     chan error
}

func newRig(t *testing.T, change func(*rig)) *rig {
	t.Helper()
	key, err := identity.Generate()
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{
		t: t, engine: &upper{gate: make(chan struct{})}, key: key, disk: &outbox.Memory{}, models: map[core.Digest][]byte{},
		inputs: map[core.LeaseID][]byte{}, results: map[core.LeaseID][]byte{}, news: make(chan struct{}, 1),
		reports: map[core.LeaseID]receipt.ExecutedLease{}, bodies: map[core.LeaseID]bus.Result{}, ran: make(chan error, 1),
	}
	for _, does := range []string{"upper", "large", "refuse", "fail", "panic", "wait", "garbage", "panic on load"} {
		r.models[core.DigestOf([]byte(does))] = []byte(does)
	}
	if change != nil {
		change(r)
	}
	r.build()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(func() {
		cancel()
		if err := <-r.ran; err != nil && !errors.Is(err, ErrDied) {
			t.Error(err)
		}
	})
	go func() { r.ran <- r.agent.Run(ctx, r) }()
	return r
}

func (r *rig) build() {
	hub := httptest.NewServer(http.HandlerFunc(r.serve))
	r.t.Cleanup(hub.Close)
	web, err := NewHubHTTP(hub.URL+"/", "the-key", hub.Client())
	if err != nil {
		r.t.Fatal(err)
	}
	models := testModels(r.t, web)
	signer, err := receipt.NewSigner(r.key.Signer())
	if err != nil {
		r.t.Fatal(err)
	}
	statements, err := NewStatements(signer, receipt.Execution{Hub: testHub, Node: testNode, Owner: "olga"}, "FR")
	if err != nil {
		r.t.Fatal(err)
	}
	cfg := testConfig(r.disk)
	cfg.Signer, cfg.Faults, cfg.Offer.Queue = statements, r.faults, 512
	r.agent, err = New(Config{Core: cfg, Engines: []engine.Engine{r.engine}, HTTP: web, Models: models,
		Metrics: prometheus.NewRegistry(), Log: quiet})
	if err != nil {
		r.t.Fatal(err)
	}
}

// testModels is where a node's models come from and are kept.
func testModels(t testing.TB, hub *HubHTTP) *swarm.Swarm {
	t.Helper()
	store, err := blob.Open(filepath.Join(t.TempDir(), "cache"), blob.Options{Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	models, err := swarm.New(swarm.Config{Store: store, Origin: hub})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(models.Close)
	return models
}

// serve is the hub's API for nodes.
func (r *rig) serve(w http.ResponseWriter, req *http.Request) {
	if req.Header.Get("Authorization") != "Bearer the-key" {
		http.Error(w, "who are you", http.StatusUnauthorized)
		return
	}
	if text, ok := strings.CutPrefix(req.URL.Path, "/v1/node/models/"); ok {
		d, err := core.ParseDigest(strings.TrimSuffix(text, "/chunks"))
		if r.fetch.Add(1) == 1 {
			http.Error(w, "not yet", http.StatusServiceUnavailable) // is tried again
			return
		}
		if b := r.models[d]; err == nil && b != nil {
			blobtest.ServeModel(w, req, b)
			return
		}
		http.Error(w, "no such model", http.StatusNotFound)
		return
	}
	text, _ := strings.CutPrefix(req.URL.Path, "/v1/node/leases/")
	idText, what, _ := strings.Cut(text, "/")
	id, err := core.ParseLeaseID(idText)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case what == "input" && req.Method == http.MethodGet:
		_, _ = w.Write(r.inputs[id])
	case what == "result" && req.Method == http.MethodPut:
		r.results[id], _ = io.ReadAll(req.Body)
		w.WriteHeader(http.StatusNoContent)
	default:
		http.NotFound(w, req)
	}
}

// Send is the node's link to the hub.
func (r *rig) Send(kind string, data []byte, _ string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch kind {
	case bus.KindHeartbeat:
		var b bus.Heartbeat
		r.must(json.Unmarshal(data, &b))
		r.beats = append(r.beats, b)
	case bus.KindStatus:
		var s bus.Status
		r.must(json.Unmarshal(data, &s))
		r.status.Accepted = append(r.status.Accepted, s.Accepted...)
		r.status.Started = append(r.status.Started, s.Started...)
		r.status.Refused = append(r.status.Refused, s.Refused...)
	case bus.KindReport:
		r.report(data)
	}
	select {
	case r.news <- struct{}{}:
	default:
	}
	return nil
}

func (r *rig) report(data []byte) {
	var m bus.Report
	r.must(json.Unmarshal(data, &m))
	key, err := receipt.NewKey(r.key.Public().ECDSA())
	r.must(err)
	e, _, err := key.OpenExecution(m.Envelope)
	r.must(err)
	var ack bus.Ack
	for i, l := range e.Leases {
		r.reports[l.Lease], r.bodies[l.Lease] = l, m.Results[i]
		ack.Leases = append(ack.Leases, l.Lease)
	}
	if !r.mute {
		b, err := json.Marshal(ack)
		r.must(err)
		go r.agent.Handle(bus.Inbound{Kind: bus.KindAck, Data: b})
	}
}

func (r *rig) must(err error) {
	if err != nil {
		r.t.Error(err)
	}
}

func (r *rig) offer(leases ...bus.Lease) {
	r.agent.Handle(bus.Inbound{Kind: bus.KindLease, Data: sealLeases(r.t, r.agent.cfg.Core.Boot, time.Now(), leases...)})
}

// look reads what the hub knows.
func (r *rig) look(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
}

// until waits for what the hub must come to know.
func (r *rig) until(what string, done func() bool) {
	r.t.Helper()
	limit := time.After(patience)
	for {
		r.mu.Lock()
		ok := done()
		r.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-r.news:
		case <-limit:
			r.t.Fatalf("waited in vain for %s; status %+v", what, r.status)
		}
	}
}

func (r *rig) lease(id core.LeaseID, does string, input string) bus.Lease {
	l := testLease(id)
	l.Data = []byte(input)
	l.Model, l.ModelSize = core.DigestOf([]byte(does)), int64(len(does))
	l.Input, l.InputSize = core.DigestOf(l.Data), int64(len(l.Data))
	l.ExpiresMs = time.Now().Add(time.Hour).UnixMilli()
	l.ExecutionMs = 60_000
	if l.InputSize > bus.InlineLimit {
		r.mu.Lock()
		r.inputs[id] = l.Data
		r.mu.Unlock()
		l.Data = nil
	}
	return l
}

func TestAgentDoesParts(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.agent.Connected()
	big := strings.Repeat("b", bus.InlineLimit+1)
	leases := []bus.Lease{r.lease(1, "upper", "hello"), r.lease(2, "upper", big), r.lease(3, "large", "xy"), r.lease(4, "refuse", "q"), r.lease(5, "garbage", "q")}
	for i := range 200 {
		leases = append(leases, r.lease(core.LeaseID(100+i), "upper", fmt.Sprint("part ", i)))
	}
	r.offer(leases...)
	r.until("205 reports", func() bool { return len(r.reports) == len(leases) })
	r.look(func() { checkParts(t, r, big) })
	if n := r.engine.loads.Load(); n != 4 {
		t.Errorf("%d models were loaded in place of 4", n)
	}
	if n := r.fetch.Load(); n != 9 {
		t.Errorf("%d requests for 4 models of a manifest and a chunk each, the first of which is tried twice", n)
	}
}

func checkParts(t *testing.T, r *rig, big string) {
	for i := range 200 {
		if b := r.bodies[core.LeaseID(100+i)]; string(b.Data) != fmt.Sprint("PART ", i) {
			t.Fatalf("part %d: %q", i, b.Data)
		}
	}
	for id, want := range map[core.LeaseID]string{1: "HELLO", 2: strings.ToUpper(big), 3: strings.Repeat("xy", 1+bus.InlineLimit/2)} {
		b := r.bodies[id]
		data := b.Data
		if large := len(want) > bus.InlineLimit; large != b.Uploaded {
			t.Errorf("%s: uploaded is %v", id, b.Uploaded)
		} else if large {
			data = r.results[id]
		}
		e := r.reports[id]
		if string(data) != want || e.Result != core.DigestOf(data) || e.Outcome != receipt.OK || e.Nonce != "nonce" || e.PriceMicro != 30_000 || e.RegionDeclared != "FR" || e.Usage.CPUMs != 3 || e.Usage.BytesOut != int64(len(want)) {
			t.Errorf("%s: %d bytes, receipt %+v", id, len(data), e)
		}
	}
	for id, want := range map[core.LeaseID]string{4: "line 3: input refused", 5: "model refused: the model is garbage"} {
		if e := r.reports[id]; e.Outcome != receipt.Failed || e.Error != want || string(r.bodies[id].Data) != want {
			t.Errorf("%s: %+v, want %q", id, e, want)
		}
	}
}

func TestAgentRefusesWhatItCannotDo(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	unknown := r.lease(1, "upper", "x")
	unknown.Model = core.DigestOf([]byte("unknown"))
	mismatch := r.lease(5, "upper", strings.Repeat("b", bus.InlineLimit+1))
	r.mu.Lock()
	r.inputs[5] = []byte(strings.Repeat("c", bus.InlineLimit+1))
	r.mu.Unlock()
	smaller := r.lease(7, "wait", "x")
	smaller.ModelSize = 2
	smaller.Model = core.DigestOf([]byte("large"))
	r.offer(unknown, r.lease(2, "fail", "x"), r.lease(3, "panic", "x"), r.lease(4, "panic on load", "x"), mismatch)
	r.offer(smaller)
	want := map[core.LeaseID]string{
		1: "404 Not Found: no such model", 2: "this node could not do it: open (path) permission denied",
		3: "failed badly", 4: "failed badly", 5: "does not match the digest", 7: "the content has 5 bytes, not 2",
	}
	r.until("refusals", func() bool { return len(r.status.Refused) >= len(want) })
	r.look(func() {
		for _, x := range r.status.Refused {
			if !strings.Contains(x.Reason, want[x.Lease]) || strings.Contains(x.Reason, "secret") {
				t.Errorf("%s: %q, want %q", x.Lease, x.Reason, want[x.Lease])
			}
		}
	})
}

func TestAgentDeadlineAndCancel(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	late := r.lease(1, "wait", "x")
	late.ExecutionMs = 1
	r.offer(late, r.lease(2, "wait", "x"))
	r.until("the deadline", func() bool { return r.reports[1].Error == "deadline exceeded: the part may take 1 ms" })
	r.until("the start", func() bool { return len(r.status.Started) > 0 })
	cancel, err := json.Marshal(bus.Cancel{Leases: []core.LeaseID{2}, Reason: "no longer wanted"})
	if err != nil {
		t.Fatal(err)
	}
	r.agent.Handle(bus.Inbound{Kind: bus.KindCancel, Data: cancel})
	r.until("nothing held", func() bool { return len(r.beats) > 0 && r.beats[len(r.beats)-1].Holding == 0 })
	r.look(func() {
		if _, ok := r.reports[2]; ok {
			t.Error("a cancelled lease was reported")
		}
	})
}

func TestAgentDrains(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.offer(r.lease(1, "wait", "x"), r.lease(2, "wait", "x"), r.lease(3, "wait", "x"))
	r.until("the start", func() bool { return len(r.status.Started) == 2 })
	drained := make(chan error, 1)
	go func() { drained <- r.agent.Drain(t.Context()) }()
	r.until("the queued lease", func() bool { return len(r.status.Refused) == 1 && r.status.Refused[0].Lease == 3 })
	close(r.engine.gate)
	if err := <-drained; err != nil {
		t.Fatal(err)
	}
	if all, _ := r.disk.All(); len(r.reports) != 2 || len(all) != 0 {
		t.Errorf("%d reports, %d left behind", len(r.reports), len(all))
	}
	if r.engine.closed.Load() != r.engine.loads.Load() {
		t.Errorf("%d of %d models were unloaded", r.engine.closed.Load(), r.engine.loads.Load())
	}
	if r.agent.Handle(bus.Inbound{Kind: bus.KindAck, Data: []byte("{}")}); r.agent.Drain(t.Context()) != nil {
		t.Error("draining twice")
	}
}

// Cut off from its hub a node keeps its reports, and its next life sends them.
func TestAgentRestarts(t *testing.T) {
	t.Parallel()
	first := newRig(t, func(r *rig) { r.mute = true })
	first.offer(first.lease(1, "upper", "x"))
	first.until("the report", func() bool { return len(first.reports) == 1 })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := first.agent.Drain(ctx); !errors.Is(err, ErrUndone) {
		t.Errorf("drained without an acknowledgement: %v", err)
	}
	second := newRig(t, func(r *rig) { r.disk, r.key = first.disk, first.key })
	second.agent.Connected()
	second.until("the report", func() bool { return len(second.reports) == 1 })
	first.look(func() {
		if second.reports[1].Result != first.reports[1].Result {
			t.Error("another report")
		}
	})
	if err := second.agent.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if second.engine.loads.Load() != 0 {
		t.Error("the lease was run again")
	}
}

func TestAgentDies(t *testing.T) {
	t.Parallel()
	var log safeBuffer
	r := newRig(t, func(r *rig) { r.faults = Faults{CrashAfter: 2} })
	r.offer(r.lease(1, "upper", "x"), r.lease(2, "upper", "x"), r.lease(3, "upper", "x"))
	err := <-r.ran
	r.ran <- err
	if !errors.Is(err, ErrDied) {
		t.Errorf("%v", err)
	}
	cfg := r.agent.cfg
	cfg.Log, cfg.Metrics = slog.New(slog.NewTextHandler(&log, nil)), nil
	if _, err := New(cfg); err != nil || !strings.Contains(log.String(), "REHEARSAL") || !strings.Contains(log.String(), "crash-after=2") {
		t.Errorf("a rehearsal is not announced: %v, %q", err, log.String())
	}
}

func TestAgentStopsWhenTheDiskFails(t *testing.T) {
	t.Parallel()
	broken := errors.New("no space left on device")
	r := newRig(t, func(r *rig) { r.disk.Fail = func() error { return broken } })
	r.offer(r.lease(1, "upper", "x"))
	if err := <-r.ran; !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
	r.ran <- nil
	if len(r.reports) != 0 {
		t.Error("a report left that was not stored")
	}
}

type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
