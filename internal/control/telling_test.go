package control

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"atoll/internal/bus"
	"atoll/internal/core"
	"atoll/internal/request"
)

func (w *world) state(id core.NodeID) string {
	w.t.Helper()
	nodes, err := w.hub.Nodes(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	for _, n := range nodes {
		if n.ID == id {
			return n.State
		}
	}
	return "unknown"
}

// A node that was drained, or drains itself, is drained once it holds nothing,
// also after it has left; one that leaves without a word is silent.
func TestDrainedIsNotSilent(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.join("a-1", "alice", "FR", 10_000)
	w.mustSubmit(nil)
	b := w.join("b-1", "bob", "FR", 20_000) // later: the market gives newcomers a try
	held := w.leases(a.id)[0]
	if n, err := w.hub.Drain(t.Context(), a.id, true); err != nil || n.State != "draining" {
		t.Errorf("with a lease out: %s, %v", n.State, err)
	}
	w.report(a, held, "done", nil)
	if s := w.state(a.id); s != "drained" {
		t.Errorf("with nothing out: %s", s)
	}
	data, _ := json.Marshal(bus.Heartbeat{Boot: "1", Draining: true, Offer: bus.NodeOffer{Country: "FR", Slots: 1, Queue: 1}})
	w.hub.Inbound(b.id, bus.KindHeartbeat, data)
	c := w.join("c-1", "carol", "FR", 30_000)
	w.pass(time.Minute)
	for id, want := range map[core.NodeID]string{a.id: "drained", b.id: "drained", c.id: "silent"} {
		if s := w.state(id); s != want {
			t.Errorf("%s, long after it was heard of: %s, want %s", id, s, want)
		}
	}
}

// What was paid is shown exactly, however many fractions it was paid in.
func TestPaidMetricIsExact(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	n := w.join("a-1", "alice", "FR", 100_000)
	r := prometheus.NewRegistry()
	w.hub.Register(r)
	for range 3 { // 0.1 + 0.1 + 0.1 is not 0.3 in floating point
		w.mustSubmit(nil)
		w.report(n, w.leases(n.id)[0], "done", nil)
	}
	w.settle()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "atoll_paid_credits_total" {
			if got := f.GetMetric()[0].GetCounter().GetValue(); got != 0.3 {
				t.Errorf("paid %v, want 0.3", got)
			}
			return
		}
	}
	t.Error("no metric of what was paid")
}

// Who asks for the result of a task that has none is told where to look.
func TestNoResult(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.mustSubmit(nil)
	v := request.Viewer{Account: "demo"}
	for _, cancelled := range []bool{false, true} {
		want := "ask for one part with ?part=N, or wait for the task to succeed"
		if cancelled {
			must(t, func() error { _, err := w.hub.Cancel(t.Context(), v, r.ID); return err })
			want = "see why with GET /v1/tasks/" + r.ID.String() + "/events; parts that succeeded keep their results: ask with ?part=N"
		}
		err := w.hub.Result(t.Context(), v, r.ID, nil)
		if e, ok := errors.AsType[*core.Error](err); !ok || e.Hint != want {
			t.Errorf("cancelled %v: %v", cancelled, err)
		}
	}
}

// A mistyped name is an error, not an empty answer or a success.
func TestUnknownNames(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if _, _, err := w.hub.Statement(t.Context(), request.Viewer{Account: "admin", Admin: true}, "nobody", request.Page{Limit: 1}); core.KindOf(err) != core.NotFound {
		t.Errorf("statement of nobody: %v", err)
	}
	key, err := w.hub.CreateKey(t.Context(), "demo", []string{"read"})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.hub.RevokeKey(t.Context(), key.ID+"x"); core.KindOf(err) != core.NotFound {
		t.Errorf("a key that there is not was revoked: %v", err)
	}
	if err := w.hub.RevokeKey(t.Context(), key.ID); err != nil {
		t.Error(err)
	}
	if _, err := w.hub.Authenticate(t.Context(), key.Secret); core.KindOf(err) != core.Unauthorized {
		t.Errorf("a revoked key: %v", err)
	}
}
