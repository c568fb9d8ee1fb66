package agent

import "time"

// clock measures the time that passes between events, never backwards, and
// estimates what the hub's clock says.
type clock struct {
	last    time.Time
	elapsed time.Duration

	// What the hub's clock showed at the least when a batch came in, each with
	// the moment by ours. A batch that took long, or is played again, shows too
	// early a time, so the latest estimate counts. The window is short, so that a
	// jump of either clock is forgotten soon. Its first entry is the time of our
	// own start: until the hub has spoken, our clock is all there is.
	seen [clockWindow]struct {
		hubMs int64
		at    time.Duration
	}
	n int
}

func (c *clock) advance(now time.Time) {
	if d := now.Sub(c.last); d > 0 {
		c.elapsed += d
	}
	c.last = now
}

func (c *clock) observe(hubMs int64) {
	e := &c.seen[c.n%clockWindow]
	e.hubMs, e.at = hubMs, c.elapsed
	c.n++
}

// hubMs estimates the hub's clock, in Unix milliseconds.
func (c *clock) hubMs() int64 {
	var ms int64
	for _, e := range c.seen[:min(c.n, clockWindow)] {
		ms = max(ms, e.hubMs+(c.elapsed-e.at).Milliseconds())
	}
	return ms
}
