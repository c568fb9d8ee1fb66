package shard

import "time"

// groups decides in how many groups the sequences of a line go round. In one, a step
// reads the weights for all of them, but while one stage computes the others wait. In
// many, every stage and every link has something to do, but weights are read for
// each. Which is best depends on whether the stages have cores of their own, on how
// far apart they are, and on how a step's time grows with what is in it. So it is
// found by trying: now and then twice or half as many, and what brings more tokens is
// kept.
type groups struct {
	best     int     // groups; 0: one
	rate     float64 // tokens a second that they brought
	trial    int     // groups that are being tried; 0: none
	promised float64 // what the trial's first period brought; 0: it is the first
	fewer    bool    // the next trial is of fewer
	failed   int     // trials in a row that brought nothing
	rests    int     // periods until the next trial

	// The period that is measured:
	sequences int
	drawn     int
	began     time.Time // zero: the first tokens are of the period before
}

const (
	periodRounds = 8 // tokens of each sequence in a period
	maxRests     = 64
	better       = 1.04 // times what was before is worth a change, in two periods: less may be chance
)

// size is how many of n sequences make a group, at least and at most.
func (g *groups) size(n int) (least, most int) {
	count := max(g.best, 1)
	if g.trial > 0 {
		count = g.trial
	}
	n = max(n, 1)
	count = min(count, n)
	return n / count, (n + count - 1) / count
}

// drew notes so many more tokens, of n sequences under way.
func (g *groups) drew(tokens, n int, now time.Time) {
	if g.sequences == 0 || abs(n-g.sequences) > g.sequences/4 {
		*g = groups{best: g.best, sequences: n} // another load: nothing is known of it
	}
	if g.drawn += tokens; g.began.IsZero() {
		if g.drawn >= 2*n { // what was on its way has arrived
			g.began, g.drawn = now, 0
		}
		return
	}
	if g.drawn < periodRounds*n {
		return
	}
	rate := float64(g.drawn) / max(now.Sub(g.began), time.Microsecond).Seconds()
	g.began, g.drawn = time.Time{}, 0
	g.judge(rate, n)
}

// judge ends a period.
func (g *groups) judge(rate float64, n int) {
	switch {
	case g.trial == 0:
		g.rate = rate
		if g.rests--; g.rests < 0 {
			g.try(n)
		}
	case rate > better*g.rate && g.promised == 0:
		g.promised = rate // let it be seen again
	case rate > better*g.rate:
		g.best, g.rate, g.trial, g.promised, g.failed = g.trial, min(rate, g.promised), 0, 0, 0
		g.try(n)
	default:
		g.trial, g.promised = 0, 0
		g.fewer = !g.fewer
		g.failed++
		g.rests = min(1<<min(g.failed, 16), maxRests)
	}
}

// try begins a trial, if there is anything to try.
func (g *groups) try(n int) {
	now := max(min(g.best, n), 1)
	next := min(2*now, n)
	if g.fewer {
		next = max(now/2, 1)
	}
	if next == now {
		g.fewer = !g.fewer
		return
	}
	g.trial = next
}

func abs(n int) int { return max(n, -n) }
