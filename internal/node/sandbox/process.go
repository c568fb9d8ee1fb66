package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
	"unicode"
)

var (
	// ErrExited means that a child ended without having been asked to.
	ErrExited = errors.New("worker process ended")
	// ErrWeaker means that a child enforces less than was required.
	ErrWeaker = errors.New("sandbox is weaker than required")
)

// startTimeout bounds the time from exec to hello: the initialisation of the
// binary's packages, some ten milliseconds on an idle machine.
const startTimeout = 20 * time.Second

// marker is set in a child's environment until MaybeWorker clears it. A program
// whose main does not call MaybeWorker would start itself again without end.
const marker = "ATOLL_SANDBOX_WORKER"

// Config says which child to start.
type Config struct {
	Worker string // the name of one that main gave to MaybeWorker
	Limits Limits
	// Require is the least that the child must enforce; zero: nothing.
	Require Report
}

// Process is a child. Put, Flush and Next are for one goroutine at a time; the
// other methods are safe for concurrent use.
type Process struct {
	*Reader
	*Writer

	cmd     *exec.Cmd
	in, out *os.File
	stderr  head
	report  Report

	mu    sync.Mutex
	cause error // why Kill was called, first reason; nil if it was not

	done chan struct{} // closed when the process is reaped
	exit Exit          // set before done is closed
}

// Exit says how a child ended.
type Exit struct {
	Cause  error  // the reason given to Kill, nil if it ended by itself
	Status string // "exit status 2", "signal: killed"
	Code   int    // exit code, -1 if ended by a signal
	Killed bool   // ended by SIGKILL, where there are signals
	Stderr string // the beginning of what it said
}

// Err is the exit as an error: the reason of the kill, or ErrExited with what
// is known.
func (e Exit) Err() error {
	if e.Cause != nil {
		return e.Cause
	}
	if e.Stderr != "" {
		return fmt.Errorf("%w: %s: %s", ErrExited, e.Status, e.Stderr)
	}
	return fmt.Errorf("%w: %s", ErrExited, e.Status)
}

// Start starts a child and waits for its hello.
func Start(ctx context.Context, cfg Config) (*Process, error) {
	if os.Getenv(marker) != "" {
		return nil, errors.New("sandbox: this is a worker process, but main has not called MaybeWorker")
	}
	if err := cfg.Limits.check(); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	limits, err := json.Marshal(cfg.Limits)
	if err != nil {
		return nil, fmt.Errorf("limits: %w", err)
	}
	p, err := launch(cfg.Worker, string(limits), cfg.Limits.Frame)
	if err != nil {
		return nil, fmt.Errorf("start worker %s: %w", cfg.Worker, err)
	}
	if err := p.hello(ctx, cfg.Require); err != nil {
		p.Kill(nil)
		exit := p.Wait()
		p.closePipes()
		if exit.Stderr != "" {
			err = fmt.Errorf("%w: %s", err, exit.Stderr)
		}
		return nil, fmt.Errorf("start worker %s: %w", cfg.Worker, err)
	}
	return p, nil
}

// launch starts the process with its pipes.
func launch(worker, limits string, frame int) (*Process, error) {
	path, err := selfPath()
	if err != nil {
		return nil, err
	}
	childIn, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer childIn.Close()
	out, childOut, err := os.Pipe()
	if err != nil {
		in.Close()
		return nil, err
	}
	defer childOut.Close()

	p := &Process{
		Reader: NewReader(out, frame), Writer: NewWriter(in, frame),
		in: in, out: out, done: make(chan struct{}),
	}
	p.cmd = &exec.Cmd{
		Path: path,
		Args: []string{"atoll", Arg, worker, limits},
		// One thread of Go code is enough: a part runs alone. The collector
		// runs rarely, because a warm child leaves little garbage per part;
		// GOMAXPROCS also keeps the runtime from opening cgroup files.
		Env:         []string{"GOMAXPROCS=1", "GOGC=400", "GOTRACEBACK=none", marker + "=1"},
		Dir:         workDir(),
		Stdin:       childIn,
		Stdout:      childOut,
		Stderr:      &p.stderr,
		SysProcAttr: sysProcAttr(),
	}
	if err := p.cmd.Start(); err != nil {
		p.closePipes()
		return nil, err
	}
	go p.reap() // ends with the process; Close waits for it
	return p, nil
}

func (p *Process) reap() {
	err := p.cmd.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.exit = Exit{Cause: p.cause, Stderr: p.stderr.String()}
	if state := p.cmd.ProcessState; state != nil {
		p.exit.Status, p.exit.Code = state.String(), state.ExitCode()
		status, ok := state.Sys().(syscall.WaitStatus)
		p.exit.Killed = ok && status.Signaled() && status.Signal() == syscall.SIGKILL
	} else {
		p.exit.Status, p.exit.Code = err.Error(), -1
	}
	close(p.done)
}

func (p *Process) hello(ctx context.Context, require Report) error {
	stop := context.AfterFunc(ctx, func() { p.Kill(context.Cause(ctx)) })
	timer := time.AfterFunc(startTimeout, func() {
		p.Kill(fmt.Errorf("no hello within %s", startTimeout))
	})
	f, err := p.Next()
	timer.Stop()
	if !stop() && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	switch {
	case errors.Is(err, io.EOF):
		p.Kill(nil)
		return p.Wait().Err()
	case err != nil:
		return err
	case f.Kind != kindHello:
		return fmt.Errorf("%w: kind %d where hello was due", ErrFrame, f.Kind)
	}
	if err := json.Unmarshal(f.Body, &p.report); err != nil {
		return fmt.Errorf("%w: hello: %w", ErrFrame, err)
	}
	return p.report.Covers(require)
}

// Report returns what the child enforces.
func (p *Process) Report() Report { return p.report }

// PID returns the child's process ID.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// CPU returns the processor time that the child has used so far, all threads.
// It is false where the system does not tell, or the child is gone.
func (p *Process) CPU() (time.Duration, bool) { return processCPU(p.PID()) }

// Kill ends the child at once and lets a blocked Next or Flush fail. Only the
// first reason is kept.
func (p *Process) Kill(cause error) {
	p.mu.Lock()
	if p.cause == nil {
		p.cause = cause
	}
	p.mu.Unlock()
	_ = p.cmd.Process.Kill() // fails only if it is gone already
}

// Wait returns when the child has ended.
func (p *Process) Wait() Exit {
	<-p.done
	return p.exit
}

// Close kills the child, waits for its end and closes the pipes.
func (p *Process) Close() {
	p.Kill(nil)
	p.Wait()
	p.closePipes()
}

func (p *Process) closePipes() {
	_ = p.in.Close()
	_ = p.out.Close()
}

// head keeps the beginning of what is written to it: a crashing Go program says
// first what happened and then, at length, where.
type head struct {
	mu  sync.Mutex
	buf []byte
}

const headSize = 1 << 10

func (h *head) Write(b []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.buf = append(h.buf, b[:min(len(b), headSize-len(h.buf))]...)
	return len(b), nil
}

// String returns the first paragraph as printable text.
func (h *head) String() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	first, _, _ := strings.Cut(Printable(h.buf), "\n\n")
	return strings.TrimSpace(first)
}

// Printable makes a stranger's bytes fit for a log line or a terminal: what is
// not valid UTF-8 or not graphic becomes '?', except for the new line.
func Printable(b []byte) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n':
			return r
		case r == '\t':
			return ' '
		case r == '\uFFFD' || !unicode.IsPrint(r):
			return '?'
		}
		return r
	}, string(b))
}
