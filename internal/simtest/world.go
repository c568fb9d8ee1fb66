package simtest

import (
	"container/heap"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"math/rand/v2"
	"os"
	"time"

	"atoll/internal/core"
)

// Config of one run.
type Config struct {
	Seed uint64
	// Verbose, if set, gets every line of the trace.
	Verbose io.Writer
}

// Result of one run.
type Result struct {
	Seed       uint64
	Violations []string // empty: nothing that must hold was broken
	Trace      string   // digest of every step: equal runs have equal digests
	Tail       []string // the last steps
	Events     int      // steps taken
	Tasks      int      // acknowledged
	Succeeded  int
	Paid       int // leases
	Together   int // results that several nodes have computed
	Caught     int // of those, found wrong by an audit
	Crashes    int // of the hub
	Reboots    int // of nodes
	Simulated  time.Duration
}

// Failed reports whether the run broke anything.
func (r Result) Failed() bool { return len(r.Violations) > 0 }

// epoch is when every run begins, by the true clock.
var epoch = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// World is one run: the true clock, the events to come, and who takes part.
type World struct {
	lab     *Lab
	dir     string // of the hub's files
	rng     *rand.Rand
	secrets *rand.ChaCha8 // the hub's
	now     time.Time     // the true time; hub and nodes have clocks of their own
	events  eventHeap
	seq     int
	trace   trace
	plan    plan
	healed  bool
	hub     *hub
	nodes   []*node
	byID    map[string]*node
	clients []*client
	result  Result
	// performed is what lines have done for leases.
	performed map[core.LeaseID]*performed
	failed    map[string]bool // violations already noted
}

type event struct {
	at  time.Time
	seq int // equal times run in the order in which they were made
	fn  func()
}

type eventHeap []event

func (h eventHeap) Len() int { return len(h) }
func (h eventHeap) Less(i, j int) bool {
	if !h[i].at.Equal(h[j].at) {
		return h[i].at.Before(h[j].at)
	}
	return h[i].seq < h[j].seq
}
func (h eventHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *eventHeap) Push(x any)   { *h = append(*h, x.(event)) }
func (h *eventHeap) Pop() any {
	old := *h
	e := old[len(old)-1]
	old[len(old)-1].fn = nil
	*h = old[:len(old)-1]
	return e
}

// after has fn run d from now.
func (w *World) after(d time.Duration, fn func()) {
	w.seq++
	heap.Push(&w.events, event{w.now.Add(max(d, 0)), w.seq, fn})
}

// every has fn run each d, from now on and for ever.
func (w *World) every(d time.Duration, fn func()) {
	w.after(d, func() {
		fn()
		w.every(d, fn)
	})
}

// runUntil lets time pass until the moment or until done says so.
func (w *World) runUntil(end time.Time, done func() bool) bool {
	for !w.events[0].at.After(end) {
		e := heap.Pop(&w.events).(event)
		w.now = e.at
		w.result.Events++
		e.fn()
		if done != nil && done() {
			return true
		}
	}
	w.now = end
	return false
}

// chance is true with probability p.
func (w *World) chance(p float64) bool { return p > 0 && w.rng.Float64() < p }

// between draws a duration.
func (w *World) between(lo, hi time.Duration) time.Duration {
	return lo + time.Duration(w.rng.Int64N(int64(hi-lo)+1))
}

// violation notes that something that must hold does not.
func (w *World) violation(format string, args ...any) {
	msg := fmt.Sprintf(format, args...)
	if w.failed[msg] || len(w.result.Violations) >= 20 {
		return
	}
	w.failed[msg] = true
	w.result.Violations = append(w.result.Violations, msg)
	w.say("VIOLATION %s", msg)
}

// trace is the story of a run.
type trace struct {
	sum     hash.Hash
	tail    [200]string
	n       int
	verbose io.Writer
}

// say adds a line to the trace. Lines hold nothing that differs between two
// runs of one seed: no nonces, no signatures, no file names.
func (w *World) say(format string, args ...any) {
	line := fmt.Sprintf("%9.3f ", w.now.Sub(epoch).Seconds()) + fmt.Sprintf(format, args...)
	t := &w.trace
	t.sum.Write([]byte(line)) // a hash never fails
	t.tail[t.n%len(t.tail)] = line
	t.n++
	if t.verbose != nil {
		fmt.Fprintln(t.verbose, line)
	}
}

func (t *trace) last(n int) (out []string) {
	for i := max(t.n-min(n, len(t.tail)), 0); i < t.n; i++ {
		out = append(out, t.tail[i%len(t.tail)])
	}
	return out
}

// tailLines is how much of the trace a failing run shows.
const tailLines = 60

// Run plays one seed and judges it. The error says that the run could not be
// set up; what the run broke is in the Result.
func (l *Lab) Run(ctx context.Context, cfg Config) (res Result, err error) {
	dir, err := l.runDir()
	if err != nil {
		return Result{}, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	w := &World{
		lab: l, dir: dir, rng: rand.New(rand.NewPCG(cfg.Seed, 0x61746f6c6c)), now: epoch,
		secrets: rand.NewChaCha8([32]byte(binary.BigEndian.AppendUint64(make([]byte, 24), cfg.Seed))), performed: map[core.LeaseID]*performed{},
		byID: map[string]*node{}, failed: map[string]bool{}, result: Result{Seed: cfg.Seed},
	}
	w.trace = trace{sum: sha256.New(), verbose: cfg.Verbose}
	w.plan = w.makePlan()
	if err := w.build(ctx); err != nil {
		return w.result, fmt.Errorf("seed %d: %w", cfg.Seed, err)
	}
	w.startChaos()
	w.runUntil(epoch.Add(w.plan.chaos), nil)
	w.heal()
	if !w.runUntil(w.now.Add(patience), w.quiet) {
		w.violation("not quiet %s after the network has healed: %s", patience, w.unrest())
	}
	w.result.Simulated = w.now.Sub(epoch)
	err = w.judge(ctx)
	w.result.Trace = hex.EncodeToString(w.trace.sum.Sum(nil))
	w.result.Tail = w.trace.last(tailLines)
	if err != nil {
		return w.result, fmt.Errorf("seed %d: %w", cfg.Seed, err)
	}
	return w.result, nil
}
