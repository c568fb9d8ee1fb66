package repro

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
)

// Pool computes: it holds the instruction set and the threads that the kernels
// run on. Work is divided by rows, columns, heads or sequences and never within
// a sum, so that results do not depend on the number of threads.
//
// A Pool does one thing at a time; calls from several goroutines queue up. Its
// operations allocate nothing once it is made. Close it when done.
type Pool struct {
	isa     ISA
	workers []*worker

	mu   sync.Mutex // held by the one operation that runs
	jobs jobs       // arguments of that operation
	job  job
	n    int64

	// state is the run's number << 32, a bit that says it takes no more workers,
	// and the number of workers inside it.
	state atomic.Uint64
	next  atomic.Int64 // the next piece to be taken
	stop  atomic.Bool
	done  sync.WaitGroup
}

// jobs has room for the arguments of each operation, so that none is allocated.
type jobs struct {
	quantize  quantizeJob
	mul       mulJob
	panels    panelsJob
	attention attentionJob
	each      eachJob
}

// A job is work in pieces that may run at the same time. The slot is below
// Pool.Threads and belongs to one thread while the piece runs.
type job interface{ piece(isa ISA, slot, i int) }

const (
	closedBit = 1 << 31
	// spins is how often a thread looks for the next run before it sleeps, about
	// ten microseconds: the operations of one token follow each other that fast.
	spins = 1 << 13
)

type worker struct {
	wake   chan struct{}
	asleep atomic.Bool
}

// NewPool starts threads − 1 goroutines beside the caller's. threads must be
// between 1 and 1024, and isa one of [Available].
func NewPool(threads int, isa ISA) (*Pool, error) {
	if threads < 1 || threads > 1024 {
		return nil, fmt.Errorf("pool of %d threads: want 1 to 1024", threads)
	}
	if _, err := SelectISA(isa.String()); err != nil {
		return nil, err
	}
	p := &Pool{isa: isa}
	p.state.Store(closedBit)
	for slot := 1; slot < threads; slot++ {
		w := &worker{wake: make(chan struct{}, 1)}
		p.workers = append(p.workers, w)
		p.done.Go(func() { p.serve(w, slot) })
	}
	return p, nil
}

// ISA returns the instruction set that the pool computes with.
func (p *Pool) ISA() ISA { return p.isa }

// Threads returns how many pieces of work may run at the same time.
func (p *Pool) Threads() int { return len(p.workers) + 1 }

// Close ends the pool's goroutines and waits for them. The pool must not be used
// afterwards.
func (p *Pool) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stop.Store(true)
	for _, w := range p.workers {
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
	p.done.Wait()
}

// run does the n pieces of j and returns when all are done. p.mu must be held.
func (p *Pool) run(j job, n int) {
	if n <= 1 || len(p.workers) == 0 {
		for i := range n {
			j.piece(p.isa, 0, i)
		}
		return
	}
	p.job, p.n = j, int64(n)
	p.next.Store(0)
	p.state.Store((p.state.Load()>>32 + 1) << 32)
	for _, w := range p.workers[:min(n-1, len(p.workers))] {
		if w.asleep.CompareAndSwap(true, false) {
			w.wake <- struct{}{} // has room: one for each time it falls asleep
		}
	}
	p.take(0)
	// A worker that has not come by now need not: only those inside are waited for.
	p.state.Or(closedBit)
	for i := 0; p.state.Load()&(closedBit-1) != 0; i++ {
		if i > spins {
			runtime.Gosched()
		}
	}
	p.job = nil
}

// take does pieces until none is left.
func (p *Pool) take(slot int) {
	for {
		i := p.next.Add(1) - 1
		if i >= p.n {
			return
		}
		p.job.piece(p.isa, slot, int(i))
	}
}

// serve joins one run after another, and sleeps when none comes for a while.
func (p *Pool) serve(w *worker, slot int) {
	for idle := 0; !p.stop.Load(); idle++ {
		s := p.state.Load()
		if s&closedBit == 0 && p.state.CompareAndSwap(s, s+1) {
			p.take(slot)
			// All pieces are taken, so nobody else need come.
			p.state.Or(closedBit)
			p.state.Add(^uint64(0))
			idle = 0
			continue
		}
		if idle < spins {
			continue
		}
		w.asleep.Store(true)
		// A run that began just before does not wake this thread, so look again.
		if p.state.Load()&closedBit == 0 && w.asleep.CompareAndSwap(true, false) {
			continue
		}
		<-w.wake
		idle = 0
	}
}
