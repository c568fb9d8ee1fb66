package control

import (
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
	"atoll/internal/engine"
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
	quota         int64 // of each account
	retention     time.Duration
	reserve, free int64 // bytes of the disk: kept free, and left
	t             *testing.T
	dir           string
	now           time.Time
	hub           *Control
	key           *identity.Key
	crash         func(store.Point) bool
	nodes         map[core.NodeID]*testNode
	sent          []message
	model         api.Model
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
	loaded  []core.Digest
	says    func(*bus.NodeOffer) // what else it offers
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
	blobs, err := blob.Open(filepath.Join(w.dir, "blobs"), blob.Options{Reserve: w.reserve, Free: func(string) (int64, error) { return w.free, nil }})
	if err != nil {
		w.t.Fatal(err)
	}
	fetcher, err := fetch.New(fetch.Config{})
	if err != nil {
		w.t.Fatal(err)
	}
	w.hub, err = New(w.t.Context(), Config{
		HubID: "hub", Path: filepath.Join(w.dir, "db"), Key: w.key, Log: log, Blobs: blobs, Quota: w.quota, Retention: w.retention, Fetch: fetcher, Send: w, Admit: admitAll{},
		Models: func(string, string) (ModelFacts, error) {
			return ModelFacts{Reproducible: true, Shape: func(profile string) (*ModelShape, error) {
				s := &ModelShape{Layers: 8, Context: 16, Layer: 100 << 20, Embedding: 1 << 20, Output: 1 << 20, Row: 4096, Cache: 1}
				switch profile {
				case "q8/4,6":
					s.Cuts, s.Row = []int{4, 6}, 1152
				case "f32": // whose layers two nodes can divide
					s.Parts, s.Shares = 1000, func(speeds []int) ([]float64, error) {
						if len(speeds) != 2 {
							return nil, core.Errorf(core.Invalid, "two heads")
						}
						first := float64(speeds[0]) / float64(speeds[0]+speeds[1])
						return []float64{first, 1 - first}, nil
					}
				case "q8/8":
					return nil, core.Errorf(core.Invalid, "no layer 8").At("params.profile")
				}
				return s, nil
			}}, nil
		},
		Pieces: map[string]engine.Piece{"test": pieceOf},
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

// pieceOf is the test engine's: it cannot be made of the result "garbage".
func pieceOf(in engine.Input, claimed []byte, size int, lot [32]byte) ([]byte, error) {
	if string(claimed) == "garbage" {
		return nil, errors.New("no output of this engine")
	}
	return fmt.Appendf(nil, "%d steps of %s for %s by %x", size, claimed[:min(len(claimed), 100)], in.Data, lot[:4]), nil
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
	n := &testNode{id: id, owner: owner, key: key, signer: signer, country: country, price: price}
	w.nodes[id] = n
	w.beat(n)
	return n
}

func (w *world) beat(n *testNode) {
	o := bus.NodeOffer{Price: n.price, Country: n.country, Engines: []string{"test"}, Loaded: n.loaded, Arch: "amd64", OS: "linux", Slots: 2, Queue: 8, CPUMillis: 2000, Memory: 1 << 30}
	if n.says != nil {
		n.says(&o)
	}
	data, _ := json.Marshal(bus.Heartbeat{Boot: "1", Offer: o})
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
		Engine: l.Engine, Nonce: l.Nonce, Commit: l.Commit, Outcome: receipt.OK, StartedMs: 1, FinishedMs: 2, PriceMicro: int64(l.Price), RegionDeclared: n.country,
	}
	if why, failed := strings.CutPrefix(result, "fail:"); failed {
		e.Outcome, e.Error, e.Result = receipt.Failed, why, core.DigestOf([]byte(why))
		result = why
	}
	if edit != nil {
		edit(&e)
	}
	w.send(n, l.Account, e, bus.Result{Lease: e.Lease, Data: []byte(result)})
}

// reportUploaded has a node say that it has brought a result over HTTP.
func (w *world) reportUploaded(n *testNode, l bus.Lease, result core.Digest) {
	w.t.Helper()
	w.send(n, l.Account, receipt.ExecutedLease{
		Lease: l.ID, Task: l.Task, Part: l.Part, Attempt: l.Attempt, Input: l.Input, Model: l.Model, Params: l.ParamsHash, Result: result,
		Engine: l.Engine, Nonce: l.Nonce, Commit: l.Commit, Outcome: receipt.OK, StartedMs: 1, FinishedMs: 2, PriceMicro: int64(l.Price), RegionDeclared: n.country,
	}, bus.Result{Lease: l.ID, Uploaded: true})
}

func (w *world) send(n *testNode, account core.AccountID, e receipt.ExecutedLease, r bus.Result) {
	w.t.Helper()
	s, err := n.signer.Execution(&receipt.Execution{Hub: "hub", Node: n.id, Owner: n.owner, Account: account, Leases: []receipt.ExecutedLease{e}})
	if err != nil {
		w.t.Fatal(err)
	}
	data, _ := json.Marshal(bus.Report{Envelope: s.Envelope, Results: []bus.Result{r}})
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

// mustSubmit is submit without a key, of a task that has nothing wrong with it.
func (w *world) mustSubmit(edit func(*api.TaskSpec)) api.SubmitReply {
	w.t.Helper()
	r, err := w.submit("", edit)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
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

// say sends a message of a node.
func (w *world) say(n *testNode, kind string, v any) {
	w.t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		w.t.Fatal(err)
	}
	w.hub.Inbound(n.id, kind, data)
}
