package wasm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"sync"
	"time"

	"atoll/internal/core"
	"atoll/internal/engine"
	"atoll/internal/node/sandbox"
)

// Defaults of a part's limits. All nodes have the same, because a module can
// see its memory end.
const (
	DefaultMemory = 256 << 20
	DefaultOutput = 16 << 20
	DefaultWall   = time.Minute
	DefaultCPU    = time.Minute
)

// Config says what a node lends to strangers' modules. Zero fields have
// defaults.
type Config struct {
	Children int           // most child processes at a time; default: one per core
	Spare    int           // children kept started, without a module; default 1, negative: none
	Idle     time.Duration // after which an unused child is ended; default 1 minute

	MaxModule int64         // bytes; default 64 MiB
	MaxInput  int64         // bytes of one part; default 64 MiB
	MaxOutput int64         // most that a part may ask for, bytes; default 64 MiB
	MaxMemory int64         // most that a part may ask for, bytes; default 1 GiB
	MaxCPU    time.Duration // most that a part may ask for; default 1 hour

	// Require is what each child must enforce, from sandbox.Probe at start-up.
	Require sandbox.Report
	Log     *slog.Logger // default: none
}

const (
	// overhead is the address space that a child may take besides its parts'
	// memory: Go's arenas of 64 MiB, the compiler's work on a large module.
	overhead = 512 << 20
	// retireAfter is how much CPU time a child uses before it is replaced.
	retireAfter = time.Hour
	// compileWall bounds the compilation of a module.
	compileWall = 30 * time.Second

	maxMemory = 4 << 30 // what 32-bit WebAssembly can address
	maxBytes  = 1 << 30 // of a module, an input, an output
)

func (c Config) withDefaults() (Config, error) {
	set := func(v *int64, d int64) {
		if *v == 0 {
			*v = d
		}
	}
	set(&c.MaxModule, 64<<20)
	set(&c.MaxInput, 64<<20)
	set(&c.MaxOutput, 64<<20)
	set(&c.MaxMemory, 1<<30)
	set((*int64)(&c.MaxCPU), int64(time.Hour))
	set((*int64)(&c.Idle), int64(time.Minute))
	if c.Children == 0 {
		c.Children = runtime.GOMAXPROCS(0)
	}
	switch {
	case c.Spare == 0:
		c.Spare = 1
	case c.Spare < 0:
		c.Spare = 0
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	switch {
	case c.Children < 0 || c.Idle < 0 || c.MaxCPU < 0:
		return c, errors.New("wasm: negative limit")
	case c.MaxMemory < pageSize || c.MaxMemory > maxMemory || c.MaxMemory%pageSize != 0:
		return c, fmt.Errorf("wasm: memory of %d bytes: want whole pages of 64 KiB, at most 4 GiB", c.MaxMemory)
	case min(c.MaxModule, c.MaxInput, c.MaxOutput) < 1 || max(c.MaxModule, c.MaxInput, c.MaxOutput) > maxBytes:
		return c, fmt.Errorf("wasm: modules, inputs and outputs have 1 byte to 1 GiB")
	}
	return c, nil
}

// sandbox returns what a child is started with.
func (c Config) sandbox() sandbox.Config {
	frame := max(c.MaxModule, c.MaxInput+maxEnv, c.MaxOutput) + frameMargin
	return sandbox.Config{
		Worker:  WorkerName,
		Require: c.Require,
		Limits: sandbox.Limits{
			// A frame and its growing copy on the way in, an output and its
			// growing copy on the way out.
			Memory: c.MaxMemory + overhead + 4*frame,
			CPU:    retireAfter + c.MaxCPU,
			Frame:  int(frame),
		},
	}
}

// Engine is the engine for WebAssembly modules. It owns the node's children.
type Engine struct {
	cfg    Config
	sched  *scheduler
	spares *spares

	mu     sync.Mutex
	models map[poolKey]*pool // with an instance open, or lately so; guarded by mu

	stop chan struct{} // closed by Close
	wg   sync.WaitGroup
	once sync.Once
}

var _ engine.Engine = (*Engine)(nil)

// poolKey says who may share a child: nobody but the parts of one tenant's one
// module.
type poolKey struct {
	tenant core.AccountID
	digest core.Digest
}

// New returns an engine and starts its spare children in the background. Main
// must have called sandbox.MaybeWorker with [Worker].
func New(cfg Config) (*Engine, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	e := &Engine{
		cfg:    cfg,
		sched:  newScheduler(cfg.Children),
		spares: newSpares(cfg.Spare, cfg.sandbox(), cfg.Log),
		models: map[poolKey]*pool{},
		stop:   make(chan struct{}),
	}
	e.wg.Go(e.reaper)
	return e, nil
}

// Name implements engine.Engine.
func (e *Engine) Name() string { return "wasm" }

// Reproducible implements engine.Engine. For modules with floats it holds
// within one platform class; see [Instance.Floats].
func (e *Engine) Reproducible() bool { return true }

// Close ends all children. Parts that run fail.
func (e *Engine) Close() error {
	e.once.Do(func() {
		close(e.stop)
		e.sched.close()
		e.spares.close()
		e.wg.Wait()
		e.mu.Lock()
		defer e.mu.Unlock()
		for key, p := range e.models {
			p.file.Close()
			delete(e.models, key)
		}
	})
	return nil
}

// reaper ends what nobody has used for a while.
func (e *Engine) reaper() {
	tick := time.NewTicker(max(e.cfg.Idle/2, time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-e.stop:
			return
		case now := <-tick.C:
			e.reap(now)
		}
	}
}

func (e *Engine) reap(now time.Time) {
	e.sched.reap(now.Add(-e.cfg.Idle))
	e.mu.Lock()
	defer e.mu.Unlock()
	for key, p := range e.models {
		if p.refs == 0 && !e.sched.inUse(p) {
			p.file.Close()
			delete(e.models, key)
		}
	}
}

// Load implements engine.Engine. It checks the file's digest, looks through the
// module and has a child compile it, so that a bad module is refused here.
func (e *Engine) Load(ctx context.Context, m engine.Model) (engine.Instance, error) {
	p, err := e.open(m)
	if err != nil {
		return nil, err
	}
	if err := e.prepare(ctx, p); err != nil {
		e.release(p)
		return nil, err
	}
	return &Instance{engine: e, pool: p}, nil
}

// open finds or makes the pool of a model and takes a reference to it.
func (e *Engine) open(m engine.Model) (*pool, error) {
	f, err := os.Open(m.Path)
	if err != nil {
		return nil, fmt.Errorf("wasm: %w", err)
	}
	b, err := readModule(f, m.Digest, e.cfg.MaxModule)
	if err != nil {
		f.Close()
		return nil, err
	}
	info, err := scan(b)
	if err == nil && info.pages*pageSize > uint64(e.cfg.MaxMemory) {
		err = fmt.Errorf("starts with %d bytes of memory, this node allows %d", info.pages*pageSize, e.cfg.MaxMemory)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("%w: %w", engine.ErrModel, err)
	}
	key := poolKey{m.Tenant, m.Digest}
	e.mu.Lock()
	defer e.mu.Unlock()
	p := e.models[key]
	if p == nil {
		p = &pool{key: key, file: f, floats: info.floats}
		e.models[key] = p
	} else {
		f.Close()
	}
	p.refs++
	return p, nil
}

// release gives a reference back. The pool stays until it has been idle for a
// while, so that loading a module for each part costs little.
func (e *Engine) release(p *pool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	p.refs--
}

// prepare compiles the module in a child, unless one has done it.
func (e *Engine) prepare(ctx context.Context, p *pool) error {
	if p.compiled.Load() {
		return nil
	}
	j := newJob(run{}, true)
	t, err := e.sched.enter(ctx, p, j)
	if err != nil {
		return err
	}
	if t == nil {
		return j.answer.err
	}
	c, err := e.childFor(ctx, p, t)
	if err != nil {
		return err
	}
	e.sched.leave(c)
	return nil
}

// readModule reads a module and holds it to its digest.
func readModule(f *os.File, want core.Digest, limit int64) ([]byte, error) {
	b, err := io.ReadAll(io.NewSectionReader(f, 0, limit+1))
	if err != nil {
		return nil, fmt.Errorf("wasm: read module: %w", err)
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("%w: longer than the %d bytes that this node allows", engine.ErrModel, limit)
	}
	if got := core.DigestOf(b); got != want {
		return nil, fmt.Errorf("%w: its digest is %s, want %s", engine.ErrModel, got, want)
	}
	return b, nil
}

// Instance is a module that compiles, for one tenant.
type Instance struct {
	engine *Engine
	pool   *pool
	closed sync.Once
}

// Floats reports whether the module has instructions on floating-point numbers.
// WebAssembly leaves the bits of a NaN open, so that results of such modules
// should be compared only among nodes of one GOARCH. It errs on the safe side:
// vectors and mere moves of floats count, too.
func (i *Instance) Floats() bool { return i.pool.floats }

// Close implements engine.Instance.
func (i *Instance) Close(context.Context) error {
	i.closed.Do(func() { i.engine.release(i.pool) })
	return nil
}
