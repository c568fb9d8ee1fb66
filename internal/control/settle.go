package control

import (
	"context"
	"sort"
	"time"

	"go.opentelemetry.io/otel/attribute"

	"atoll/internal/core"
	"atoll/internal/ledger"
	"atoll/internal/lifecycle"
	"atoll/internal/planted"
	"atoll/internal/receipt"
)

// checkpointEvery is how often the log's growth is signed and published. A
// result is given at once; only payouts wait for this.
const checkpointEvery = 100 * time.Millisecond

// maxVerdictReason bounds what a verdict says, in bytes: well under what a
// statement may hold.
const maxVerdictReason = 1000

// maxJudged bounds the leases that one verdict statement speaks of.
const maxJudged = 256

// payout is a granted payment that waits for its verdict to be published.
type payout struct {
	task  *task
	part  *part
	lease core.LeaseID
	leaf  int64
}

// signVerdicts signs the batch's verdicts, one statement for each requester
// (a statement is shown to whoever may see one of its leases), and puts them in
// the log.
func (b *batch) signVerdicts() {
	if planted.Pay {
		b.payEarly()
	}
	c := b.c
	for len(b.verdicts) > 0 {
		account := b.verdicts[0].task.Account
		var mine, rest []pendingVerdict
		for _, v := range b.verdicts {
			if v.task.Account == account && len(mine) < maxJudged {
				mine = append(mine, v)
			} else {
				rest = append(rest, v)
			}
		}
		b.verdicts = rest
		verdict := receipt.Verdict{Hub: c.cfg.HubID, Account: account, Leases: make([]receipt.JudgedLease, 0, len(mine))}
		for _, v := range mine {
			l := v.part.Lease(v.lease)
			j := receipt.JudgedLease{
				Lease: l.ID, Task: v.task.ID, Part: v.part.Index, Node: l.Node, LogIndex: l.Leaf - 1, Receipt: l.Receipt, Result: l.Result,
				Method: string(v.task.Terms.Method), Outcome: receipt.Rejected, Reason: core.Clip(v.why, maxVerdictReason), Transfer: l.Transfer, PayMicro: int64(l.Pay),
				Draw: reveal(v.task, l), Checks: l.Checks,
			}
			for i, p := range l.Payments() {
				if i == 0 {
					j.PayMicro = int64(p.Amount)
				} else if l.State == lifecycle.Passed {
					j.Shares = append(j.Shares, receipt.Share{Node: p.Node, Transfer: p.Transfer, PayMicro: int64(p.Amount)})
				}
			}
			if l.State == lifecycle.Passed {
				j.Outcome = receipt.Passed
			}
			verdict.Leases = append(verdict.Leases, j)
		}
		body, envelope, err := c.signVerdict(&verdict)
		if err != nil {
			b.tx.Fail(err)
			return
		}
		leaf := b.appendLeaf(body, envelope)
		for _, v := range mine {
			l := v.part.Lease(v.lease)
			l.VerdictLeaf = leaf + 1
			b.touchPart(v.task, v.part)
			if l.State == lifecycle.Passed {
				c.payouts = append(c.payouts, payout{v.task, v.part, v.lease, leaf})
			}
		}
	}
}

// payEarly is the planted bug of paying what no published verdict covers.
func (b *batch) payEarly() {
	for _, v := range b.verdicts {
		if l := v.part.Lease(v.lease); l.State == lifecycle.Passed {
			b.pay(payout{v.task, v.part, v.lease, 0})
		}
	}
}

// Checkpoint signs the log as it now stands in SQL, if it has grown, publishes
// that, and pays what it covers.
func (c *Control) Checkpoint(ctx context.Context) error {
	c.mu.Lock()
	grown := c.cfg.Log.size() > c.published.Size
	c.mu.Unlock()
	if grown {
		if err := c.job(ctx, (*batch).checkpoint); err != nil {
			return err
		}
	}
	c.mu.Lock()
	due := c.payable()
	c.mu.Unlock()
	if due == 0 {
		return nil
	}
	return c.job(ctx, func(b *batch) error {
		b.settle()
		return nil
	})
}

// checkpoint covers only leaves of earlier transactions: they are committed.
// The row's key is the size, and Next refuses a smaller or a forked log, so two
// checkpoints can never contradict each other.
func (b *batch) checkpoint() error {
	c := b.c
	next, err := c.cfg.Log.next(c.published, b.now)
	if err != nil || next.Size == c.published.Size {
		return err
	}
	b.tx.PutCheckpoint(next)
	b.tx.After(func() {
		if err := c.cfg.Log.publish(next); err != nil {
			c.log.Error("a checkpoint was not published; payouts wait until the hub is restarted", "error", err)
			return
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.published = next
	})
	return nil
}

// payable counts the payouts that the published checkpoint covers.
func (c *Control) payable() int {
	return sort.Search(len(c.payouts), func(i int) bool { return c.payouts[i].leaf >= c.published.Size })
}

// settle makes the payouts that are due.
func (b *batch) settle() {
	c := b.c
	n := c.payable()
	for _, p := range c.payouts[:n] {
		if !planted.Pay {
			b.pay(p)
		}
		if p.task.owing--; p.task.owing == 0 && p.task.Ended() {
			b.void(p.task)
		}
	}
	c.payouts = c.payouts[n:]
	if len(c.payouts) == 0 {
		c.payouts = nil
	}
}

func (b *batch) pay(p payout) {
	t, l, c := p.task, p.part.Lease(p.lease), b.c
	t.Pending -= l.Pay
	if l.Pay == 0 {
		b.touch(t)
		return
	}
	for _, share := range l.Payments() {
		if share.Amount == 0 {
			continue
		}
		if !b.transfer(t, ledger.Transfer{ID: share.Transfer, Kind: ledger.Post, Credit: share.Owner, Amount: share.Amount, Lease: l.ID}) {
			return
		}
		if n := c.nodes[share.Node]; n != nil {
			n.doc.Earned += share.Amount
			b.touchNode(n)
		}
	}
	b.span(t, "lease.payment", attribute.String("lease", l.ID.String()), attribute.String("amount", l.Pay.String()))
	t.Paid += l.Pay
	c.stats.paid += l.Pay
}

// settleEnded closes the books of a task that has just ended and owes nothing.
func (b *batch) settleEnded(t *task) {
	if t.owing == 0 {
		b.void(t)
	}
}

// void gives back what is left of a task's hold.
func (b *batch) void(t *task) {
	if t.Settled {
		return
	}
	left := t.escrow.Left()
	if b.transfer(t, ledger.Transfer{ID: core.TransferID(b.c.ids.Next()), Kind: ledger.Void, Credit: t.Account, Amount: left}) {
		t.Refunded, t.Settled = left, true
	}
}

// transfer applies a transfer out of a task's hold and stores it. What the
// ledger refuses here is a broken invariant: the batch is given up.
func (b *batch) transfer(t *task, tr ledger.Transfer) bool {
	c := b.c
	tr.Ms, tr.Debit, tr.Task = b.now, t.Account, t.ID
	debit, credit := c.accounts[tr.Debit], c.account(tr.Credit, b.now)
	st, err := ledger.Apply(ledger.State{Debit: *debit, Credit: *credit, Escrow: t.escrow}, tr)
	if err != nil {
		b.tx.Fail(err)
		return false
	}
	if credit != debit {
		*credit = st.Credit
		b.touchAccount(credit)
	}
	*debit, t.escrow = st.Debit, st.Escrow
	b.touchAccount(debit)
	b.touch(t)
	b.tx.PutTransfer(tr)
	return true
}

// account returns an account, opening it on first use: an owner is paid
// whether or not it ever signs in.
func (c *Control) account(id core.AccountID, now int64) *ledger.Account {
	a := c.accounts[id]
	if a == nil {
		a = &ledger.Account{ID: id, CreatedMs: now}
		c.accounts[id] = a
	}
	return a
}
