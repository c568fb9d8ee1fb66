package agent

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"time"

	"atoll/internal/bus"
)

// pendingStatus is what the hub is to hear about leases in the next status
// message. Good news waits a moment, in which a short lease may finish and need
// no mention; a refusal leaves as soon as the pace allows.
type pendingStatus struct {
	news    []*held
	refused []bus.Refusal
	due     time.Duration
	last    time.Duration // when one was sent
}

func (s *pendingStatus) empty() bool { return len(s.news) == 0 && len(s.refused) == 0 }

func (s *pendingStatus) refuse(c *clock, r bus.Refusal) {
	s.refused = append(s.refused, r)
	s.due = min(s.due, max(c.elapsed, s.last+statusEvery))
}

// tell puts a held lease into the next status message.
func (c *Core) tell(h *held) {
	if !h.inNews {
		h.inNews = true
		c.status.news = append(c.status.news, h)
	}
	c.status.due = min(c.status.due, c.clock.elapsed+statusEvery)
}

func (c *Core) sendStatus(fx *Effects) {
	s := &c.status
	if c.clock.elapsed < s.due {
		return
	}
	var m bus.Status
	for _, h := range s.news {
		h.inNews = false
		switch { // a lease that is over, or in a report, needs no mention
		case c.held[h.lease.ID] != h || h.cancelled || h.state == finished:
		case (h.state == running || h.state == uploading) && !h.toldStart:
			h.told, h.toldStart = true, true
			m.Started = append(m.Started, h.lease.ID)
		case !h.told:
			h.told = true
			m.Accepted = append(m.Accepted, h.lease.ID)
		}
	}
	s.news = nil
	n := min(len(s.refused), statusRefusals)
	m.Refused, s.refused = s.refused[:n], s.refused[n:]
	if s.due = never; len(s.refused) > 0 {
		s.due = c.clock.elapsed + statusEvery
	}
	if len(m.Accepted)+len(m.Started)+len(m.Refused) > 0 {
		s.last = c.clock.elapsed
		c.send(fx, bus.KindStatus, m)
	}
}

func (c *Core) sendBeat(fx *Effects) {
	if c.clock.elapsed < c.beatDue {
		return
	}
	c.beat++
	c.beatDue = c.clock.elapsed + HeartbeatEvery
	c.send(fx, bus.KindHeartbeat, bus.Heartbeat{
		Boot: c.cfg.Boot, Seq: c.beat, SentMs: c.clock.last.UnixMilli(), Draining: c.draining, Offer: c.cfg.Offer,
		Holding: len(c.held), Outbox: len(c.reports),
	})
}

// send encodes one of our own messages, which always can be.
func (c *Core) send(fx *Effects, kind string, message any) {
	data, err := json.Marshal(message)
	if err != nil {
		panic("agent: encode " + kind + ": " + err.Error())
	}
	fx.Send = append(fx.Send, Message{Kind: kind, Data: data})
}

// inOrder lists the held leases by ID, since a map has no order that could be
// replayed.
func (c *Core) inOrder() []*held {
	byID := func(a, b *held) int { return cmp.Compare(a.lease.ID, b.lease.ID) }
	return slices.SortedFunc(maps.Values(c.held), byID)
}
