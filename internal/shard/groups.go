package shard

import (
	"math/bits"
	"time"
)

// groups decides in how many groups the sequences of a line go round. In one, a step
// reads the weights for all of them, but while one stage computes the others wait. In
// many, every stage and every link has something to do, but weights are read for
// each. Which is best depends on whether the stages have cores of their own, on how
// far apart they are, and on how a step's time grows with what is in it. So it is
// found by trying: now and then twice or half as many, and what brings more tokens is
// kept. What was found is remembered for each load, by the power of two above it.
type groups struct {
	loads [32]load

	// The period that is measured:
	sequences int
	drawn     int
	began     time.Time // zero: the first tokens are of the period before
}

// load is what was found of so many sequences.
type load struct {
	best     int     // groups; 0: one
	rate     float64 // tokens a second that they brought
	trial    int     // groups that are being tried; 0: none
	promised float64 // what the trial's first period brought; 0: it is the first
	fewer    bool    // the next trial is of fewer
	failed   int     // trials in a row that brought nothing
	rests    int     // periods until the next trial
}

const (
	periodRounds = 8 // tokens of each sequence in a period
	maxRests     = 64
	shortRests   = 4    // after a trial that the load has cut short
	better       = 1.04 // times what was before is worth a change, in two periods: less may be chance
)

func (g *groups) load(n int) *load { return &g.loads[bits.Len32(uint32(n))%len(g.loads)] }

// size is how many of n sequences make a group, at least and at most.
func (g *groups) size(n int) (least, most int) {
	l := g.load(n)
	count := max(l.best, 1)
	if l.trial > 0 {
		count = l.trial
	}
	n = max(n, 1)
	count = min(count, n)
	return n / count, (n + count - 1) / count
}

// drew notes so many more tokens, of n sequences under way.
func (g *groups) drew(tokens, n int, now time.Time) {
	if g.sequences == 0 || abs(n-g.sequences) > g.sequences/4 || g.load(n) != g.load(g.sequences) {
		if was := g.load(g.sequences); was.trial > 0 {
			was.drop()
			was.rests = shortRests
		}
		g.sequences, g.drawn, g.began = n, 0, time.Time{}
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
	g.load(n).judge(rate, n)
}

// judge ends a period.
func (l *load) judge(rate float64, n int) {
	switch {
	case l.trial == 0:
		l.rate = rate
		if l.rests--; l.rests < 0 {
			l.try(n)
		}
	case rate > better*l.rate && l.promised == 0:
		l.promised = rate // let it be seen again
	case rate > better*l.rate:
		l.best, l.rate, l.failed = l.trial, min(rate, l.promised), 0
		l.drop()
		l.try(n)
	default:
		l.drop()
		l.fewer = !l.fewer
		l.failed++
		l.rests = min(1<<min(l.failed, 16), maxRests)
	}
}

// drop ends a trial.
func (l *load) drop() { l.trial, l.promised = 0, 0 }

// try begins a trial, if there is anything to try.
func (l *load) try(n int) {
	now := max(min(l.best, n), 1)
	next := min(2*now, n)
	if l.fewer {
		next = max(now/2, 1)
	}
	if next == now {
		l.fewer = !l.fewer
		return
	}
	l.trial = next
}

func abs(n int) int { return max(n, -n) }
