package control

import (
	"time"

	"golang.org/x/time/rate"

	"atoll/internal/bus"
	"atoll/internal/core"
)

// Bounds on what a node may say, so that one that never stops leaves the hub, and
// the clients who are shown its words, time for others. Reports are not among it:
// work hangs on them, and each is asked for. An honest node sends two heartbeats a
// second and up to fifty messages each of progress and status.
const (
	heardBytes      = 16 << 20 // a second, and at once
	heardLeast      = 16 << 10 // what each message counts at least: a thousand a second
	complaintsEvery = time.Second
)

// hearing is how much a node has said of late.
type hearing struct {
	words      *rate.Limiter
	complaints *rate.Limiter // what is logged of it
}

func newHearing() *hearing {
	return &hearing{words: rate.NewLimiter(heardBytes, heardBytes), complaints: rate.NewLimiter(rate.Every(complaintsEvery), 1)}
}

// hears reports whether a node's message is to be looked at. Those that are not may
// be lost like any other message.
func (c *Control) hears(id core.NodeID, kind string, size int) bool {
	if kind == bus.KindReport {
		return true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.nodes[id]
	return n != nil && n.hearing.words.AllowN(c.now(), max(size, heardLeast))
}

// complain counts a message that was refused and logs it, unless the node has been
// complained of a moment ago.
func (c *Control) complain(id core.NodeID, kind string, err error) {
	c.cfg.Metrics.BadMessages.Inc()
	c.mu.Lock()
	n := c.nodes[id]
	known := n != nil && n.hearing.complaints.AllowN(c.now(), 1)
	c.mu.Unlock()
	if known {
		c.log.Warn("message of a node refused", "node", id, "kind", kind, "error", err)
	}
}
