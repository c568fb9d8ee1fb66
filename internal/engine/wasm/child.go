package wasm

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strings"
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

// errBet means that parts that went together were not as short as hoped.
var errBet = errors.New("parts that went together took too long")

// child is a process with one module. It belongs to one turn at a time.
type child struct {
	proc *sandbox.Process
	pool *pool

	since time.Time     // idle since; guarded by scheduler.mu
	cpu   time.Duration // of all parts so far; belongs to the turn
	watch watch
}

// startChild makes a blank process into a child of pool p. On failure it ends
// the process.
func startChild(ctx context.Context, proc *sandbox.Process, p *pool, module []byte, pages uint32) (*child, error) {
	c := &child{proc: proc, pool: p}
	c.watch.init(proc)
	if err := c.load(ctx, module, pages); err != nil {
		proc.Close()
		return nil, err
	}
	return c, nil
}

func (c *child) load(ctx context.Context, module []byte, pages uint32) error {
	c.watch.arm(compileWall, 0, fmt.Errorf("%w: compiling it took more than %s", engine.ErrModel, compileWall))
	defer c.watch.disarm()
	stop := context.AfterFunc(ctx, func() { c.proc.Kill(contextError(ctx)) })
	defer stop()
	var header [loadHeader]byte
	binary.LittleEndian.PutUint32(header[:], pages)
	err := errors.Join(c.proc.Put(kindLoad, header[:], module), c.proc.Flush())
	var f sandbox.Frame
	if err == nil {
		f, err = c.proc.Next()
	}
	switch {
	case err != nil:
		c.proc.Kill(nil)
		err := c.failure()
		if errors.Is(err, engine.ErrCrashed) || errors.Is(err, engine.ErrTooLarge) {
			return fmt.Errorf("%w: compiling it: %w", engine.ErrModel, err)
		}
		return err
	case f.Kind != kindLoad || len(f.Body) == 0:
		return fmt.Errorf("wasm: %w: kind %d where the outcome of compiling was due", sandbox.ErrFrame, f.Kind)
	case f.Body[0] != statusDone:
		return statusError(f.Body[0], f.Body[1:])
	}
	return nil
}

// exchange sends jobs to the child and fills in their answers. It is false when
// the child is of no further use.
func (c *child) exchange(ctx context.Context, jobs []*job) bool {
	if len(jobs) == 1 {
		c.watch.arm(jobs[0].wall, jobs[0].cpu, nil)
	} else if c.proc.Report().CPUClock {
		c.watch.arm(jobs[0].wall, betCPU, errBet)
	} else {
		c.watch.arm(betWall, 0, errBet)
	}
	stop := func() bool { return true }
	if ctx.Done() != nil {
		stop = context.AfterFunc(ctx, func() { c.proc.Kill(contextError(ctx)) })
	}
	err := c.send(jobs)
	done := 0
	for err == nil && done < len(jobs) {
		var a ran
		if a, err = c.receive(jobs[done]); err == nil {
			jobs[done].answer = c.settle(a)
			done++
		}
	}
	killed := c.watch.disarm()
	if !stop() {
		killed = true
	}
	if err != nil {
		c.unanswered(err, jobs[done:], len(jobs) > 1)
		return false
	}
	return !killed
}

func (c *child) send(jobs []*job) error {
	for i, j := range jobs {
		q := j.question
		q.more = i < len(jobs)-1
		if err := c.proc.Put(kindRun, q.header(), q.env, q.data); err != nil {
			return err
		}
	}
	return c.proc.Flush()
}

func (c *child) receive(j *job) (ran, error) {
	f, err := c.proc.Next()
	if err != nil {
		return ran{}, err
	}
	if f.Kind != kindRun {
		return ran{}, fmt.Errorf("%w: kind %d where an answer was due", sandbox.ErrFrame, f.Kind)
	}
	a, err := parseRan(f.Body)
	if err != nil {
		return ran{}, fmt.Errorf("%w: %w", sandbox.ErrFrame, err)
	}
	if a.status == statusDone && uint64(len(a.body)) > j.question.output {
		return ran{}, fmt.Errorf("%w: a result of %d bytes, limit %d", sandbox.ErrFrame, len(a.body), j.question.output)
	}
	return a, nil
}

// settle turns an answer of the child into that of a job.
func (c *child) settle(a ran) answer {
	c.cpu += a.cpu
	c.pool.note(a.cpu)
	if a.status != statusDone {
		err := statusError(a.status, a.body)
		a.body = nil
		return answer{ran: a, err: err}
	}
	a.body = bytes.Clone(a.body) // the frame's is used again
	return answer{ran: a}
}

// unanswered settles jobs that a dead or lying child has not answered. One that
// was alone is to blame; of several nobody knows which.
func (c *child) unanswered(err error, jobs []*job, several bool) {
	if errors.Is(err, sandbox.ErrFrame) {
		c.proc.Kill(fmt.Errorf("%w: worker process: %w", engine.ErrCrashed, err))
	}
	if several {
		c.proc.Kill(nil)
		c.pool.typical.Store(int64(batchTime)) // let parts go alone for a while
		for _, j := range jobs {
			j.answer = answer{again: true}
		}
		return
	}
	for _, j := range jobs {
		j.answer = answer{err: c.failure()}
	}
}

// failure says why the child ended, and ends it if need be.
func (c *child) failure() error {
	exit := c.proc.Wait()
	switch {
	case exit.Cause != nil:
		return exit.Cause
	case strings.Contains(exit.Stderr, "out of memory") || strings.Contains(exit.Stderr, "cannot allocate memory"):
		return fmt.Errorf("%w: memory of the worker process: %w", engine.ErrTooLarge, exit.Err())
	case exit.Killed:
		// Neither by us nor by the module: an operator, or a machine that is
		// out of memory. Nobody but this node is to blame.
		return fmt.Errorf("wasm: killed from outside: %w", exit.Err())
	}
	return fmt.Errorf("%w: %w", engine.ErrCrashed, exit.Err())
}

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

// spares are processes that wait for a module: starting one takes longer than
// compiling most modules.
type spares struct {
	cfg sandbox.Config
	log *slog.Logger

	mu     sync.Mutex
	ready  []*sandbox.Process
	closed bool
	wg     sync.WaitGroup
}

func newSpares(n int, cfg sandbox.Config, log *slog.Logger) *spares {
	s := &spares{cfg: cfg, log: log}
	for range n {
		s.wg.Go(s.add)
	}
	return s
}

func (s *spares) add() {
	p, err := sandbox.Start(context.Background(), s.cfg)
	if err != nil {
		// The next part that needs a process meets the same error and says so.
		s.log.Warn("no spare sandbox process", "error", err)
		return
	}
	s.mu.Lock()
	if !s.closed {
		s.ready = append(s.ready, p)
		s.mu.Unlock()
		return
	}
	s.mu.Unlock()
	p.Close()
}

// get returns a blank process, and has the next one started.
func (s *spares) get(ctx context.Context) (*sandbox.Process, error) {
	s.mu.Lock()
	n := len(s.ready)
	if n == 0 || s.closed {
		s.mu.Unlock()
		return sandbox.Start(ctx, s.cfg)
	}
	p := s.ready[n-1]
	s.ready = s.ready[:n-1]
	s.wg.Go(s.add)
	s.mu.Unlock()
	return p, nil
}

func (s *spares) close() {
	s.mu.Lock()
	s.closed = true
	for _, p := range s.ready {
		p.Kill(nil)
		s.wg.Go(p.Close)
	}
	s.ready = nil
	s.mu.Unlock()
	s.wg.Wait()
}
