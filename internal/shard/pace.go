package shard

import (
	"math/bits"
	"time"
)

// pace is how long a stage's steps take. A step of a long prompt takes many times as
// long as one of a single token, and a position far back in a text takes longer than
// one at its beginning, so steps are compared with those of about their size.
type pace struct {
	least [64]time.Duration // of steps of size 2^(i−1) to 2^i − 1; 0: there was none
	last  step
	now   step // if one runs
}

type step struct {
	size  int // index in least
	began time.Time
	took  time.Duration
}

// attended positions cost about as much as the rest of a layer. This need not be
// exact: sizes are powers of two, and slow is many times as long.
const attended = 256

// begin notes that a step begins.
func (p *pace) begin(work []job, now time.Time) {
	size := 0
	for i := range work {
		size += work[i].n * (1 + (work[i].span.First+work[i].n)/attended)
	}
	p.now = step{size: bits.Len(uint(size)), began: now}
}

// end notes that it has ended.
func (p *pace) end(now time.Time) {
	p.last, p.now = p.now, step{}
	p.last.took = max(now.Sub(p.last.began), 1)
	if least := &p.least[p.last.size]; *least == 0 || p.last.took < *least {
		*least = p.last.took
	}
}

// report says how long the last step took, and the one that runs has so far.
func (p *pace) report(r *report, now time.Time) {
	r.StepMs, r.StepLeastMs = p.last.took.Milliseconds(), p.least[p.last.size].Milliseconds()
	if !p.now.began.IsZero() {
		r.WaitMs, r.WaitLeastMs = now.Sub(p.now.began).Milliseconds(), p.least[p.now.size].Milliseconds()
	}
}
