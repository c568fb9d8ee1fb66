package wasm

import (
	"fmt"
	"math"
	"sync"
	"time"

	"atoll/internal/engine"
	"atoll/internal/node/sandbox"
)

const (
	// watchTick is when a running part is looked at for the first time; most
	// have ended by then. CPU limits are as exact as this.
	watchTick = 10 * time.Millisecond
	// betCPU is the CPU time after which parts that went to a child together
	// are given up and run one by one: some twenty times what they should take.
	betCPU = 25 * time.Millisecond
	// betWall is the same where the child's CPU clock cannot be read.
	betWall = 250 * time.Millisecond
)

// watch kills a child that takes more time than it may.
type watch struct {
	proc  *sandbox.Process
	timer *time.Timer

	mu     sync.Mutex
	armed  bool
	killed bool
	begun  time.Time
	wall   time.Duration
	cpu    time.Duration // 0: no limit
	cause  error         // nil: say which limit it was
	base   time.Duration // CPU clock at the first tick
	based  bool
}

func (w *watch) init(proc *sandbox.Process) {
	w.proc = proc
	w.timer = time.AfterFunc(math.MaxInt64, w.tick)
	w.timer.Stop()
}

func (w *watch) arm(wall, cpu time.Duration, cause error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.armed, w.begun, w.wall, w.cpu, w.cause, w.based = true, time.Now(), wall, cpu, cause, false
	w.timer.Reset(min(wall, watchTick))
}

// disarm reports whether the child has been killed.
func (w *watch) disarm() bool {
	w.timer.Stop()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.armed = false
	return w.killed
}

func (w *watch) tick() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.armed {
		return
	}
	left := w.wall - time.Since(w.begun)
	if left <= 0 {
		w.kill(fmt.Errorf("%w: it ran for %s of wall-clock time", engine.ErrDeadline, w.wall))
		return
	}
	if now, ok := w.proc.CPU(); ok && w.cpu > 0 {
		if !w.based {
			w.base, w.based = now, true
		}
		rest := w.cpu - (now - w.base)
		if rest <= 0 {
			w.kill(fmt.Errorf("%w: it used %s of CPU time", engine.ErrDeadline, w.cpu))
			return
		}
		left = min(left, max(rest, time.Millisecond))
	}
	w.timer.Reset(left)
}

func (w *watch) kill(limit error) {
	if w.cause != nil {
		limit = w.cause
	}
	w.killed = true
	w.proc.Kill(limit)
}
