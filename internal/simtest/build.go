package simtest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"atoll/api"
	"atoll/internal/bus"
	"atoll/internal/core"
	"atoll/internal/httpapi/atoll"
	"atoll/internal/identity"
	"atoll/internal/node/agent"
	"atoll/internal/node/measure"
	"atoll/internal/node/outbox"
	"atoll/internal/receipt"
)

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
	operator := atoll.Viewer{Account: "operator", Admin: true}
	if _, _, err := h.c.PutBlob(ctx, operator, strings.NewReader("the model"), f.model, 1<<20); err != nil {
		return err
	}
	if _, err := h.c.RegisterModel(ctx, operator, atoll.ModelUpload{Name: "model", Engine: engineName, Digest: f.model}); err != nil {
		return err
	}
	if w.plan.line != "" {
		spec := api.ServiceSpec{Model: "model", Pipeline: w.plan.line}
		if _, err := h.c.PutService(ctx, operator, lineService, spec); err != nil {
			return err
		}
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
			w: w, id: core.NodeID(fmt.Sprintf("node-%d", i)), owner: owner, key: f.nodeKeys[i], disk: new(outbox.Memory),
			offer: bus.NodeOffer{
				Price: core.Money(10+w.rng.IntN(90)) * core.Credit / 100, Country: countries[w.rng.IntN(len(countries))], Engines: []string{engineName},
				Arch: "amd64", OS: "linux", Version: "sim", Slots: slots, Queue: slots + w.rng.IntN(6), CPUMillis: 4000, Memory: 8 << 30,
			},
			link: w.plan.links,
		}
		if i%w.plan.owners < w.plan.liars {
			n.faults = agent.Faults{Lie: 0.3 + 0.7*w.rng.Float64(), ShareLie: w.plan.conspire, Seed: uint64(i + 1)}
		}
		n.offer.PeerAt, n.offer.Bench = []string{string(n.id) + ":1"}, map[string]int64{measure.ModelBytes: w.rng.Int64N(4 << 30)}
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
		if w.plan.line != "" && w.chance(0.6) {
			j = w.newLineJob(c, i)
		}
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
