package control

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"atoll/internal/core"
	"atoll/internal/lifecycle"
)

const (
	sweepEvery = 250 * time.Millisecond
	// downAfterMs is the silence after which a node gets no new leases.
	// Heartbeats come every 500 ms.
	downAfterMs = 2_000
	// stalledMs between two sweeps mean that the hub has stood still.
	stalledMs = 1_000
	// restartGraceMs is how long nodes have to find a restarted hub: they try again
	// every 5 s, with jitter, when it has been away for long.
	restartGraceMs = 8_000
	// lookAgainMs is how often waiting parts are held against the market even
	// though no lease has ended and no node has appeared.
	lookAgainMs = 1_000
)

// Sweep lets time pass: it looks at every lease that is out and at every task
// that has not ended, and becomes a job if anything is overdue.
func (c *Control) Sweep() {
	now := c.now().UnixMilli()
	c.mu.Lock()
	c.excuse(now)
	c.waiting.tidy()
	due := c.overdue(now)
	// A price or a label may have changed since the last look.
	again := len(c.waiting.tasks) > 0 && now-c.lookedMs >= lookAgainMs && c.anyFree()
	if again {
		c.lookedMs = now
		c.waiting.unpark(maxFruitless)
	}
	c.mu.Unlock()
	c.keepServices(now)
	c.tendLines(now)
	switch {
	case due:
		c.enqueue((*batch).sweep)
	case again:
		c.enqueue(func(b *batch) { b.freed = true })
	}
}

// excuse keeps nodes from paying for this hub's own absence: if it has stood
// still, or its clock has jumped, nobody could be heard in that time.
func (c *Control) excuse(now int64) {
	if gap := now - c.sweptMs; gap > stalledMs {
		for _, n := range c.nodes {
			n.seenMs += gap
		}
		c.excusedMs = now
	}
	c.sweptMs = now
}

// overdue marks silent nodes as down, all of them, and then looks whether a job
// is due.
func (c *Control) overdue(now int64) bool {
	for _, n := range c.nodes {
		if n.offer.Up && now-n.seenMs >= downAfterMs {
			n.offer.Up = false
		}
	}
	for _, n := range c.nodes {
		for _, r := range n.leases {
			if lifecycle.Check(&r.task.Terms, r.lease(), now, n.seenMs, r.sentMs) != lifecycle.OnTime {
				return true
			}
		}
	}
	for _, t := range c.tasks {
		if !t.Ended() && (now >= t.DueMs() || t.waitedTooLong(now)) {
			return true
		}
	}
	return false
}

func (b *batch) sweep() {
	c := b.c
	for _, o := range c.offers {
		n := c.nodes[o.Node]
		for _, r := range sortedRefs(n.leases) {
			b.check(r)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(c.tasks)) {
		t := c.tasks[id]
		switch {
		case t.Ended():
		case b.now >= t.DueMs():
			why := fmt.Sprintf("not done within %s", time.Duration(t.Terms.TotalMs)*time.Millisecond)
			if t.Terms.DeadlineMs != 0 && b.now >= t.Terms.DeadlineMs {
				why = "not done by its deadline"
			}
			b.end(t, lifecycle.Expired, fmt.Sprintf("%s: %d of %d parts done", why, t.Succeeded, t.Parts))
		default:
			b.expireWaiting(t)
		}
	}
	b.freed = true
}

// expireWaiting ends the waiting of parts that found no node in time. A part
// whose replicas agree already makes do with them.
func (b *batch) expireWaiting(t *task) {
	for _, p := range slices.Clone(t.wait.queue) {
		if t.Ended() || b.now < t.waitsUntil(p) || p.Live() > 0 {
			continue
		}
		p.TimedOut = true
		b.advanceWith(t, p, true)
	}
}

func (b *batch) check(r *leaseRef) {
	n, l := r.node, r.lease()
	due := lifecycle.Check(&r.task.Terms, l, b.now, n.seenMs, r.sentMs)
	if b.now-b.c.excusedMs < lifecycle.AnswerAfterMs && due > lifecycle.Resend {
		// The hub itself was away: say it again, and give the node its time anew.
		due = lifecycle.OnTime
		if l.State == lifecycle.Offered && b.now-r.sentMs >= lifecycle.ResendAfterMs {
			due = lifecycle.Resend
		}
	}
	switch due {
	case lifecycle.Resend:
		r.sentMs = b.now
		b.offers[n.doc.ID] = append(b.offers[n.doc.ID], r)
	case lifecycle.NodeLost:
		n.offer.Up = false // until it is heard again: it may be lost before it counts as down
		b.lose(r, fmt.Sprintf("%s has been silent for %.1f s", n.doc.ID, float64(b.now-max(n.seenMs, l.OfferedMs))/1000))
	case lifecycle.TooSlow:
		b.lose(r, fmt.Sprintf("%s did not report within the execution timeout of %s", n.doc.ID, time.Duration(r.task.Terms.ExecutionMs)*time.Millisecond))
	case lifecycle.NeverRan:
		// Not held against it: the hub may have given it more than it can do in time.
		b.move(r, fmt.Sprintf("%s accepted but did not start within %s", n.doc.ID, time.Duration(r.task.Terms.QueueMs)*time.Millisecond))
	case lifecycle.NoAnswer:
		b.lose(r, fmt.Sprintf("%s did not answer the offer", n.doc.ID))
	}
}

func sortedRefs(m map[core.LeaseID]*leaseRef) []*leaseRef {
	return slices.SortedFunc(maps.Values(m), func(a, b *leaseRef) int { return cmp.Compare(a.id, b.id) })
}
