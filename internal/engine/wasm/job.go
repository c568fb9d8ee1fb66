package wasm

import (
	"os"
	"sync/atomic"
	"time"
)

const (
	// batchMost and batchTime bound how many parts go to a child together:
	// so many, and so many as have lately taken this long in all.
	batchMost = 16
	batchTime = time.Millisecond
	// batchBytes bounds their size together. It is less than a pipe holds, so
	// that writing them never waits for a child that itself waits to write.
	batchBytes = 32 << 10
	// batchEach is the largest part that goes with others.
	batchEach = 8 << 10
)

// pool is a tenant's module, with the parts that wait for it. Children refer to
// it; those at rest are in scheduler.idle.
type pool struct {
	key    poolKey
	file   *os.File // stays readable when the cache drops the name
	floats bool

	compiled atomic.Bool  // some child has compiled the module
	typical  atomic.Int64 // recent CPU time of a part, ns; 0: not known

	refs int // open instances; guarded by Engine.mu

	// Guarded by scheduler.mu.
	line     []*job // waiting, first come first
	children int
}

// note learns from a part's CPU time.
func (p *pool) note(cpu time.Duration) {
	old := p.typical.Load()
	if old == 0 {
		old = int64(cpu)
	}
	p.typical.Store(max(old+(int64(cpu)-old)/8, 1))
}

// together is how many parts may go to a child at once.
func (p *pool) together() int {
	typical := p.typical.Load()
	if typical == 0 {
		return 1
	}
	return int(min(max(int64(batchTime)/typical, 1), batchMost))
}

// job is one part on its way.
type job struct {
	question run
	wall     time.Duration
	cpu      time.Duration
	alone    bool // must not share a child's attention with others

	wake chan struct{} // receives once the job has a turn or an answer

	// Guarded by scheduler.mu until wake.
	since time.Time
	turn  *turn // nil: another job's turn took this one along

	answer answer // set before wake, by whose turn it was
}

func newJob(q run, alone bool) *job {
	return &job{question: q, alone: alone, wake: make(chan struct{}, 1)}
}

// answer is how a job ended.
type answer struct {
	ran   ran // with a body of its own
	err   error
	again bool // it has not been computed: run it once more, alone
}

// turn is the right to use a child for some jobs, or, without a child, to start
// one for one job.
type turn struct {
	child *child
	jobs  []*job
}
