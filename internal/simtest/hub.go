package simtest

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace/noop"

	"atoll/api"
	"atoll/internal/blob"
	"atoll/internal/bus"
	"atoll/internal/control"
	"atoll/internal/core"
	"atoll/internal/httpapi/atoll"
	"atoll/internal/identity"
	"atoll/internal/node/agent"
	"atoll/internal/receipt"
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
		Grant:  identity.JoinGrant{HubID: hubID, HubKeyPEM: h.key.Public().PEM()},
		Models: func(string, string) (control.ModelFacts, error) { return control.ModelFacts{Reproducible: true}, nil },
		Tracer: noop.NewTracerProvider().Tracer(""), Metrics: control.NewMetrics(prometheus.NewRegistry()),
		Now: h.clock, Rand: h.w.rng.Uint32, Inline: true, NoSync: true, Crash: h.crash,
	})
	if err != nil {
		h.w.violation("hub does not start over its own database, life %d: %v", h.life, err)
		return
	}
	h.c = c
	h.w.say("hub starts, life %d", h.life)
	h.watch.restarted(ctx, h.w, c)
	h.serve(func(c *control.Control) error { return c.Resume(ctx) })
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
	h.serve(func(c *control.Control) error {
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
		h.serve(func(c *control.Control) error {
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

func (h *hub) drain(n *node, on bool) {
	h.w.say("chaos: drain %s: %t", n.id, on)
	h.serve(func(c *control.Control) error {
		_, err := c.Drain(context.Background(), n.id, on)
		return err
	})
}

func (h *hub) revoke(n *node) {
	h.w.say("chaos: revoke %s", n.id)
	_, up := h.serve(func(c *control.Control) error {
		_, err := c.Revoke(context.Background(), n.id)
		return err
	})
	n.revoked = n.revoked || up
}

func (h *hub) rejoin(n *node) {
	h.w.say("chaos: %s joins again", n.id)
	err, up := h.serve(func(c *control.Control) error { return h.admit(context.Background(), c, n) })
	if up && err != nil && !n.revoked {
		h.w.violation("%s may not join again: %v", n.id, err)
	}
}

func (h *hub) admit(ctx context.Context, c *control.Control, n *node) error {
	_, err := c.Join(ctx, n.join)
	return err
}

// build sets up hub, nodes and clients, while nothing goes wrong.
func (w *World) build(ctx context.Context) error {
	f := w.lab
	h := &hub{w: w, key: f.hubKey, logs: f.logKey, blobs: f.blobs}
	w.hub = h
	h.watch = newWatch()
	h.start()
	if h.c == nil {
		return errors.New("the hub does not start")
	}
	if _, err := h.c.CreateAccount(ctx, "operator", 0, ""); err != nil {
		return err
	}
	if _, err := h.c.RegisterModel(ctx, atoll.Viewer{Account: "operator", Admin: true}, atoll.ModelUpload{Name: "model", Engine: engineName, Digest: f.model}); err != nil {
		return err
	}
	if err := w.buildNodes(ctx, f); err != nil {
		return err
	}
	if err := w.buildClients(ctx); err != nil {
		return err
	}
	h.startTimers(ctx)
	for _, n := range w.nodes {
		n.start()
	}
	h.armed = true
	return nil
}

func (w *World) buildNodes(ctx context.Context, f *Lab) error {
	countries := []string{"DE", "FR", "US", "JP"}
	tokens := map[core.AccountID]identity.Token{}
	for i := range w.plan.nodes {
		owner := core.AccountID(fmt.Sprintf("owner-%d", i%w.plan.owners))
		if tokens[owner] == "" {
			if _, err := w.hub.c.CreateAccount(ctx, owner, 0, ""); err != nil {
				return err
			}
			t, err := w.hub.c.CreateJoinToken(ctx, owner, 10, api.Duration(24*time.Hour))
			if err != nil {
				return err
			}
			tokens[owner] = identity.Token(t.Token)
		}
		slots := 1 + w.rng.IntN(3)
		n := &node{
			w: w, id: core.NodeID(fmt.Sprintf("node-%d", i)), owner: owner, key: f.nodeKeys[i], disk: newDisk(),
			offer: bus.NodeOffer{
				Price: core.Money(10+w.rng.IntN(90)) * core.Credit / 100, Country: countries[w.rng.IntN(len(countries))], Engines: []string{engineName},
				Arch: "amd64", OS: "linux", Version: "sim", Slots: slots, Queue: slots + w.rng.IntN(6), CPUMillis: 4000, Memory: 8 << 30,
			},
			link: w.plan.links,
		}
		if i%w.plan.owners < w.plan.liars {
			n.faults = agent.Faults{Lie: 0.3 + 0.7*w.rng.Float64(), ShareLie: w.plan.conspire, Seed: uint64(i + 1)}
		}
		n.link.name = string(n.id)
		var err error
		if n.receipts, err = receipt.NewSigner(n.key.Signer()); err != nil {
			return err
		}
		n.join, err = identity.SignJoin(identity.JoinRequest{Token: tokens[owner], Node: n.id, NkeyPublic: f.nkeys[i], Version: "sim", Country: n.offer.Country}, n.key)
		if err != nil {
			return err
		}
		if err := w.hub.admit(ctx, w.hub.c, n); err != nil {
			return err
		}
		w.nodes = append(w.nodes, n)
		w.byID[string(n.id)] = n
	}
	return nil
}

func (w *World) buildClients(ctx context.Context) error {
	for i := range 2 {
		c := &client{w: w, account: core.AccountID(fmt.Sprintf("client-%d", i)), link: w.plan.calls}
		c.link.name = string(c.account)
		credit := core.Money(30+w.rng.IntN(200)) * core.Credit
		if _, err := w.hub.c.CreateAccount(ctx, c.account, credit, "simulation"); err != nil {
			return err
		}
		w.clients = append(w.clients, c)
	}
	for i := range w.plan.tasks {
		c := w.clients[i%len(w.clients)]
		j := w.newJob(c, i)
		c.jobs = append(c.jobs, j)
		at := w.between(0, w.plan.chaos*3/4)
		w.after(at, j.submit)
		if w.chance(0.15) {
			w.after(at+w.between(0, 4*time.Second), j.cancel)
		}
		if w.chance(0.1) {
			w.after(at+w.between(time.Second, 6*time.Second), j.misuse)
		}
	}
	_, err := w.hub.c.Credit(ctx, w.clients[0].account, 10*core.Credit, "", "for the probe")
	return err
}

// ackOf reads an ack.
func ackOf(data []byte) (m bus.Ack, err error) { return m, json.Unmarshal(data, &m) }
