package wasm

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"atoll/internal/engine"
	"atoll/internal/node/sandbox"
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
	stop := context.AfterFunc(ctx, func() { c.proc.Kill(engine.Ended(ctx)) })
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
		err := c.failure(err)
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
	switch {
	case len(jobs) == 1:
		c.watch.arm(jobs[0].wall, jobs[0].cpu, nil)
	case c.proc.Report().CPUClock:
		c.watch.arm(jobs[0].wall, betCPU, errBet)
	default:
		c.watch.arm(betWall, 0, errBet)
	}
	stop := func() bool { return true }
	if ctx.Done() != nil {
		stop = context.AfterFunc(ctx, func() { c.proc.Kill(engine.Ended(ctx)) })
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
		j.answer = answer{err: c.failure(err)}
	}
}

// failure says why the child ended, and ends it if need be. seen is what was
// noticed of it: a liar may have ended by itself before it could be killed for
// its lie.
func (c *child) failure(seen error) error {
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
	case errors.Is(seen, sandbox.ErrFrame):
		return fmt.Errorf("%w: worker process: %w", engine.ErrCrashed, seen)
	}
	return fmt.Errorf("%w: %w", engine.ErrCrashed, exit.Err())
}
