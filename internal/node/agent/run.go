package agent

import (
	"fmt"
	"math"
	"slices"

	"atoll/internal/bus"
	"atoll/internal/core"
)

// startQueued fills the free slots, oldest lease first. One that does not fit
// beside those running waits, and those behind it with it, so that it is not
// overtaken for ever.
func (c *Core) startQueued(fx *Effects) {
	c.expireQueued()
	for len(c.queue) > 0 && c.running < c.cfg.Offer.Slots {
		h := c.queue[0]
		if !c.fits(h) {
			return
		}
		c.start(h, fx)
		c.queue[0] = nil
		if c.queue = c.queue[1:]; len(c.queue) == 0 {
			c.queue = nil
		}
	}
}

// expireQueued gives back what could not be begun in time, so that the hub hears
// it from us and does not take us for a node that forgets.
func (c *Core) expireQueued() {
	now := c.clock.hubMs()
	if now < c.queueExpiry {
		return
	}
	c.queueExpiry = math.MaxInt64
	c.queue = slices.DeleteFunc(c.queue, func(h *held) bool {
		late := now - h.lease.ExpiresMs
		if late >= 0 {
			c.refuse(h, fmt.Sprintf("the offer expired in this node's queue, %d ms ago", late))
			return true
		}
		c.queueExpiry = min(c.queueExpiry, h.lease.ExpiresMs)
		return false
	})
}

// fits reports whether h may run beside what is running. Alone it always fits:
// the rules have seen to that.
func (c *Core) fits(h *held) bool {
	o := &c.cfg.Offer
	return c.running == 0 || (c.cpu+h.lease.CPUMillis <= o.CPUMillis && c.mem+h.lease.Memory <= o.Memory)
}

func (c *Core) start(h *held, fx *Effects) {
	h.state = starting
	c.running++
	c.cpu += h.lease.CPUMillis
	c.mem += h.lease.Memory
	fx.Start = append(fx.Start, Start{Lease: &h.lease, Delay: c.cfg.Faults.Delay})
}

// release gives a lease's slot back.
func (c *Core) release(h *held) {
	c.running--
	c.cpu -= h.lease.CPUMillis
	c.mem -= h.lease.Memory
}

// drop ends a lease without a report.
func (c *Core) drop(h *held, how ending, reason string) {
	if how == cancelled {
		c.counts.Cancelled++
	} else {
		c.counts.Refused++
	}
	delete(c.held, h.lease.ID)
	c.memory.add(h.lease.ID, how, reason)
}

// refuse drops a lease and tells the hub, so that it goes elsewhere at once.
func (c *Core) refuse(h *held, reason string) {
	reason = core.Clip(reason, maxReason)
	c.drop(h, refused, reason)
	c.status.refuse(&c.clock, bus.Refusal{Lease: h.lease.ID, Reason: reason})
}
