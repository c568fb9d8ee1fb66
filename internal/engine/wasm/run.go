package wasm

import (
	"context"
	"fmt"
	"time"

	"atoll/internal/engine"
)

// Run implements engine.Instance.
func (i *Instance) Run(ctx context.Context, in engine.Input) (engine.Output, engine.Usage, error) {
	use := engine.Usage{BytesIn: int64(len(in.Data))}
	j, err := i.engine.jobFor(in)
	if err != nil {
		return engine.Output{}, use, err
	}
	if ctx.Err() != nil {
		return engine.Output{}, use, engine.Ended(ctx)
	}
	a := i.engine.compute(ctx, i.pool, j)
	for a.again {
		if ctx.Err() != nil {
			return engine.Output{}, use, engine.Ended(ctx)
		}
		// It went with others, and one of them went wrong.
		again := newJob(j.question, true)
		again.wall, again.cpu = j.wall, j.cpu
		a = i.engine.compute(ctx, i.pool, again)
	}
	use.CPU, use.Memory = a.ran.cpu, a.ran.memory
	if a.err != nil {
		return engine.Output{}, use, a.err
	}
	use.BytesOut = int64(len(a.ran.body))
	return engine.Output{Data: a.ran.body}, use, nil
}

// jobFor checks a part against what the node allows.
func (e *Engine) jobFor(in engine.Input) (*job, error) {
	env, err := environment(in.Params)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", engine.ErrInput, err)
	}
	memory, output, cpu, wall := in.Limits.Memory, in.Limits.Output, in.Limits.CPU, in.Limits.Wall
	if memory == 0 {
		memory = min(DefaultMemory, e.cfg.MaxMemory)
	}
	if output == 0 {
		output = min(DefaultOutput, e.cfg.MaxOutput)
	}
	if cpu == 0 {
		cpu = min(DefaultCPU, e.cfg.MaxCPU)
	}
	if wall == 0 {
		wall = DefaultWall
	}
	switch {
	case int64(len(in.Data)) > e.cfg.MaxInput:
		return nil, fmt.Errorf("%w: input of %d bytes, this node allows %d", engine.ErrTooLarge, len(in.Data), e.cfg.MaxInput)
	case memory < 0 || output < 0 || cpu < 0 || wall < 0:
		return nil, fmt.Errorf("%w: a limit is negative", engine.ErrInput)
	case memory > e.cfg.MaxMemory:
		return nil, fmt.Errorf("%w: the part asks for %d bytes of memory, this node allows %d", engine.ErrTooLarge, memory, e.cfg.MaxMemory)
	case output > e.cfg.MaxOutput:
		return nil, fmt.Errorf("%w: the part asks for a result of up to %d bytes, this node allows %d", engine.ErrTooLarge, output, e.cfg.MaxOutput)
	case cpu > e.cfg.MaxCPU:
		return nil, fmt.Errorf("%w: the part asks for %s of CPU time, this node allows %s", engine.ErrTooLarge, cpu, e.cfg.MaxCPU)
	}
	j := newJob(run{memory: uint64(memory), output: uint64(output), env: env, data: in.Data}, false)
	j.wall, j.cpu = wall, cpu
	return j, nil
}

// compute waits for j's turn, or for the answer that another job's turn brings.
func (e *Engine) compute(ctx context.Context, p *pool, j *job) answer {
	t, err := e.sched.enter(ctx, p, j)
	if err != nil {
		return answer{err: err}
	}
	if t == nil {
		return j.answer
	}
	c, err := e.childFor(ctx, p, t)
	if err != nil {
		return answer{err: err}
	}
	fit := c.exchange(ctx, t.jobs)
	if fit {
		e.sched.leave(c)
	} else {
		e.sched.lose(c)
	}
	for _, other := range t.jobs[1:] {
		other.wake <- struct{}{}
	}
	return j.answer
}

// childFor returns the turn's child, or starts one. If that fails it gives the
// turn back; a turn without a child has one job.
func (e *Engine) childFor(ctx context.Context, p *pool, t *turn) (*child, error) {
	if t.child != nil {
		return t.child, nil
	}
	c, err := e.newChild(ctx, p)
	if err != nil {
		e.sched.forgo(p)
		return nil, err
	}
	if !e.sched.add(c) {
		e.sched.lose(c)
		return nil, errClosed
	}
	p.compiled.Store(true)
	return c, nil
}

func (e *Engine) newChild(ctx context.Context, p *pool) (*child, error) {
	module, err := readModule(p.file, p.key.digest, e.cfg.MaxModule)
	if err != nil {
		return nil, err
	}
	begun := time.Now()
	proc, err := e.spares.get(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return nil, engine.Ended(ctx)
		}
		return nil, fmt.Errorf("wasm: %w", err)
	}
	c, err := startChild(ctx, proc, p, module, uint32(e.cfg.MaxMemory/pageSize))
	if err != nil {
		return nil, err
	}
	e.cfg.Log.Debug("sandbox process ready", "pid", proc.PID(), "tenant", p.key.tenant,
		"module", p.key.digest.Short(), "took", time.Since(begun))
	return c, nil
}
