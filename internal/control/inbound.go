package control

import (
	"slices"

	"atoll/internal/bus"
	"atoll/internal/core"
	"atoll/internal/lifecycle"
	"atoll/internal/policy"
)

// Inbound takes one message of a node. The bus has made sure of who sent it.
func (c *Control) Inbound(id core.NodeID, kind string, data []byte) {
	if !c.hears(id, kind, len(data)) {
		c.complain(id, kind, core.Errorf(core.Throttled, "the node says more than is listened to"))
		return
	}
	var err error
	switch kind {
	case bus.KindHeartbeat:
		var m bus.Heartbeat
		if err = bus.Decode(data, &m); err == nil {
			err = checkHeartbeat(&m)
		}
		if err == nil {
			c.heartbeat(id, &m)
		}
	case bus.KindStatus:
		var m bus.Status
		if err = bus.Decode(data, &m); err == nil {
			c.enqueue(func(b *batch) { b.status(id, &m) })
		}
	case bus.KindProgress:
		var m bus.Progress
		if err = bus.Decode(data, &m); err == nil {
			c.progress(id, &m)
		}
	case bus.KindReport:
		err = c.report(id, data)
	default:
		err = core.Errorf(core.Invalid, "unknown kind of message")
	}
	if err != nil {
		c.complain(id, kind, err)
	}
}

// rebootMs is how often a node may begin a new life, at most.
const rebootMs = 1_000

// Bounds on what a node may claim.
const (
	maxSlots = 10_000
	maxNames = bus.MaxLoaded // labels, engines, accounts, GPUs, models
)

// checkHeartbeat refuses what no honest node says.
func checkHeartbeat(m *bus.Heartbeat) error {
	o := &m.Offer
	switch {
	case m.Boot == "" || len(m.Boot) > bus.MaxWord: // each lease repeats it
		return core.Errorf(core.Invalid, "a boot ID of %d bytes: want 1 to %d", len(m.Boot), bus.MaxWord)
	case o.Price < 0 || o.Price > core.MaxMoney:
		return core.Errorf(core.Invalid, "price %s: want 0 to %s", o.Price, core.MaxMoney)
	case o.Slots < 1 || o.Slots > maxSlots || o.Queue < o.Slots || o.Queue > maxSlots:
		return core.Errorf(core.Invalid, "%d slots and a queue of %d: want 1 to %d, and a queue no shorter than the slots", o.Slots, o.Queue, maxSlots)
	case min(o.CPUMillis, o.Memory, o.LoadRate) < 0:
		return core.Errorf(core.Invalid, "negative CPU, memory or load rate")
	case max(len(o.Labels), len(o.Engines), len(o.Upstreams), len(o.Accounts), len(o.GPUs), len(o.Bench), len(o.Sandbox), len(o.Loaded), len(o.PeerAt)) > maxNames || len(o.Lines) > bus.MaxLines || len(o.Ways) > bus.MaxWays:
		return core.Errorf(core.Invalid, "more than %d labels, engines, accounts, GPUs, models or addresses, %d lines or %d ways", maxNames, bus.MaxLines, bus.MaxWays)
	case o.Long():
		return core.Errorf(core.Invalid, "a name or label of over %d bytes", bus.MaxWord)
	case !policy.IsCountry(o.Country):
		return core.Errorf(core.Invalid, "country %.20q is not in ISO 3166-1", o.Country)
	}
	for i := range o.Lines {
		if err := o.Lines[i].Check(); err != nil {
			return core.Errorf(core.Invalid, "%w", err)
		}
	}
	for i := range o.Ways {
		if err := o.Ways[i].Check(); err != nil {
			return err
		}
	}
	return nil
}

// heartbeat refreshes soft state; it becomes a job only when it changes what
// can be placed.
func (c *Control) heartbeat(id core.NodeID, m *bus.Heartbeat) {
	c.mu.Lock()
	n := c.nodes[id]
	if n == nil || n.doc.Revoked {
		c.mu.Unlock()
		return
	}
	wasOpen := n.offer.Up && !n.offer.Draining
	now := c.now().UnixMilli()
	reboot := n.bootID != m.Boot
	if reboot && now-n.bootMs < rebootMs {
		c.mu.Unlock() // saying all leases again costs much more than a heartbeat
		return
	}
	if reboot {
		n.bootMs = now
	}
	wasOpen = wasOpen && slices.Equal(n.said.Upstreams, m.Offer.Upstreams) // its own server has come up, or has other models
	n.bootID, n.seenMs, n.said, n.draining = m.Boot, now, m.Offer, m.Draining
	n.refresh(true, now)
	appeared := !wasOpen && n.offer.Up && !n.offer.Draining && len(c.waiting.tasks) > 0
	var again []*leaseRef
	if reboot {
		again = sortedRefs(n.leases)
	}
	c.mu.Unlock()
	if appeared || len(again) > 0 {
		c.enqueue(func(b *batch) {
			if appeared {
				b.freed = true
				b.c.waiting.unpark(len(b.c.waiting.tasks))
			}
			for _, r := range again {
				if l := r.lease(); l.Live() {
					r.sentMs = b.now
					b.offers[id] = append(b.offers[id], r)
				}
			}
		})
	}
}

// status takes a node's coalesced progress.
func (b *batch) status(id core.NodeID, m *bus.Status) {
	move := func(ids []core.LeaseID, to lifecycle.LeaseState) {
		for _, lid := range ids {
			r := b.c.leases[lid]
			if r == nil || r.node.doc.ID != id {
				continue
			}
			if l := r.lease(); l.Move(to, "") == nil {
				if to == lifecycle.Started {
					l.StartedMs = b.now
				}
				b.touchPart(r.task, r.part)
				b.event(r.task, "lease."+string(to), &r.part.Part, l, "by %s", id)
			}
		}
	}
	move(m.Accepted, lifecycle.Accepted)
	move(m.Started, lifecycle.Started)
	for _, x := range m.Refused {
		if r := b.c.leases[x.Lease]; r != nil && r.node.doc.ID == id && r.lease().Live() {
			b.drop(r, lifecycle.Refused, core.Clip(x.Reason, 300))
			b.advance(r.task, r.part)
		}
	}
}
