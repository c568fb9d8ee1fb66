package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"atoll/api"
	"atoll/internal/blob"
	"atoll/internal/core"
	"atoll/internal/fed"
	"atoll/internal/fed/client"
	"atoll/internal/fed/dataset"
	"atoll/internal/identity"
	"atoll/internal/receipt"
	"atoll/internal/request"
	"atoll/internal/store"
)

const tableSchema = `{"fields":[{"name":"id","type":"integer"},{"name":"a","type":"number"},{"name":"b","type":"number"},{"name":"y","type":"string"}],"primaryKey":["id"]}`

func specOf(more string) []byte {
	if !strings.Contains(more, `"rounds"`) {
		more += `,"rounds":2`
	}
	return fmt.Appendf(nil, `{"name":"test","purpose":"health","dataset":"rows","schema":%s,"features":{"inputs":[{"column":"a","as":"number"},{"column":"b","as":"number"}],"label":{"column":"y","classes":["no","yes"]}},
		"model":{"kind":"logistic"},"train":{"epochs":1,"batch":8,"rate":0.5}%s}`, tableSchema, more)
}

// hub is what a Server needs of a hub, over a real store.
type hub struct {
	st     *store.Store
	signer *receipt.Signer
	nodes  []api.Node
	ids    *core.IDSource
}

func (h *hub) Record(fn func(*store.Tx, func(receipt.Signed) int64)) <-chan struct{} {
	done := make(chan struct{})
	h.st.Go(func(tx *store.Tx) {
		fn(tx, func(s receipt.Signed) int64 { return tx.AppendLeaf(s.Leaf, s.Envelope) })
		tx.After(func() { close(done) })
	})
	return done
}

func (h *hub) SignRound(r *receipt.Round) (receipt.Signed, error) {
	r.Hub = "hub-test"
	return h.signer.Round(r)
}
func (h *hub) NewFederationID() core.FederationID { return core.FederationID(h.ids.Next()) }
func (h *hub) Unname(...core.Digest)              {}
func (h *hub) Nodes(context.Context) ([]api.Node, error) {
	return h.nodes, nil
}

func (h *hub) Bundle(context.Context, int64) ([]byte, error) {
	return nil, errors.New("no log is published here")
}

// world is a server with nodes that speak to it without a network.
type world struct {
	t     *testing.T
	cfg   Config
	hub   *hub
	dirs  []string
	keys  []*identity.Key
	owner request.Viewer

	calls   sync.RWMutex // held by those who speak to a server, for it dies with all of them
	mu      sync.Mutex
	server  *Server
	stop    func() // the server's Run, and waits for it
	rng     *rand.Rand
	lost    float64 // chance that a message or its answer is lost
	restart float64 // chance that the server is made anew after a reply
	acked   map[string]bool
	gone    map[core.NodeID]bool // their messages do not come through
}

func newWorld(t *testing.T, nodes int, p dataset.Policy) *world {
	t.Helper()
	dir := t.TempDir()
	st, err := store.Open(store.Config{Path: filepath.Join(dir, "db"), Log: slog.New(slog.DiscardHandler), NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	blobs, err := blob.Open(filepath.Join(dir, "blobs"), blob.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, hub: &hub{st: st, ids: core.NewIDSource(nil, nil)}, owner: request.Viewer{Account: "ann"}, rng: rand.New(rand.NewPCG(1, 2)), acked: map[string]bool{}, gone: map[core.NodeID]bool{}}
	own := w.key()
	if w.hub.signer, err = receipt.NewSigner(own.Signer()); err != nil {
		t.Fatal(err)
	}
	w.cfg = Config{Hub: w.hub, Store: st, Blobs: blobs, Log: slog.New(slog.DiscardHandler), Patience: time.Hour}
	for i := range nodes {
		key := w.key()
		w.keys = append(w.keys, key)
		w.hub.nodes = append(w.hub.nodes, api.Node{ID: w.name(i), Owner: "owner", State: "up", Country: "FR", PublicKey: key.Public().PEM()})
		w.dirs = append(w.dirs, filepath.Join(dir, string(w.name(i))))
		w.addRows(i, p)
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() { _ = st.Run(ctx) }() // ends with what cancel does
	w.begin()
	t.Cleanup(func() {
		w.stop()
		cancel()
		<-st.Stopped()
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

func (w *world) key() *identity.Key {
	k, err := identity.Generate()
	if err != nil {
		w.t.Fatal(err)
	}
	return k
}

func (w *world) name(i int) core.NodeID { return core.NodeID(fmt.Sprintf("node-%d", i)) }

func (w *world) addRows(i int, p dataset.Policy) {
	w.t.Helper()
	rng := rand.New(rand.NewPCG(7, uint64(i)))
	var text strings.Builder
	text.WriteString("id,a,b,y\n")
	for id := range 40 {
		a, b := rng.NormFloat64(), rng.NormFloat64()
		fmt.Fprintf(&text, "%d,%.3f,%.3f,%s\n", 100*i+id, a, b, map[bool]string{true: "yes", false: "no"}[a+b > 0])
	}
	if err := os.MkdirAll(w.dirs[i], 0o700); err != nil {
		w.t.Fatal(err)
	}
	path := filepath.Join(w.dirs[i], "rows.csv")
	if err := os.WriteFile(path, []byte(text.String()), 0o600); err != nil {
		w.t.Fatal(err)
	}
	if _, err := client.Datasets(w.dirs[i]).Add("rows", path, []byte(tableSchema), p, time.Now()); err != nil {
		w.t.Fatal(err)
	}
}

// begin makes the server anew from what is stored.
func (w *world) begin() {
	w.t.Helper()
	s, err := New(context.Background(), w.cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	if len(s.lost) > 0 {
		w.t.Errorf("lost: %v", s.lost)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	w.server, w.stop = s, func() {
		cancel()
		<-done
	}
	go func() {
		defer close(done)
		s.Run(ctx)
	}()
}

func (w *world) now() *Server {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.server
}

func (w *world) chance(p float64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return p > 0 && w.rng.Float64() < p
}

// link is a node's way to the server.
type link struct {
	w    *world
	node core.NodeID
}

var errLost = core.Errorf(core.Unavailable, "the message is lost")

func name(id core.FederationID, node core.NodeID, at fed.At) string {
	return fmt.Sprint(id, node, at.Round, at.Attempt, at.Step)
}

func (l link) cut() bool {
	l.w.mu.Lock()
	defer l.w.mu.Unlock()
	return l.w.gone[l.node]
}

func (l link) Order(ctx context.Context, report *api.SiteReport) (core.FederationID, *fed.Order, error) {
	if l.cut() {
		return 0, nil, errLost
	}
	ctx, cancel := context.WithTimeout(ctx, 50*time.Millisecond) // a server that is to be made anew waits for it
	defer cancel()
	l.w.calls.RLock()
	defer l.w.calls.RUnlock()
	id, o, err := l.w.now().Poll(ctx, l.node, report)
	if err != nil || o == nil {
		return id, o, err
	}
	l.w.mu.Lock()
	if l.w.acked[name(id, l.node, o.At)] {
		l.w.t.Errorf("%s is asked again for what was acknowledged: %+v", l.node, o.At)
	}
	l.w.mu.Unlock()
	b, err := o.AppendBinary(nil)
	if err != nil || l.w.chance(l.w.lost) {
		return 0, nil, errors.Join(err, errLost)
	}
	r, out := bytes.NewReader(b), new(fed.Order)
	if err := out.ReadHead(r); err != nil {
		return 0, nil, err
	}
	out.Params, err = io.ReadAll(r)
	return id, out, err
}

func (l link) Terms(ctx context.Context, id core.FederationID) (api.SiteRoster, error) {
	l.w.calls.RLock()
	defer l.w.calls.RUnlock()
	return l.w.now().SiteRoster(ctx, l.node, id)
}

func (l link) Reply(ctx context.Context, id core.FederationID, r *fed.Reply) error {
	if l.cut() || l.w.chance(l.w.lost) {
		return errLost
	}
	b, err := r.AppendBinary(nil)
	if err != nil {
		return err
	}
	if err := l.say(ctx, id, r, b); err != nil {
		return err
	}
	if l.w.chance(l.w.restart) {
		l.w.calls.Lock()
		l.w.mu.Lock()
		l.w.stop()
		l.w.begin()
		l.w.mu.Unlock()
		l.w.calls.Unlock()
	}
	if l.w.chance(l.w.lost) {
		return errLost // though it has come: it is sent again
	}
	return nil
}

func (l link) say(ctx context.Context, id core.FederationID, r *fed.Reply, b []byte) error {
	l.w.calls.RLock()
	defer l.w.calls.RUnlock()
	err := l.w.now().Reply(ctx, l.node, id, bytes.NewReader(b))
	if err == nil {
		l.w.mu.Lock()
		defer l.w.mu.Unlock()
		l.w.acked[name(id, l.node, r.At)] = true
	}
	return err
}

// join has all nodes take part until the test ends.
func (w *world) join() {
	w.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for i := range w.dirs {
		c, err := client.New(client.Config{Node: w.name(i), Country: "FR", Key: w.keys[i], Dir: w.dirs[i], Hub: link{w, w.name(i)}, Threads: 1, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			w.t.Fatal(err)
		}
		wg.Go(func() { c.Run(ctx) })
	}
	w.t.Cleanup(func() {
		cancel()
		wg.Wait()
	})
}

// until asks again and again, for what happens in other goroutines.
func (w *world) until(what string, done func() bool) {
	w.t.Helper()
	for end := time.Now().Add(2 * time.Minute); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			w.t.Fatalf("waited in vain for %s", what)
		}
	}
}

// run has a federation begin, and returns it once it is over.
func (w *world) run(spec []byte) api.Federation {
	w.t.Helper()
	f := w.start(spec)
	w.until("the federation's end", func() bool {
		var err error
		if f, err = w.now().Federation(w.t.Context(), w.owner, f.ID); err != nil {
			w.t.Fatal(err)
		}
		return f.State != api.FederationRunning
	})
	return f
}

func (w *world) start(spec []byte) (f api.Federation) {
	w.t.Helper()
	w.until("all nodes to be there", func() bool {
		r, err := w.now().Roster(w.t.Context(), w.owner, spec)
		if err != nil {
			w.t.Fatal(err)
		}
		return len(r.Sites) == len(w.dirs)
	})
	f, err := w.now().Begin(w.t.Context(), w.owner, spec)
	if err != nil {
		w.t.Fatal(err)
	}
	return f
}

// Whatever is lost, doubled or forgotten by a server that is made anew, each round has all
// sites, and nobody is asked again for what was acknowledged. Of rounds that are over
// nothing is left but their record.
func TestDisturbed(t *testing.T) {
	t.Parallel()
	for _, more := range []string{"", `,"secure":{"off":true}`} {
		w := newWorld(t, 3, dataset.Policy{AnyMember: true, Unmasked: true})
		w.lost, w.restart = 0.1, 0.2
		w.join()
		f := w.run(specOf(`,"sites":{"least":3}` + more))
		if f.State != api.FederationDone {
			t.Fatalf("%s: %s", f.State, f.Why)
		}
		rounds, _, err := w.now().Rounds(t.Context(), w.owner, f.ID, request.Page{Limit: 10})
		if err != nil || len(rounds) != 3 {
			t.Fatalf("%+v, %v", rounds, err)
		}
		for i, r := range rounds {
			if len(r.Sites) != 3 || r.LogIndex != int64(i) || r.Held != rounds[0].Held {
				t.Errorf("%+v", r)
			}
		}
		for e, err := range store.FederationEvents[event](t.Context(), w.cfg.Store, f.ID) {
			t.Errorf("an event is left: %+v, %v", e, err)
		}
	}
}

// A site that falls silent is out of the step, and the others go on without waiting for
// the deadline.
func TestSilence(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 4, dataset.Policy{AnyMember: true})
	w.cfg.Patience = 2 * time.Second
	w.stop()
	w.begin()
	w.join()
	f := w.start(specOf(`,"rounds":2`))
	w.mu.Lock()
	w.gone["node-3"] = true
	w.mu.Unlock()
	w.until("the end", func() bool {
		f, _ = w.now().Federation(t.Context(), w.owner, f.ID)
		return f.State != api.FederationRunning
	})
	if f.State != api.FederationDone || f.Last == nil || len(f.Last.Out) != 1 || !strings.Contains(f.Last.Out[0].Why, "not heard of") {
		t.Errorf("%s: %s, %+v", f.State, f.Why, f.Last)
	}
}

// What a dataset's owner does not allow the node refuses, and the reason is told.
func TestOwnersTerms(t *testing.T) {
	t.Parallel()
	for want, p := range map[string]dataset.Policy{
		"has not named":    {},
		"the purpose is":   {AnyMember: true, Purposes: []string{"research"}},
		"must be of 9":     {AnyMember: true, Sites: 9},
		"are to be masked": {AnyMember: true},
	} {
		more := ""
		if want == "are to be masked" {
			more = `,"secure":{"off":true}`
		}
		w := newWorld(t, 3, p)
		w.join()
		if f := w.run(specOf(more)); f.State != api.FederationFailed || !strings.Contains(f.Why, want) {
			t.Errorf("%s: %s: %s", want, f.State, f.Why)
		}
	}
}

// Messages that no honest node sends are refused, and change nothing.
func TestHostileReplies(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 3, dataset.Policy{AnyMember: true, Unmasked: true})
	s := w.now()
	report := &api.SiteReport{}
	for i := range w.dirs {
		d, err := client.Datasets(w.dirs[i]).Get("rows")
		if err != nil {
			t.Fatal(err)
		}
		report.Datasets = []api.SiteDataset{{Name: "rows", Schema: d.Schema}}
		defer s.hear(w.name(i), report)()
	}
	f := w.start(specOf(`,"secure":{"off":true}`))
	id, o, err := s.Poll(t.Context(), "node-1", report)
	if err != nil || id != f.ID || o.Step != fed.StepPlain {
		t.Fatalf("%v %+v %v", id, o, err)
	}
	size := int(s.find(id).plan.VectorSize())
	say := func(node core.NodeID, edit func(*fed.Reply)) error {
		r := &fed.Reply{At: o.At, Site: 1, Vector: make([]byte, size)}
		edit(r)
		b, err := r.AppendBinary(nil)
		if err != nil {
			t.Fatal(err)
		}
		return s.Reply(t.Context(), node, id, bytes.NewReader(b))
	}
	for name, c := range map[string]struct {
		node core.NodeID
		edit func(*fed.Reply)
		kind core.Kind
	}{
		"another's":  {"node-2", func(*fed.Reply) {}, core.Forbidden},
		"a stranger": {"node-9", func(*fed.Reply) {}, core.NotFound},
		"old round":  {"node-1", func(r *fed.Reply) { r.Round = 0 }, core.Conflict},
		"other run":  {"node-1", func(r *fed.Reply) { r.Run = core.DigestOf(nil) }, core.Conflict},
		"too long":   {"node-1", func(r *fed.Reply) { r.Vector = make([]byte, size+1) }, core.TooLarge},
	} {
		if err := say(c.node, c.edit); core.KindOf(err) != c.kind {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, b := range []string{"", "\xff\xff\xff\xff", "\x02\x00\x00\x00[]", "\x05\x00\x00\x00{}"} {
		if err := s.Reply(t.Context(), "node-1", id, strings.NewReader(b)); err == nil {
			t.Errorf("%q is a reply", b)
		}
	}
	if n, _, err := s.replay(t.Context(), id, s.find(id).machine); n != 0 || err != nil {
		t.Errorf("%d events, %v", n, err)
	}
	for range 2 { // said twice it is said once
		if err := say("node-1", func(*fed.Reply) {}); err != nil {
			t.Error(err)
		}
	}
}

// Others see nothing of an account's federations; it has them wait, go on and end; and it
// has not too many.
func TestAccounts(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 3, dataset.Policy{AnyMember: true})
	w.join()
	f := w.start(specOf(`,"rounds":10000`))
	s, ctx := w.now(), t.Context()
	if _, err := s.Federation(ctx, request.Viewer{Account: "bob"}, f.ID); core.KindOf(err) != core.NotFound {
		t.Error(err)
	}
	if _, err := s.Stop(ctx, request.Viewer{Account: "bob"}, f.ID); core.KindOf(err) != core.NotFound {
		t.Error(err)
	}
	if f, err := s.Pause(ctx, w.owner, f.ID); err != nil || f.State != api.FederationPaused {
		t.Errorf("%s %v", f.State, err)
	}
	if f, err := s.Resume(ctx, w.owner, f.ID); err != nil || f.State != api.FederationRunning {
		t.Errorf("%s %v", f.State, err)
	}
	for range maxOpen - 1 {
		w.start(specOf(`,"rounds":10000`))
	}
	if _, err := s.Begin(ctx, w.owner, specOf("")); core.KindOf(err) != core.Throttled {
		t.Error(err)
	}
	f, err := s.Stop(ctx, w.owner, f.ID)
	if err != nil || f.State != api.FederationStopped {
		t.Errorf("%s %v", f.State, err)
	}
	if _, err := s.Resume(ctx, w.owner, f.ID); core.KindOf(err) != core.Conflict {
		t.Error(err)
	}
	if _, err := s.Begin(ctx, w.owner, specOf(`,"sites":{"nodes":["node-1"]}`)); core.KindOf(err) != core.Unavailable || !strings.Contains(err.Error(), "sites.nodes does not name it") {
		t.Error(err)
	}
}
