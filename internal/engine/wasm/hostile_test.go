package wasm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"atoll/internal/engine"
	"atoll/internal/engine/wasm/asm"
)

// TestHostile runs modules that misbehave in one way each, and between them,
// on the same engine, parts of a good module that must not notice.
func TestHostile(t *testing.T) {
	t.Parallel()
	e := newEngine(t, Config{Children: 2})
	good := load(t, e, asm.Echo())
	for _, tc := range []struct {
		name   string
		module []byte
		limits engine.Limits
		want   error
		says   []string
	}{
		{"loops, wall clock", asm.Spin(), engine.Limits{Wall: 60 * time.Millisecond}, engine.ErrDeadline, []string{"60ms of wall-clock"}},
		{"loops, CPU time", asm.Spin(), engine.Limits{CPU: 60 * time.Millisecond}, engine.ErrDeadline, []string{"60ms of CPU"}},
		{"takes memory without end", asm.Hog(), engine.Limits{Memory: 32 << 20}, engine.ErrTooLarge, []string{"memory limit of 33554432 bytes", "unreachable"}},
		{"takes all the memory there is", asm.Hog(), engine.Limits{Memory: 1 << 30}, engine.ErrTooLarge, []string{"memory limit"}},
		{"starts with more than its part may have", asm.Command(64, nil, nil, nil), engine.Limits{Memory: 1 << 20}, engine.ErrTooLarge, []string{"starts with 4194304 bytes"}},
		{"writes without end", asm.Flood(1), engine.Limits{Output: 1 << 20}, engine.ErrTooLarge, []string{"longer than 1048576 bytes"}},
		{"complains without end", asm.Flood(2), engine.Limits{Wall: 60 * time.Millisecond}, engine.ErrDeadline, nil},
		{"traps", asm.Say(2, "I give \x1b[31mup\x07", asm.Ops(asm.Unreachable)), engine.Limits{}, engine.ErrCrashed, []string{"unreachable", "I give ?[31mup?"}},
		{"exits with an error", asm.Say(2, "no such column", asm.Ops(asm.Const(7), asm.Call(1))), engine.Limits{}, engine.ErrCrashed, []string{"exit code 7", "no such column"}},
		{"recurses without end", asm.Command(0, nil, nil, asm.Call(0)), engine.Limits{}, engine.ErrCrashed, []string{"stack overflow"}},
		{"has as large a table as is allowed", asm.Module{Pages: 0, Table: maxTable, Funcs: []asm.Func{{Export: "_start"}}}.Bytes(), engine.Limits{}, nil, nil},
		{"sleeps for a century", asm.Dump(asm.WASI("poll_oneoff", 4), sleepCall, 4), engine.Limits{Wall: 20 * time.Second}, nil, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			in := load(t, e, tc.module)
			out, _, err := in.Run(t.Context(), engine.Input{Limits: tc.limits})
			switch {
			case tc.want == nil && err != nil && !errors.Is(err, engine.ErrTooLarge):
				t.Errorf("got %v, want success, or a refusal of its size", err)
			case tc.want != nil && !errors.Is(err, tc.want):
				t.Errorf("got %v, want %v", err, tc.want)
			case err != nil && len(out.Data) > 0:
				t.Errorf("a failed part has a result of %d bytes", len(out.Data))
			}
			for _, s := range tc.says {
				if err == nil || !strings.Contains(err.Error(), s) {
					t.Errorf("got %v, want it to say %q", err, s)
				}
			}
			if err != nil && len(err.Error()) > 2*maxMessage {
				t.Errorf("an error of %d bytes", len(err.Error()))
			}
			echoes(t, good, "still here")
		})
	}
}

// sleepCall asks poll_oneoff at address 0 for one clock event after 2^62 ns.
var sleepCall = asm.Ops(
	asm.Const(16), asm.Const(1), asm.Mem(asm.Store32, 0), // monotonic clock
	asm.Const(28), asm.Const(1<<30), asm.Mem(asm.Store32, 0), // upper half of the timeout
	asm.Const(0), asm.Const(128), asm.Const(1), asm.Const(256), asm.Call(0),
)

func echoes(t *testing.T, in *Instance, text string) {
	t.Helper()
	out, _, err := in.Run(t.Context(), engine.Input{Data: []byte(text)})
	if err != nil || string(out.Data) != text {
		t.Errorf("echo of %q gave %q, %v", text, out.Data, err)
	}
}

// TestNeighbours has parts of a module in flight together while some of them
// exit with an error and one of them takes its child down.
func TestNeighbours(t *testing.T) {
	t.Parallel()
	e := newEngine(t, Config{Children: 2})
	in := load(t, e, asm.Echo())
	for range 50 {
		echoes(t, in, "short parts may go together")
	}
	const parts = 400
	var wg sync.WaitGroup
	for i := range parts {
		wg.Go(func() {
			text := fmt.Sprintf("part %d", i)
			if i%7 == 0 {
				text = "BAD!" + text
			}
			out, _, err := in.Run(t.Context(), engine.Input{Data: []byte(text)})
			switch {
			case i%7 == 0:
				if !errors.Is(err, engine.ErrCrashed) {
					t.Errorf("%s: got %v, want ErrCrashed", text, err)
				}
			case err != nil || string(out.Data) != text:
				t.Errorf("%s gave %q, %v", text, out.Data, err)
			}
		})
	}
	wg.Wait()
}

// TestTogetherGoneWrong has quick parts and endless ones of one module wait in
// the same line: the endless ones fail alone.
func TestTogetherGoneWrong(t *testing.T) {
	t.Parallel()
	e := newEngine(t, Config{Children: 1})
	in := load(t, e, spinIfBad())
	for range 50 {
		if _, _, err := in.Run(t.Context(), engine.Input{Data: []byte("fine")}); err != nil {
			t.Fatal(err)
		}
	}
	if n := in.pool.together(); n < 2 {
		t.Fatalf("parts of a no-op module go %d at a time", n)
	}
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			part := engine.Input{Data: []byte("fine"), Limits: engine.Limits{CPU: 10 * time.Second}}
			if i == 20 {
				part = engine.Input{Data: []byte("BAD!"), Limits: engine.Limits{CPU: 50 * time.Millisecond}}
			}
			_, _, err := in.Run(t.Context(), part)
			switch {
			case i == 20 && !errors.Is(err, engine.ErrDeadline):
				t.Errorf("the endless part: got %v, want ErrDeadline", err)
			case i != 20 && err != nil:
				t.Errorf("part %d: %v", i, err)
			}
		})
	}
	wg.Wait()
}

// spinIfBad never ends for input that starts with "BAD!".
func spinIfBad() []byte {
	const bad = int32('B') | 'A'<<8 | 'D'<<16 | '!'<<24
	return asm.Command(1, []asm.Import{asm.WASI("fd_read", 4)}, nil, asm.Ops(
		asm.Const(0), asm.Const(1024), asm.Mem(asm.Store32, 0),
		asm.Const(0), asm.Const(4), asm.Mem(asm.Store32, 4),
		asm.Const(0), asm.Const(0), asm.Const(1), asm.Const(8), asm.Call(0), asm.Drop,
		asm.Const(0), asm.Mem(asm.Load32, 1024), asm.Const(bad), asm.Eq,
		asm.If, asm.Void, asm.Loop, asm.Void, asm.Br, asm.Uint(0), asm.End, asm.End,
	))
}

// TestKillChild kills a child in the middle of a part, as an operator might:
// that part fails, nobody else is to blame, and the next finds a new child.
func TestKillChild(t *testing.T) {
	t.Parallel()
	e := newEngine(t, Config{Children: 1})
	in := load(t, e, spinIfBad())
	pid := onlyChild(t, e).proc.PID()
	failed := make(chan error)
	go func() {
		_, _, err := in.Run(t.Context(), engine.Input{Data: []byte("BAD!")})
		failed <- err
	}()
	// The part's CPU time shows that it runs.
	c := onlyChild(t, e)
	for begun := time.Now(); time.Since(begun) < 10*time.Second; {
		if cpu, ok := c.proc.CPU(); !ok || cpu > 50*time.Millisecond {
			break
		}
	}
	p, err := os.FindProcess(pid)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	err = <-failed
	if err == nil {
		t.Fatal("the part succeeded")
	}
	for _, blame := range []error{engine.ErrCrashed, engine.ErrDeadline, engine.ErrTooLarge, engine.ErrModel} {
		if errors.Is(err, blame) {
			t.Errorf("%v blames the module", err)
		}
	}
	if _, _, err := in.Run(t.Context(), engine.Input{Data: []byte("fine")}); err != nil {
		t.Errorf("the part after it: %v", err)
	}
	if onlyChild(t, e).proc.PID() == pid {
		t.Error("the killed child serves on")
	}
}

func onlyChild(t *testing.T, e *Engine) *child {
	t.Helper()
	all := childrenOf(e)
	if len(all) != 1 {
		t.Fatalf("%d children, want 1", len(all))
	}
	return all[0]
}

func childrenOf(e *Engine) []*child {
	e.sched.mu.Lock()
	defer e.sched.mu.Unlock()
	var all []*child
	for c := range e.sched.all {
		all = append(all, c)
	}
	return all
}

// TestCancelTogether gives up some of the parts that wait or go together; the
// others come back.
func TestCancelTogether(t *testing.T) {
	t.Parallel()
	e := newEngine(t, Config{Children: 1})
	in := load(t, e, asm.Echo())
	for range 50 {
		echoes(t, in, "short")
	}
	var wg sync.WaitGroup
	for i := range 300 {
		wg.Go(func() {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			text := fmt.Appendf(nil, "part %d", i)
			if i%3 == 0 {
				go cancel()
			}
			out, _, err := in.Run(ctx, engine.Input{Data: bytes.Clone(text)})
			switch {
			case i%3 == 0 && errors.Is(err, context.Canceled):
			case err != nil || !bytes.Equal(out.Data, text):
				t.Errorf("%s gave %q, %v", text, out.Data, err)
			}
		})
	}
	wg.Wait()
	e.sched.mu.Lock()
	defer e.sched.mu.Unlock()
	if e.sched.live > 1 || len(e.sched.lines) != 0 || in.pool.children != e.sched.live {
		t.Errorf("left over: %d places, %d lines, %d children of the pool", e.sched.live, len(e.sched.lines), in.pool.children)
	}
}
