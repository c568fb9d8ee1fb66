package control

import (
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"atoll/api"
	"atoll/internal/bus"
	"atoll/internal/core"
	"atoll/internal/lifecycle"
	"atoll/internal/request"
	"atoll/internal/verify"
)

// kept returns the nodes that were asked to keep a model since the last call, and
// with which request.
func (w *world) kept() map[core.NodeID][]bus.KeptModel {
	w.t.Helper()
	out := map[core.NodeID][]bus.KeptModel{}
	rest := w.sent[:0]
	for _, m := range w.sent {
		if m.kind != bus.KindKeep {
			rest = append(rest, m)
			continue
		}
		var k bus.Keep
		if err := json.Unmarshal(m.data, &k); err != nil {
			w.t.Fatal(err)
		}
		out[m.node] = append(out[m.node], k.Models...)
	}
	w.sent = rest
	return out
}

// The model of a service is loaded by as many nodes as a request needs, those that
// it would go to, and by another when one of them goes.
func TestServicesAreKeptLoaded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	paris, rome := w.join("paris-1", "alice", "FR", 10), w.join("rome-1", "bob", "IT", 20)
	w.join("ohio-1", "erin", "US", 1)
	w.pass(time.Second)
	if k := w.kept(); len(k) != 0 {
		t.Fatalf("nothing is served, and kept: %v", k)
	}
	spec := api.ServiceSpec{Model: "echo"}
	spec.Residency = []string{"EU"}
	put := func() {
		if _, err := w.hub.PutService(t.Context(), request.Viewer{Account: "demo"}, "chat", spec); err != nil {
			t.Fatal(err)
		}
	}
	put()
	alive := func(d time.Duration) {
		for range d / time.Second {
			w.beat(rome)
			w.beat(w.nodes["ohio-1"])
			w.pass(time.Second)
		}
	}
	w.beat(paris)
	alive(time.Second)
	k := w.kept()
	if m := k["paris-1"]; len(k) != 1 || len(m) != 1 || m[0].Digest != w.model.Digest || m[0].Account != "demo" || m[0].Engine != "test" || m[0].Size != w.model.Size {
		t.Fatalf("asked to keep: %v", k)
	}
	for id, want := range map[core.NodeID]string{"paris-1": "a model", "rome-1": "", "ohio-1": ""} {
		f, err := w.hub.NodeModel(t.Context(), id, w.model.Digest)
		m, chunksErr := w.hub.NodeChunks(t.Context(), id, w.model.Digest)
		if want == "" {
			if core.KindOf(err) != core.NotFound || core.KindOf(chunksErr) != core.NotFound {
				t.Errorf("%s may fetch it: %v, %v", id, err, chunksErr)
			}
			continue
		}
		if err != nil || chunksErr != nil {
			t.Fatalf("%s: %v, %v", id, err, chunksErr)
		}
		b, err := io.ReadAll(f)
		if err = errors.Join(err, f.Close()); string(b) != want || err != nil || m.Chunks() != 1 || !m.Is(0, b) {
			t.Errorf("%s fetches %q in chunks %v, %v", id, b, m, err)
		}
	}
	alive(15 * time.Second) // paris-1 is not heard of
	if k := w.kept(); len(k) != 1 || len(k["rome-1"]) == 0 {
		t.Fatalf("asked to keep after a node has gone: %v", k)
	}
	w.beat(paris)
	spec.Verification = &api.Verification{Method: "quorum", Replicas: 2, Agree: 2}
	put()
	w.pass(250 * time.Millisecond)
	if k := w.kept(); len(k) != 2 || k["ohio-1"] != nil {
		t.Fatalf("asked to keep for a quorum of two: %v", k)
	}
	if err := w.hub.DeleteService(t.Context(), request.Viewer{Account: "demo"}, "chat"); err != nil {
		t.Fatal(err)
	}
	w.pass(15 * time.Second)
	if k := w.kept(); len(k) != 0 {
		t.Fatalf("asked to keep what is not served: %v", k)
	}
}

// A request goes to the node that says it has the model loaded; the market shows
// it, and the others are told apart in words.
func TestRequestsFindLoadedModels(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	warm, paris := w.join("rome-1", "bob", "IT", 20), w.join("paris-1", "alice", "FR", 10)
	w.hub.models[w.model.ID].Size = 4 << 30
	for _, n := range w.hub.nodes {
		n.doc.Reputation = verify.Reputation{Good: 100} // newcomers are now and then tried before the cheapest
	}
	warm.loaded = []core.Digest{{1}, w.model.Digest}
	w.beat(warm)
	w.beat(paris)
	task := w.mustSubmit(nil)
	if l := w.leases("rome-1"); len(l) != 1 {
		t.Fatalf("rome-1 has the model loaded and got %d leases", len(l))
	}
	view := w.task(task.ID)
	if n := view.NotChosen; len(n) != 1 || n[0].Node != "paris-1" || !strings.Contains(n[0].Reason, "it has the model to load first, which may take 41s") {
		t.Errorf("%+v", n)
	}
	offers, err := w.hub.Offers(t.Context())
	if err != nil || len(offers) != 2 || len(offers[0].Loaded) != 0 || len(offers[1].Loaded) != 1 || offers[1].Loaded[0] != "echo@1" {
		t.Errorf("%+v, %v", offers, err)
	}
	warm.loaded = nil
	w.beat(warm)
	second := w.mustSubmit(nil)
	if l := w.leases("paris-1"); len(l) != 1 {
		t.Fatalf("nobody has it loaded, and the cheapest got %d leases", len(l))
	}
	var said bool
	events, err := w.hub.store.Events(t.Context(), second.ID, 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		said = said || e.Type == "lease."+string(lifecycle.Offered) && strings.Contains(e.Message, "has the model to load first")
	}
	if !said {
		t.Errorf("%+v", events)
	}
}
