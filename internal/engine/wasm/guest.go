package wasm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
	"github.com/tetratelabs/wazero/sys"

	"atoll/internal/node/sandbox"
)

const entry = "_start"

// maxMessage bounds what a failed part says: half for the trap, the rest for
// what the module wrote to standard error.
const maxMessage = 2 << 10

// guest is the child's one module and the world that its parts see.
type guest struct {
	runtime  wazero.Runtime
	compiled wazero.CompiledModule
	needs    uint64 // bytes of memory at the start

	// config is for the environment env; parts of one task share both.
	config wazero.ModuleConfig
	env    []byte

	world *world
	arena *arena
}

// newGuest compiles a module. Its errors are the module's fault.
func newGuest(module []byte, pages uint32) (*guest, error) {
	ctx := context.Background()
	rt := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfig().
		WithCoreFeatures(api.CoreFeaturesV2).
		WithMemoryLimitPages(maxMemory/pageSize). // the arena refuses earlier, and notes it
		WithDebugInfoEnabled(false))
	host, err := wasi_snapshot_preview1.NewBuilder(rt).Compile(ctx)
	if err != nil {
		return nil, fmt.Errorf("prepare WASI: %w", err)
	}
	offered := host.ExportedFunctions()
	if _, err := rt.InstantiateModule(ctx, host, wazero.NewModuleConfig()); err != nil {
		return nil, fmt.Errorf("prepare WASI: %w", err)
	}
	compiled, err := rt.CompileModule(ctx, module)
	if err != nil {
		return nil, err
	}
	if err := checkImports(compiled.ImportedFunctions(), offered); err != nil {
		return nil, err
	}
	start := compiled.ExportedFunctions()[entry]
	if start == nil || len(start.ParamTypes()) != 0 || len(start.ResultTypes()) != 0 {
		return nil, errors.New("exports no function _start without parameters and results: want a WASI command, not a library")
	}
	info, err := scan(module)
	if err != nil {
		return nil, err
	}
	a, err := newArena(int64(pages) * pageSize)
	if err != nil {
		return nil, fmt.Errorf("reserve memory: %w", err)
	}
	g := &guest{
		runtime: rt, compiled: compiled, needs: info.pages * pageSize,
		world: newWorld(), arena: a,
	}
	g.config = g.configFor(nil)
	return g, nil
}

func checkImports(wanted []api.FunctionDefinition, offered map[string]api.FunctionDefinition) error {
	for _, f := range wanted {
		module, name, _ := f.Import()
		have := offered[name]
		switch {
		case module != wasi_snapshot_preview1.ModuleName || have == nil:
			return fmt.Errorf("imports the function %.64q.%.64q: only those of %s are offered", module, name, wasi_snapshot_preview1.ModuleName)
		case !slices.Equal(f.ParamTypes(), have.ParamTypes()) || !slices.Equal(f.ResultTypes(), have.ResultTypes()):
			return fmt.Errorf("imports the function %.64q.%.64q with another type than it has", module, name)
		}
	}
	return nil
}

// configFor returns the configuration of an instance with the environment env.
func (g *guest) configFor(env []byte) wazero.ModuleConfig {
	w := g.world
	c := wazero.NewModuleConfig().
		WithName(""). // so that instances do not stand in each other's way
		WithArgs("part").
		WithStdin(&w.stdin).WithStdout(&w.stdout).WithStderr(&w.stderr).
		WithWalltime(w.clock.walltime, 1000).
		WithNanotime(w.clock.nanotime, 1000).
		WithNanosleep(w.clock.sleep).
		WithOsyield(w.clock.yield).
		WithRandSource(&w.random)
	for kv := range bytes.SplitSeq(bytes.TrimSuffix(env, []byte{0}), []byte{0}) {
		if name, value, ok := strings.Cut(string(kv), "="); ok {
			c = c.WithEnv(name, value)
		}
	}
	return c
}

// run computes one part. The answer's body is valid until the next run.
func (g *guest) run(q run) ran {
	if !bytes.Equal(q.env, g.env) {
		g.env, g.config = bytes.Clone(q.env), g.configFor(q.env)
	}
	g.world.reset(q.data, q.output)
	g.arena.limit = q.memory
	// cpuTime reads the clock of the thread. Locking all of serve would cost a
	// thread switch per part: the runtime parks a locked thread that waits.
	runtime.LockOSThread()
	before := cpuTime()
	err := g.start()
	a := ran{cpu: max(cpuTime()-before, 0), memory: int64(g.arena.peak)}
	runtime.UnlockOSThread()
	switch {
	case err == nil:
		a.body = g.world.stdout.buf
	case errors.Is(err, errOutput):
		a.status = statusLimit
		a.body = fmt.Appendf(nil, "result is longer than %d bytes", q.output)
	case g.arena.refused:
		a.status = statusLimit
		a.body = fmt.Appendf(nil, "memory limit of %d bytes: the module asked for more, and then failed: %s", q.memory, g.complaint(err))
	default:
		a.status = statusFailed
		a.body = []byte(g.complaint(err))
	}
	return a
}

// start makes an instance, runs it to its end and closes it.
func (g *guest) start() error {
	if g.needs > g.arena.limit {
		// wazero cannot be refused its first allocation.
		g.arena.refused = true
		return fmt.Errorf("it starts with %d bytes", g.needs)
	}
	ctx := experimental.WithMemoryAllocator(context.Background(), g.arena)
	m, err := g.runtime.InstantiateModule(ctx, g.compiled, g.config)
	if m != nil {
		_ = m.Close(ctx) // frees the instance; there is nothing to fail
	}
	return err
}

// clean makes ready for the next part.
func (g *guest) clean() {
	g.arena.clean()
	g.world.shrink()
}

// complaint is what a failed part says, fit for a log line.
func (g *guest) complaint(err error) string {
	text := message(err)
	if exit, ok := errors.AsType[*sys.ExitError](err); ok {
		text = fmt.Sprintf("exit code %d", exit.ExitCode())
	}
	if said := strings.TrimSpace(sandbox.Printable(g.world.stderr.bytes())); said != "" {
		text += "; it said: " + said[max(0, len(said)-maxMessage/2):]
	}
	return strings.ToValidUTF8(text, "?")
}

// message is the first line of an error: wazero puts a trace of the stranger's
// stack below it.
func message(err error) string {
	first, _, _ := strings.Cut(err.Error(), "\n")
	first = strings.TrimSuffix(first, " (recovered by wazero)")
	first = strings.TrimPrefix(first, "module[] function[_start] failed: ")
	return strings.ToValidUTF8(sandbox.Printable([]byte(first[:min(len(first), maxMessage/2)])), "?")
}
