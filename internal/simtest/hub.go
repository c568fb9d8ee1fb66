package simtest

import (
	"context"
	"crypto/ed25519"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace/noop"

	"atoll/internal/blob"
	"atoll/internal/bus"
	"atoll/internal/control"
	"atoll/internal/core"
	"atoll/internal/identity"
	"atoll/internal/node/agent"
	"atoll/internal/store"
)

const (
	hubID  = "sim-hub"
	origin = "hub.example"
)

// hub is the machine on which control lives again and again, over one database.
type hub struct {
	w     *World
	key   *identity.Key
	logs  ed25519.PrivateKey
	blobs *blob.Store
	skew  time.Duration // of its clock
	watch watch

	c       *control.Control // nil while it is down
	life    int
	crashed bool // by the plan, and not yet buried
	armed   bool // crashes may happen
}

func (h *hub) clock() time.Time { return h.w.now.Add(h.skew) }

func (h *hub) path() string { return filepath.Join(h.w.dir, "hub.db") }

// Send implements control.Sender.
func (h *hub) Send(id core.NodeID, kind string, data []byte, _ string) error {
	n := h.w.byID[string(id)]
	if kind == bus.KindAck {
		h.watch.acked(h.w, id, data)
	}
	h.w.carry(&n.link, "a "+kind, func() { n.receive(kind, data) })
	return nil
}

// IssueNode implements control.Admitter.
func (h *hub) IssueNode(id core.NodeID, _ string) (string, error) {
	return "pass-of-" + string(id), nil
}

// Revoke implements control.Admitter.
func (h *hub) Revoke(string, time.Time) error { return nil }

// crash is asked by the store at both points of each commit.
func (h *hub) crash(p store.Point) bool {
	if !h.armed || h.w.healed || !h.w.chance(h.w.plan.crash) {
		return false
	}
	h.w.say("hub crashes %s", p)
	h.crashed = true
	return true
}

// start opens what is on the hub's disk and goes on with it.
func (h *hub) start() {
	if h.c != nil {
		return
	}
	h.life++
	ctx := context.Background()
	log, err := control.NewLog(control.LogConfig{Dir: filepath.Join(h.w.dir, "tiles"), Origin: origin, Key: h.logs})
	if err != nil {
		h.w.violation("the log's configuration is refused: %v", err)
		return
	}
	c, err := control.New(ctx, control.Config{
		HubID: hubID, Path: h.path(), Key: h.key, Log: log, Blobs: h.blobs, Send: h, Admit: h,
		Grant: identity.JoinGrant{HubID: hubID, HubKeyPEM: h.key.Public().PEM()},
		Models: func(string, string) (control.ModelFacts, error) {
			return control.ModelFacts{Reproducible: true, Shape: lineShape}, nil
		},
		Tracer: noop.NewTracerProvider().Tracer(""), Metrics: control.NewMetrics(prometheus.NewRegistry()),
		Now: h.clock, Rand: h.w.rng.Uint32, Secrets: h.w.secrets, Inline: true, NoSync: true, Crash: h.crash,
	})
	if err != nil {
		h.w.violation("hub does not start over its own database, life %d: %v", h.life, err)
		return
	}
	h.c = c
	h.w.say("hub starts, life %d", h.life)
	h.watch.restarted(ctx, h.w, c)
	_, _ = h.serve(func(c *control.Control) error { return c.Resume(ctx) })
}

// serve has control do something. It reports false if nobody is there to answer,
// or nobody any more.
func (h *hub) serve(do func(*control.Control) error) (error, bool) {
	if h.c == nil {
		return nil, false
	}
	err := do(h.c)
	stopped := h.c.Store().Err()
	switch {
	case h.crashed:
		h.bury()
		return nil, false
	case stopped != nil:
		h.w.violation("the hub stopped by itself: %v", stopped)
		h.bury()
		return nil, false
	}
	return err, true
}

// bury ends a crashed life and plans the next.
func (h *hub) bury() {
	h.w.result.Crashes++
	h.crashed = false
	if err := h.c.Close(); err != nil {
		h.w.violation("close: %v", err)
	}
	h.c = nil
	down := h.w.between(10*time.Millisecond, 2*time.Second)
	if h.w.chance(0.15) {
		down = h.w.between(2*time.Second, 9*time.Second)
	}
	h.w.after(down, h.start)
}

func (h *hub) inbound(id core.NodeID, m agent.Message) {
	_, _ = h.serve(func(c *control.Control) error {
		c.Inbound(id, m.Kind, m.Data)
		return nil
	})
}

// Times of the hub, as control.Run has them.
const (
	sweepEvery      = 250 * time.Millisecond
	checkpointEvery = 100 * time.Millisecond
	auditEvery      = 5 * time.Second
)

func (h *hub) startTimers(ctx context.Context) {
	h.w.every(sweepEvery, func() {
		_, _ = h.serve(func(c *control.Control) error {
			c.Sweep()
			return nil
		})
	})
	h.w.every(checkpointEvery, func() {
		err, up := h.serve(func(c *control.Control) error { return c.Checkpoint(ctx) })
		if err != nil {
			h.w.violation("checkpoint: %v", err)
		} else if up {
			h.watch.checkpoint(ctx, h.w, h.c)
		}
	})
	h.w.every(auditEvery, func() {
		if h.c != nil {
			h.watch.audit(ctx, h.w, h.c)
		}
	})
}

// insist has the operator repeat an order until the hub has answered.
func (h *hub) insist(order func(*control.Control) error, answered func(error)) {
	if err, up := h.serve(order); up {
		answered(err)
		return
	}
	h.w.after(300*time.Millisecond, func() { h.insist(order, answered) })
}

func (h *hub) drain(n *node, on bool) {
	h.w.say("chaos: drain %s: %t", n.id, on)
	h.insist(func(c *control.Control) error {
		_, err := c.Drain(context.Background(), n.id, on)
		return err
	}, func(err error) {
		if err != nil {
			h.w.violation("drain %s: %v", n.id, err)
		}
	})
}

func (h *hub) revoke(n *node) {
	h.w.say("chaos: revoke %s", n.id)
	n.revoked = true
	h.insist(func(c *control.Control) error {
		_, err := c.Revoke(context.Background(), n.id)
		return err
	}, func(err error) {
		if err != nil {
			h.w.violation("revoke %s: %v", n.id, err)
		}
	})
}

func (h *hub) rejoin(n *node) {
	h.w.say("chaos: %s joins again", n.id)
	h.insist(func(c *control.Control) error { return h.admit(context.Background(), c, n) }, func(err error) {
		if err != nil && !n.revoked {
			h.w.violation("%s may not join again: %v", n.id, err)
		}
	})
}

func (h *hub) admit(ctx context.Context, c *control.Control, n *node) error {
	_, err := c.Join(ctx, n.join)
	return err
}
