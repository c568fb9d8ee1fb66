package agent

import (
	"fmt"
	"slices"
	"time"

	"atoll/internal/bus"
	"atoll/internal/core"
	"atoll/internal/engine"
	"atoll/internal/peer/probe"
	"atoll/internal/shard/charter"
)

// Lease takes a sealed batch of offers. An error means that the batch as a whole
// is not what this node's hub has signed for it; nobody is told, since nothing in
// it can be trusted.
func (c *Core) Lease(now time.Time, sealed []byte) (fx Effects, err error) {
	c.clock.advance(now)
	batch, err := c.open(sealed)
	if err == nil {
		c.clock.observe(batch.IssuedMs)
		for i := range batch.Leases {
			c.offer(&batch.Leases[i])
		}
	}
	c.step(&fx)
	return fx, err
}

// Cancel stops work on leases that nobody wants any more. One that has finished
// is reported all the same; the hub says what it thinks of it.
func (c *Core) Cancel(now time.Time, m bus.Cancel) (fx Effects) {
	c.clock.advance(now)
	for _, id := range m.Leases {
		h := c.held[id]
		switch {
		case h == nil:
			if c.byLease[id] == nil {
				if _, known := c.memory.find(id); !known {
					c.memory.add(id, cancelled, "") // the offer may come yet
				}
			}
		case h.state == queued:
			c.queue = slices.DeleteFunc(c.queue, func(q *held) bool { return q == h })
			c.drop(h, cancelled, "")
		case h.state == starting, h.state == running:
			if !h.cancelled {
				h.cancelled = true
				fx.Stop = append(fx.Stop, id)
			}
		}
	}
	c.step(&fx)
	return fx
}

// Running notes that a started part now really runs.
func (c *Core) Running(now time.Time, id core.LeaseID) (fx Effects) {
	c.clock.advance(now)
	if h := c.held[id]; h != nil && h.state == starting {
		h.state = running
		c.tell(h)
	}
	c.step(&fx)
	return fx
}

// Done notes that a run has ended.
func (c *Core) Done(now time.Time, id core.LeaseID, out Outcome) (fx Effects) {
	c.clock.advance(now)
	h := c.held[id]
	if h == nil || (h.state != starting && h.state != running) {
		c.step(&fx)
		return fx
	}
	c.parts++
	if n := c.cfg.Faults.CrashAfter; n > 0 && c.parts >= n {
		return Effects{Die: true}
	}
	switch {
	case h.cancelled:
		c.release(h)
		c.drop(h, cancelled, "")
	case out.Fault != "":
		c.release(h)
		c.refuse(h, out.Fault)
	default:
		c.deliver(h, out, &fx)
	}
	c.step(&fx)
	return fx
}

// deliver takes a result or a failure towards its report.
func (c *Core) deliver(h *held, out Outcome, fx *Effects) {
	if out.Failure == "" {
		out.Data = c.cfg.Faults.Alter(&h.lease, out.Data)
	} else {
		out.Failure = core.Clip(out.Failure, maxFailure)
		out.Data = []byte(out.Failure)
	}
	if out.Started.IsZero() { // failed before it could run
		out.Started = c.clock.last
	}
	if out.Finished.Before(out.Started) {
		out.Finished = out.Started
	}
	h.out = out
	if len(out.Data) > bus.InlineLimit {
		h.state = uploading // and keeps its slot, so that large results do not pile up
		fx.Upload = append(fx.Upload, Upload{Lease: h.lease.ID, Data: out.Data})
		return
	}
	c.release(h)
	c.finish(h)
}

// Uploaded notes that a large result is with the hub, or why it is not.
func (c *Core) Uploaded(now time.Time, id core.LeaseID, err error) (fx Effects) {
	c.clock.advance(now)
	if h := c.held[id]; h != nil && h.state == uploading {
		c.release(h)
		if err != nil {
			c.refuse(h, "the result could not be uploaded: "+err.Error())
		} else {
			h.uploaded = true
			c.finish(h)
		}
	}
	c.step(&fx)
	return fx
}

func (c *Core) finish(h *held) {
	h.state = finished
	if len(c.finished) == 0 {
		c.storeDue = c.clock.elapsed + company
	}
	c.finished = append(c.finished, h)
}

// Connected notes that the hub can be reached (again): what it may have missed
// is said once more.
func (c *Core) Connected(now time.Time) (fx Effects) {
	c.clock.advance(now)
	c.beatDue = c.clock.elapsed
	for _, r := range c.order {
		r.due, r.wait = c.clock.elapsed, resendMin
	}
	if len(c.order) > 0 {
		c.resendDue = c.clock.elapsed
	}
	for _, h := range c.inOrder() {
		h.told, h.toldStart = false, false
		c.tell(h)
	}
	c.step(&fx)
	return fx
}

// Hosted notes what the provider's own server has now. Leases that are held stay:
// whether the server still does them is seen when they run.
func (c *Core) Hosted(now time.Time, h engine.Hosted) (fx Effects) {
	c.clock.advance(now)
	c.cfg.Offer.Upstreams, c.cfg.Offer.Trouble = h.Models, h.Trouble
	c.beatDue = c.clock.elapsed
	c.step(&fx)
	return fx
}

// Loaded notes which models are in memory, the last used first, and how many bytes
// of one are fetched and loaded in a second.
func (c *Core) Loaded(now time.Time, models []core.Digest, rate int64) (fx Effects) {
	c.clock.advance(now)
	c.cfg.Offer.Loaded, c.cfg.Offer.LoadRate = models, rate
	c.beatDue = c.clock.elapsed
	c.step(&fx)
	return fx
}

// Keep is asked to hold models in memory. It does what a lease of theirs could
// make it do.
func (c *Core) Keep(now time.Time, m bus.Keep) (fx Effects) {
	c.clock.advance(now)
	for _, k := range m.Models[:min(len(m.Models), bus.MaxLoaded)] {
		if !c.draining && c.rules.mayKeep(&k) {
			fx.Keep = append(fx.Keep, k)
		}
	}
	c.step(&fx)
	return fx
}

// Line takes a sealed charter: the word that this node may hold layers of a model. An
// error means that it is not what this node's hub has signed.
func (c *Core) Line(now time.Time, sealed []byte) (fx Effects, err error) {
	c.clock.advance(now)
	ch, err := charter.Open(sealed, c.cfg.HubKey)
	switch {
	case err != nil:
	case ch.Hub != c.cfg.Hub:
		err = fmt.Errorf("%w: %.80q, and this node has joined %q", ErrOtherHub, ch.Hub, c.cfg.Hub)
	case !c.draining && c.rules.mayKeep(&bus.KeptModel{Engine: ch.Engine, Digest: ch.Model, Size: ch.Share(c.cfg.Node), Account: ch.Account}):
		fx.Charters = append(fx.Charters, ch)
	}
	c.step(&fx)
	return fx, err
}

// Probe is asked to measure the ways to other nodes.
func (c *Core) Probe(now time.Time, m bus.Probe) (fx Effects) {
	c.clock.advance(now)
	fx.Probe = m.Peers[:min(len(m.Peers), bus.MaxWays)]
	c.step(&fx)
	return fx
}

// Ways notes what the ways to other nodes are like.
func (c *Core) Ways(now time.Time, ways []probe.Way) (fx Effects) {
	c.clock.advance(now)
	c.cfg.Offer.Ways, c.beatDue = ways, c.clock.elapsed
	c.step(&fx)
	return fx
}

// Lines notes how the lines go that this node heads.
func (c *Core) Lines(now time.Time, states []charter.State) (fx Effects) {
	c.clock.advance(now)
	if !slices.EqualFunc(states, c.cfg.Offer.Lines, func(a, b charter.State) bool { return a.Same(&b) }) {
		c.beatDue = c.clock.elapsed
	}
	c.cfg.Offer.Lines = states[:min(len(states), bus.MaxLines)]
	c.step(&fx)
	return fx
}

// Tick does what is due by time alone. It is to be called after Next at the
// latest, and may be called at any time.
func (c *Core) Tick(now time.Time) (fx Effects) {
	c.clock.advance(now)
	c.storeLate()
	c.step(&fx)
	return fx
}

// Next is how long after the last event, at most, Tick is to be called. As after
// any event, Take is to be asked then.
func (c *Core) Next() time.Duration {
	due := min(c.beatDue, c.status.due, c.resendDue)
	if len(c.queue) > 0 {
		left := min(c.queueExpiry-c.clock.hubMs(), time.Minute.Milliseconds())
		due = min(due, c.clock.elapsed+time.Duration(left)*time.Millisecond)
	}
	if !c.committed { // else Committed comes first, and Take after it
		due = min(due, c.forgetDue, c.storeDue)
	}
	return max(due-c.clock.elapsed, 0)
}

// Drain stops admission for good: what is not yet running goes back to the hub.
func (c *Core) Drain(now time.Time) (fx Effects) {
	c.clock.advance(now)
	if !c.draining {
		c.draining = true
		c.beatDue = c.clock.elapsed
		for _, h := range c.queue {
			c.refuse(h, shuttingDown)
		}
		c.queue = nil
	}
	c.step(&fx)
	return fx
}
