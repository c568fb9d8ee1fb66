package wasm

import (
	"context"
	"errors"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"atoll/internal/core"
	"atoll/internal/engine"
	"atoll/internal/engine/wasm/asm"
	"atoll/internal/node/sandbox"
)

// TestTenants runs one module for two tenants: no child serves both, also when
// they share the only place.
func TestTenants(t *testing.T) {
	t.Parallel()
	for _, most := range []int{1, 2} {
		e := newEngine(t, Config{Children: most})
		served := map[int]core.AccountID{}
		for range 3 {
			for _, tenant := range []core.AccountID{"acme", "globex"} {
				in := loadFor(t, e, asm.Echo(), tenant)
				echoes(t, in, string(tenant))
				all := childrenOf(e)
				if len(all) > most {
					t.Errorf("%d children, at most %d are allowed", len(all), most)
				}
				for _, c := range all {
					pid := c.proc.PID()
					if was, ok := served[pid]; ok && was != c.pool.key.tenant {
						t.Errorf("child %d served %s and %s", pid, was, c.pool.key.tenant)
					}
					served[pid] = c.pool.key.tenant
				}
			}
		}
	}
}

// TestFair has one tenant keep the only child busy; another's part gets in.
func TestFair(t *testing.T) {
	t.Parallel()
	e := newEngine(t, Config{Children: 1})
	busy, other := load(t, e, asm.Echo()), loadFor(t, e, asm.Echo(), "globex")
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for ctx.Err() == nil {
				_, _, err := busy.Run(ctx, engine.Input{Data: []byte("busy")})
				if err != nil && ctx.Err() == nil {
					t.Errorf("busy tenant: %v", err)
				}
			}
		})
	}
	for range 3 {
		echoes(t, other, "my turn")
	}
	cancel()
	wg.Wait()
}

func TestReap(t *testing.T) {
	t.Parallel()
	e := newEngine(t, Config{Children: 2, Idle: time.Hour, Spare: -1})
	in := load(t, e, asm.Echo())
	echoes(t, in, "x")
	e.reap(time.Now())
	if n := len(childrenOf(e)); n != 1 {
		t.Fatalf("%d children after one part, want 1", n)
	}
	e.reap(time.Now().Add(2 * time.Hour))
	if n := len(childrenOf(e)); n != 0 {
		t.Errorf("%d children after an idle hour, want 0", n)
	}
	// The file's name may go, as in a cache; the open instance still works.
	if err := os.Remove(in.pool.file.Name()); err != nil {
		t.Fatal(err)
	}
	echoes(t, in, "y")
	if err := in.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	e.reap(time.Now().Add(4 * time.Hour))
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.models) != 0 {
		t.Errorf("%d models are kept that nobody uses", len(e.models))
	}
}

func TestCloseWhileRunning(t *testing.T) {
	t.Parallel()
	e := newEngine(t, Config{Children: 1})
	in := load(t, e, asm.Spin())
	var wg sync.WaitGroup
	for range 4 { // one runs, the others wait
		wg.Go(func() {
			if _, _, err := in.Run(t.Context(), engine.Input{}); !errors.Is(err, errClosed) {
				t.Errorf("got %v, want errClosed", err)
			}
		})
	}
	for {
		e.sched.mu.Lock()
		waiting := len(in.pool.line)
		e.sched.mu.Unlock()
		if waiting == 3 {
			break
		}
		runtime.Gosched()
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	if _, _, err := in.Run(t.Context(), engine.Input{}); !errors.Is(err, errClosed) {
		t.Errorf("after close: got %v", err)
	}
	if n := len(childrenOf(e)); n != 0 {
		t.Errorf("%d children outlive the engine", n)
	}
}

// TestRequire refuses children that enforce less than the node's probe did.
func TestRequire(t *testing.T) {
	t.Parallel()
	e := newEngine(t, Config{Require: sandbox.Report{Landlock: 1 << 20}})
	_, err := e.Load(t.Context(), modelOf(t, asm.Echo(), "acme"))
	if !errors.Is(err, sandbox.ErrWeaker) {
		t.Errorf("got %v, want ErrWeaker", err)
	}
	for _, blame := range []error{engine.ErrModel, engine.ErrCrashed} {
		if errors.Is(err, blame) {
			t.Errorf("%v blames the module", err)
		}
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	for name, cfg := range map[string]Config{
		"children": {Children: -1},
		"memory":   {MaxMemory: 5 << 30},
		"pages":    {MaxMemory: 1<<20 + 1},
		"output":   {MaxOutput: 2 << 30},
		"input":    {MaxInput: -1},
	} {
		if e, err := New(cfg); err == nil {
			_ = e.Close()
			t.Errorf("%s: accepted", name)
		}
	}
}

// liars are children that do not keep to the protocol when they get a part.
func liars() map[string]func(*sandbox.Conn) error {
	answer := func(kind, status byte, body int) func(*sandbox.Conn) error {
		return func(c *sandbox.Conn) error {
			a := ran{status: status}
			return errors.Join(c.Put(kind, a.header(), make([]byte, body)), c.Flush())
		}
	}
	return map[string]func(*sandbox.Conn) error{
		"other kind":         answer(99, statusDone, 0),
		"longer than limit":  answer(kindRun, statusDone, 100),
		"status that is not": answer(kindRun, 77, 0),
		"short answer":       func(c *sandbox.Conn) error { return errors.Join(c.Put(kindRun, []byte{0}), c.Flush()) },
		"no answer":          func(*sandbox.Conn) error { return nil },
		"panic":              func(*sandbox.Conn) error { panic("told to") },
	}
}

// liarWorkers load any module and lie about the first part.
func liarWorkers() []sandbox.Worker {
	var all []sandbox.Worker
	for name, lie := range liars() {
		all = append(all, sandbox.Worker{Name: name, Serve: func(c *sandbox.Conn) error {
			if _, err := c.Next(); err != nil {
				return err
			}
			if err := errors.Join(c.Put(kindLoad, []byte{statusDone}), c.Flush()); err != nil {
				return err
			}
			if _, err := c.Next(); err != nil {
				return err
			}
			return lie(c)
		}})
	}
	return all
}

// TestLyingChild holds that a child that talks nonsense costs itself and its
// part, with a clear word.
func TestLyingChild(t *testing.T) {
	t.Parallel()
	says := map[string]string{
		"other kind":         "kind 99",
		"longer than limit":  "100 bytes, limit 10",
		"status that is not": "status 77",
		"short answer":       "cut short",
		"no answer":          "exit status 0",
		"panic":              "told to",
	}
	for name := range liars() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEngine(t, Config{Children: 1, Spare: -1})
			e.spares.cfg.Worker = name
			in := load(t, e, asm.Echo())
			_, _, err := in.Run(t.Context(), engine.Input{Limits: engine.Limits{Output: 10}})
			if !errors.Is(err, engine.ErrCrashed) || !strings.Contains(err.Error(), says[name]) {
				t.Errorf("got %v, want ErrCrashed with %q", err, says[name])
			}
			if n := len(childrenOf(e)); n != 0 {
				t.Errorf("%d liars live on", n)
			}
		})
	}
}
