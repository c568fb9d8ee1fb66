package shard

import (
	"fmt"
	"math/rand/v2"
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
		{stages: 2, shared: true, fixed: 2 * ms, each: ms, latency: 100 * ms, sequences: 8},
	} {
		t.Run(fmt.Sprintf("%+v", w), func(t *testing.T) {
			t.Parallel()
			best := w.round(1)
			for size := 1; size <= w.sequences; size++ {
				best = min(best, w.round(size))
			}
			for _, noise := range []float64{0, 0.2} { // rounds take up to so much more for a while, by chance
				var g groups
				now, took, rng := time.Unix(0, 0), time.Duration(0), rand.New(rand.NewPCG(1, 2))
				const rounds, late = 4000, 2000
				slow := 1.0
				for i := range rounds {
					_, most := g.size(w.sequences)
					r := w.round(most)
					if i%10 == 0 {
						slow = 1 + noise*rng.Float64()
					}
					now = now.Add(time.Duration(float64(r) * slow))
					if g.drew(w.sequences, w.sequences, now); i >= late {
						took += r
					}
				}
				if mean := took / (rounds - late); mean > best*110/100 {
					t.Errorf("with noise %v a round takes %s, and could take %s", noise, mean, best)
				}
			}
		})
	}
}

// What was found is known when the same load comes again.
func TestGroupsRemember(t *testing.T) {
	t.Parallel()
	ms := time.Millisecond
	w := world{stages: 2, shared: true, fixed: 4 * ms, each: ms / 2, latency: ms, sequences: 8}
	var g groups
	now := time.Unix(0, 0)
	trials := 0
	burst := func(rounds int) {
		for range rounds {
			_, most := g.size(w.sequences)
			if most != w.sequences {
				trials++
			}
			now = now.Add(w.round(most))
			g.drew(w.sequences, w.sequences, now)
		}
		g.drew(1, 1, now) // the last of them
	}
	burst(1000)
	trials = 0
	for range 10 {
		burst(60)
	}
	if trials > 60 {
		t.Errorf("%d of 600 rounds were spent on trials of what has failed before", trials)
	}
}
