package agent

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"

	"atoll/internal/bus"
	"atoll/internal/core"
	"atoll/internal/engine"
)

// Models kept loaded while nobody uses them.
const (
	maxLoaded      = 32
	maxLoadedBytes = 512 << 20 // of their files
)

type modelKey struct {
	engine string
	digest core.Digest
	tenant core.AccountID
}

// instances keeps models loaded between parts, and loads each once however many
// ask at the same time.
type instances struct {
	engines map[string]engine.Engine
	models  *cache
	life    context.Context // of the agent
	log     *slog.Logger

	mu     sync.Mutex // guards what follows
	loaded map[modelKey]*loaded
	bytes  int64
	clock  int64
	wg     sync.WaitGroup
}

// loaded is one model, being loaded until ready is closed.
type loaded struct {
	key     modelKey
	size    int64
	ready   chan struct{}
	inst    engine.Instance // set before ready is closed, or err
	path    string
	err     error
	release func() // of its file

	users int   // guarded by instances.mu
	used  int64 // guarded by instances.mu
}

// acquire returns the model that a lease asks for. The caller gives it back.
func (s *instances) acquire(ctx context.Context, l *bus.Lease) (*loaded, error) {
	key := modelKey{l.Engine, l.Model, l.Account}
	s.mu.Lock()
	m := s.loaded[key]
	if m == nil {
		m = &loaded{key: key, size: l.ModelSize, ready: make(chan struct{})}
		s.loaded[key] = m
		s.bytes += m.size
		s.wg.Go(func() { s.load(m) })
	}
	m.users++
	s.mu.Unlock()
	select {
	case <-m.ready:
	case <-ctx.Done():
		s.giveBack(m)
		return nil, context.Cause(ctx)
	}
	if m.err != nil {
		s.giveBack(m)
		return nil, m.err
	}
	return m, nil
}

func (s *instances) load(m *loaded) {
	defer close(m.ready)
	if m.path, m.release, m.err = s.models.get(s.life, m.key.digest, m.size); m.err == nil {
		if m.inst, m.err = s.loadFile(m); m.err == nil {
			return
		}
		m.release()
	}
	s.mu.Lock() // the next lease tries afresh
	s.remove(m)
	s.mu.Unlock()
}

func (s *instances) loadFile(m *loaded) (inst engine.Instance, err error) {
	defer func() {
		if p := recover(); p != nil { // as in runner.compute
			s.log.Error("engine panicked", "engine", m.key.engine, "model", m.key.digest, "panic", p, "stack", string(debug.Stack()))
			err = errPanic
		}
	}()
	inst, err = s.engines[m.key.engine].Load(s.life, engine.Model{Digest: m.key.digest, Path: m.path, Tenant: m.key.tenant})
	if err != nil {
		err = pathless{err, m.path}
	}
	return inst, err
}

// remove is called with mu held.
func (s *instances) remove(m *loaded) {
	if s.loaded[m.key] == m {
		delete(s.loaded, m.key)
		s.bytes -= m.size
	}
}

// giveBack ends a use, and unloads what has been unused the longest where there
// is too much.
func (s *instances) giveBack(m *loaded) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clock++
	m.users--
	m.used = s.clock
	for len(s.loaded) > maxLoaded || s.bytes > maxLoadedBytes {
		var oldest *loaded
		for _, o := range s.loaded {
			if o.users == 0 && (oldest == nil || o.used < oldest.used) {
				oldest = o
			}
		}
		if oldest == nil {
			return
		}
		s.remove(oldest)
		s.wg.Go(func() { s.unload(oldest) })
	}
}

func (s *instances) unload(m *loaded) {
	<-m.ready
	if m.err != nil {
		return
	}
	if err := m.inst.Close(context.WithoutCancel(s.life)); err != nil {
		s.log.Warn("unload model", "engine", m.key.engine, "model", m.key.digest.Short(), "error", err)
	}
	m.release()
}

// close unloads everything. Nothing may be in use any more.
func (s *instances) close() {
	s.mu.Lock()
	for _, m := range s.loaded {
		s.remove(m)
		s.wg.Go(func() { s.unload(m) })
	}
	s.mu.Unlock()
	s.wg.Wait()
}

// engineOf names the engines by what leases call them.
func engineOf(list []engine.Engine) (map[string]engine.Engine, error) {
	byName := make(map[string]engine.Engine, len(list))
	for _, e := range list {
		if byName[e.Name()] != nil {
			return nil, fmt.Errorf("agent: two engines named %s", e.Name())
		}
		byName[e.Name()] = e
	}
	return byName, nil
}
