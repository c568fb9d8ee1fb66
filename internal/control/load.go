package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"sort"

	"atoll/api"
	"atoll/internal/ledger"
	"atoll/internal/lifecycle"
	"atoll/internal/receipt"
	"atoll/internal/store"
)

// load rebuilds the state of all open tasks from SQL. Leases that were out stay
// out: their nodes have time to speak up, and are told again.
func (c *Control) load(ctx context.Context) error {
	id, err := c.store.MaxID(ctx)
	if err != nil {
		return err
	}
	c.ids.NotBefore(id)
	if c.published, err = c.store.LastCheckpoint(ctx); err != nil && !errors.Is(err, store.ErrNoRow) {
		return err
	}
	if err := c.cfg.Log.open(ctx, c.store, c.published); err != nil {
		return err
	}
	if err := errors.Join(c.loadAccounts(ctx), c.loadNodes(ctx), c.loadModels(ctx), c.loadServices(ctx), c.loadUsage(ctx)); err != nil {
		return err
	}
	rows, err := c.store.OpenTasks(ctx)
	if err != nil {
		return err
	}
	for _, row := range rows {
		if err := c.loadTask(ctx, row); err != nil {
			return fmt.Errorf("restore %s: %w", row.ID, err)
		}
	}
	sort.SliceStable(c.payouts, func(i, j int) bool { return c.payouts[i].leaf < c.payouts[j].leaf })
	return nil
}

// Resume lets the restored tasks go on. It is a job, so it needs Run or Inline.
func (c *Control) Resume(ctx context.Context) error {
	return c.job(ctx, func(b *batch) error {
		for _, id := range slices.Sorted(maps.Keys(c.tasks)) {
			t := c.tasks[id]
			for _, p := range t.parts {
				b.advance(t, p)
			}
			if t.Ended() && t.owing == 0 {
				b.void(t)
			}
		}
		b.freed = true
		return nil
	})
}

func (c *Control) loadAccounts(ctx context.Context) error {
	accounts, err := c.store.Accounts(ctx)
	for _, a := range accounts {
		c.accounts[a.ID] = &a
	}
	return err
}

func (c *Control) loadNodes(ctx context.Context) error {
	docs, err := store.Docs[nodeDoc](ctx, c.store, "nodes")
	if err != nil {
		return err
	}
	for _, d := range docs {
		signer, err := receipt.ParseKey([]byte(d.PublicKey))
		if err != nil {
			return fmt.Errorf("node %s: %w", d.ID, err)
		}
		n := c.addNode(*d, signer, c.now().UnixMilli())
		n.seenMs = c.boot.UnixMilli() + restartGraceMs
	}
	return nil
}

func (c *Control) loadTask(ctx context.Context, row *lifecycle.Task) error {
	t := &task{Task: *row}
	_, specJSON, err := c.store.Task(ctx, row.ID)
	if err != nil {
		return err
	}
	t.spec = specJSON
	if t.input, err = c.store.TaskInput(ctx, row.ID); err != nil {
		return err
	}
	var spec api.TaskSpec
	if err := json.Unmarshal(specJSON, &spec); err != nil {
		return err
	}
	if err := t.readTerms(&spec); err != nil {
		return err
	}
	t.Terms = row.Terms
	t.Residency = row.Residency
	t.escrow = ledger.Escrow{Task: t.ID, Account: t.Account, Amount: t.Terms.MaxCost, Posted: t.Paid, Voided: t.Refunded, Closed: t.Settled}
	parts, err := c.store.Parts(ctx, row.ID, 0, math.MaxInt32)
	if err != nil {
		return err
	}
	c.hold(t)
	for _, row := range parts {
		p := &part{Part: *row}
		t.parts = append(t.parts, p)
		if err := c.loadPart(ctx, t, p); err != nil {
			return err
		}
	}
	if len(t.wait.queue) > 0 {
		c.waiting.add(t)
	}
	return nil
}

func (c *Control) loadPart(ctx context.Context, t *task, p *part) (err error) {
	if p.State == lifecycle.PartFailed {
		t.failure, t.timedOut = p.Reason, t.timedOut || p.TimedOut
	}
	for i := range p.Leases {
		l := &p.Leases[i]
		// A granted payment's ID is promised in its verdict before the transfer is
		// stored: nothing else may take it.
		c.ids.NotBefore(max(int64(l.ID), int64(l.Transfer)))
		for _, s := range l.Shares {
			c.ids.NotBefore(int64(s.Transfer))
		}
		switch {
		case l.Live():
			n := c.nodes[l.Node]
			if n == nil {
				return fmt.Errorf("lease %s is held by node %s, which is not stored", l.ID, l.Node)
			}
			r := &leaseRef{task: t, part: p, node: n, id: l.ID, sentMs: 0}
			c.leases[l.ID], n.leases[l.ID] = r, r
			n.offer.InFlight++
		case l.State == lifecycle.Passed:
			paid := false // all at once, or none
			for _, share := range l.Payments() {
				if share.Amount > 0 && !paid {
					if paid, err = c.store.HasTransfer(ctx, share.Transfer); err != nil {
						return err
					}
				}
			}
			// Without pay there is no transfer to tell by; to settle twice is
			// harmless then.
			if !paid || l.Pay == 0 {
				t.owing++
				c.payouts = append(c.payouts, payout{t, p, l.ID, l.VerdictLeaf - 1})
			}
		}
	}
	if p.State == lifecycle.PartWaiting {
		p.queued = true
		t.wait.queue = append(t.wait.queue, p)
		t.wait.parts, t.wait.why = t.wait.parts+1, p.Reason
	}
	return nil
}
