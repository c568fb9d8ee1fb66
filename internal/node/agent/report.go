package agent

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"atoll/internal/bus"
	"atoll/internal/core"
	"atoll/internal/node/outbox"
	"atoll/internal/planted"
)

// report is one in the outbox.
type report struct {
	outbox.Entry
	left  []core.LeaseID // not yet acknowledged
	sent  time.Duration  // last
	due   time.Duration
	wait  time.Duration // until the sending after next
	n     int           // times sent
	trace string
}

// Batch is what goes to the outbox in one durable write.
type Batch struct {
	signer  Signer
	outbox  Outbox
	groups  [][]*held // each of one account
	firstID int64
	forget  []int64

	entries []outbox.Entry // set by Commit
}

// Leases counts the leases whose reports the batch holds.
func (b *Batch) Leases() (n int) {
	for _, g := range b.groups {
		n += len(g)
	}
	return n
}

// Take returns what has finished and is to be stored, or nil if there is nothing
// yet or a batch is already out. It is to be asked after every event.
func (c *Core) Take() *Batch {
	if c.committed || !c.mustStore() && !c.mustForget() {
		return nil
	}
	groups, rest := group(c.finished)
	b := &Batch{signer: c.cfg.Signer, outbox: c.cfg.Outbox, groups: groups, firstID: c.nextReport + 1, forget: c.forget}
	c.nextReport += int64(len(groups))
	c.finished, c.forget, c.forgetDue = rest, nil, never
	if c.storeDue = never; len(rest) > 0 {
		c.storeDue = c.clock.elapsed
	}
	c.committed = true
	return b
}

// mustStore says that what has finished waits no longer: nothing else is at hand
// that could come along, enough has come, or it has waited long enough.
func (c *Core) mustStore() bool {
	return len(c.finished) > 0 && (c.running+len(c.queue) == 0 || len(c.finished) >= ReportLeases || c.clock.elapsed >= c.storeDue)
}

// group splits leases by account and into reports of bounded size, in order of
// first appearance, and returns those that are too many for one batch.
func group(done []*held) (groups [][]*held, rest []*held) {
	type open struct{ at, bytes int }
	byAccount := map[core.AccountID]open{}
	for i, h := range done {
		n := 0
		if !h.uploaded {
			n = len(h.out.Data)
		}
		n += len(h.out.Accounts)
		g, ok := byAccount[h.lease.Account]
		if !ok || len(groups[g.at]) == ReportLeases || g.bytes+n > ReportBytes {
			if len(groups) == batchReports {
				return groups, slices.Clone(done[i:])
			}
			g = open{at: len(groups)}
			groups = append(groups, nil)
		}
		groups[g.at] = append(groups[g.at], h)
		g.bytes += n
		byAccount[h.lease.Account] = g
	}
	return groups, nil
}

// Commit signs the batch's reports and stores them. It may run beside the Core,
// which meanwhile goes on; its error is for Committed.
func (b *Batch) Commit() error {
	for i, g := range b.groups {
		e, err := b.sign(b.firstID+int64(i), g)
		if err != nil {
			return err
		}
		b.entries = append(b.entries, e)
	}
	if planted.Send {
		return b.outbox.Put(nil, b.forget)
	}
	return b.outbox.Put(b.entries, b.forget)
}

func (b *Batch) sign(id int64, g []*held) (outbox.Entry, error) {
	e := outbox.Entry{ID: id, Leases: make([]core.LeaseID, len(g))}
	done := make([]Finished, len(g))
	message := bus.Report{Results: make([]bus.Result, len(g))}
	for i, h := range g {
		e.Leases[i] = h.lease.ID
		done[i] = Finished{Lease: &h.lease, Outcome: h.out, Result: core.DigestOf(h.out.Data), Uploaded: h.uploaded}
		message.Results[i] = bus.Result{Lease: h.lease.ID, Uploaded: h.uploaded, Accounts: h.out.Accounts}
		if !h.uploaded {
			message.Results[i].Data = h.out.Data
		}
	}
	var err error
	if message.Envelope, err = b.signer.Sign(g[0].lease.Account, done); err != nil {
		return e, fmt.Errorf("sign receipt of %d leases: %w", len(g), err)
	}
	if e.Body, err = json.Marshal(message); err != nil {
		return e, fmt.Errorf("encode report: %w", err)
	}
	return e, nil
}

// Committed notes that a batch is stored, and lets its reports out. After an
// error, which it returns, nobody knows what is on the disk: the Core must not
// be used again.
func (c *Core) Committed(now time.Time, b *Batch, err error) (Effects, error) {
	var fx Effects
	if err != nil {
		return fx, fmt.Errorf("the node's reports cannot be kept: %w", err)
	}
	c.clock.advance(now)
	c.committed = false
	if planted.Send {
		c.unstored = append(c.unstored, b.entries...)
	}
	for i, e := range b.entries {
		c.keep(e, b.groups[i][0].lease.Traceparent, c.clock.elapsed)
		for _, h := range b.groups[i] {
			delete(c.held, h.lease.ID)
		}
	}
	c.step(&fx)
	return fx, nil
}

// storeLate is the planted bug: the report has left before it is on the disk.
func (c *Core) storeLate() {
	if planted.Send && len(c.unstored) > 0 {
		if c.cfg.Outbox.Put(c.unstored, nil) == nil {
			c.unstored = nil
		}
	}
}

// keep takes a stored report into account and has it sent at the given moment.
func (c *Core) keep(e outbox.Entry, traceparent string, due time.Duration) {
	r := &report{Entry: e, left: slices.Clone(e.Leases), due: due, wait: resendMin, sent: -resendLeast, trace: traceparent}
	c.reports[e.ID] = r
	c.order = append(c.order, r)
	c.outboxBytes += len(e.Body)
	for _, id := range e.Leases {
		c.byLease[id] = r
	}
	c.resendDue = min(c.resendDue, due)
}

// Ack notes that the hub has stored reports, or will never want them. What is
// not yet in the outbox is not touched: nothing was sent that could have been
// acknowledged.
func (c *Core) Ack(now time.Time, m bus.Ack) (fx Effects) {
	c.clock.advance(now)
	for _, id := range m.Leases {
		r := c.byLease[id]
		if r == nil {
			continue
		}
		delete(c.byLease, id)
		c.counts.Acknowledged++
		c.memory.add(id, acknowledged, "")
		r.left = slices.DeleteFunc(r.left, func(l core.LeaseID) bool { return l == id })
		if len(r.left) > 0 {
			continue
		}
		delete(c.reports, r.ID)
		c.outboxBytes -= len(r.Body)
		r.Body = nil
		c.forget = append(c.forget, r.ID)
		if c.forgetDue == never {
			c.forgetDue = c.clock.elapsed + forgetWithin
		}
	}
	c.step(&fx)
	return fx
}

// mustForget says that the disk is to be told of acknowledgements though there
// is nothing else to write.
func (c *Core) mustForget() bool {
	return len(c.forget) > 0 && (c.clock.elapsed >= c.forgetDue || (c.draining && len(c.held) == 0))
}

// sendAgain answers an offer of a lease that is already reported.
func (c *Core) sendAgain(r *report) {
	r.due = min(r.due, max(c.clock.elapsed, r.sent+resendLeast))
	c.resendDue = min(c.resendDue, r.due)
}

// resend sends the reports that are due, oldest first, a bounded amount at a
// time.
func (c *Core) resend(fx *Effects) {
	if c.clock.elapsed < c.resendDue {
		return
	}
	c.order = slices.DeleteFunc(c.order, func(r *report) bool { return len(r.left) == 0 })
	c.resendDue = never
	bytes := 0
	for _, r := range c.order {
		if r.due <= c.clock.elapsed {
			if bytes > resendBytes {
				r.due = c.clock.elapsed + statusEvery
			} else {
				bytes += len(r.Body)
				c.sendReport(r, fx)
			}
		}
		c.resendDue = min(c.resendDue, r.due)
	}
}

func (c *Core) sendReport(r *report, fx *Effects) {
	r.sent, r.due = c.clock.elapsed, c.clock.elapsed+r.wait
	r.wait = min(2*r.wait, resendMax)
	r.n++
	if !c.cfg.Faults.drops(r.ID, r.n) {
		fx.Send = append(fx.Send, Message{Kind: bus.KindReport, Data: r.Body, Traceparent: r.trace})
	}
}
