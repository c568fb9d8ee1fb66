package shard

import (
	"fmt"
	"testing"
	"time"
)

// world is a line as it might be.
type world struct {
	stages    int
	shared    bool          // the stages compute on the same cores
	fixed     time.Duration // of a step at one stage
	each      time.Duration // more, for each sequence in it
	latency   time.Duration // of all hops of a round
	sequences int
}

// round is how long each sequence waits for a token when they go in groups of a size.
func (w *world) round(size int) time.Duration {
	groups := time.Duration((w.sequences + size - 1) / size)
	step := w.fixed + time.Duration(size)*w.each
	all := time.Duration(w.stages) * step
	busiest := groups * step
	if w.shared {
		busiest = groups * all
	}
	return max(busiest, all+w.latency)
}

// Whatever the world is like, what is tried finds about the best.
func TestGroups(t *testing.T) {
	t.Parallel()
	ms := time.Millisecond
	for _, w := range []world{
		{stages: 2, shared: true, fixed: 2 * ms, each: ms / 2, latency: ms, sequences: 8},
		{stages: 2, fixed: 2 * ms, each: ms / 2, latency: ms, sequences: 8},
		{stages: 4, fixed: 2 * ms, each: ms / 2, latency: ms, sequences: 8},
		{stages: 5, fixed: ms / 10, each: 2 * ms, latency: ms, sequences: 7},
		{stages: 2, fixed: 2 * ms, each: ms / 2, latency: 50 * ms, sequences: 32},
		{stages: 2, shared: true, fixed: 2 * ms, each: ms / 2, latency: 50 * ms, sequences: 32},
		{stages: 2, shared: true, fixed: 2 * ms, each: ms / 2, latency: 200 * ms, sequences: 3},
		{stages: 3, fixed: ms, each: ms, latency: ms, sequences: 1},
	} {
		t.Run(fmt.Sprintf("%+v", w), func(t *testing.T) {
			t.Parallel()
			best := w.round(1)
			for size := 1; size <= w.sequences; size++ {
				best = min(best, w.round(size))
			}
			var g groups
			now, took := time.Unix(0, 0), time.Duration(0)
			const rounds, late = 2000, 1000
			for i := range rounds {
				_, most := g.size(w.sequences)
				r := w.round(most)
				now = now.Add(r)
				if g.drew(w.sequences, w.sequences, now); i >= late {
					took += r
				}
			}
			if mean := took / (rounds - late); mean > best*125/100 {
				t.Errorf("a round takes %s, and could take %s", mean, best)
			}
		})
	}
}
