package agent

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"atoll/internal/blob/swarm"
	"atoll/internal/bus"
	"atoll/internal/core"
	"atoll/internal/engine"
	"atoll/internal/shard/charter"
)

type modelKey struct {
	engine string
	digest core.Digest
	tenant core.AccountID
	line   charter.ID // zero: it is computed here alone
	audit  bool       // some of its layers are
}

// whole reports whether the model is in memory as a whole.
func (k modelKey) whole() bool { return k.line.IsZero() && !k.audit }

// instances keeps models loaded between parts, and loads each once however many
// ask at the same time.
type instances struct {
	engines map[string]engine.Engine
	models  *swarm.Swarm
	life    context.Context // of the agent
	log     *slog.Logger
	limit   int64  // bytes of the files of models that stay while nobody uses them
	changed func() // called, with no lock held, when a model has come or gone

	mu     sync.Mutex // guards what follows
	loaded map[modelKey]*loaded
	clock  int64
	rate   int64 // bytes of a large model fetched and loaded in a second; 0: unknown
	wg     sync.WaitGroup
}

// loaded is one model, being loaded until ready is closed.
type loaded struct {
	key     modelKey
	file    int64 // bytes
	size    int64 // of it in memory
	ready   chan struct{}
	inst    engine.Instance // set before ready is closed, or err
	path    string
	err     error
	release func() // of its file

	// Guarded by instances.mu:
	users     int
	used      int64 // the clock when it was last used
	keptUntil time.Time
	there     bool // is loaded
}

func newInstances(life context.Context, cfg *Config, engines map[string]engine.Engine) *instances {
	return &instances{
		engines: engines, life: life, log: cfg.Log, limit: loadedBytes(cfg.Core.Offer.Memory), loaded: map[modelKey]*loaded{},
		models: cfg.Models,
	}
}

// acquire returns the model that a lease asks for. The caller gives it back.
func (s *instances) acquire(ctx context.Context, l *bus.Lease) (*loaded, error) {
	s.mu.Lock()
	m := s.begin(modelKey{l.Engine, l.Model, l.Account, l.Line, l.Audit}, l.ModelSize)
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

// begin returns a model that is loaded, or will be. It is called with mu held.
func (s *instances) begin(key modelKey, size int64) *loaded {
	m := s.loaded[key]
	if m == nil {
		m = &loaded{key: key, file: size, ready: make(chan struct{})}
		if key.whole() { // else its engine sees to the room for some layers
			m.size = size
		}
		s.loaded[key] = m
		s.wg.Go(func() { s.load(m) })
	}
	return m
}

// keep loads models before they are asked for, and holds them longer than others.
// Those for which there is no room, unless others that are kept or in use leave,
// are not loaded: that would only turn them all over.
func (s *instances) keep(now time.Time, models []bus.KeptModel) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range models {
		key := modelKey{engine: k.Engine, digest: k.Digest, tenant: k.Account}
		if s.loaded[key] != nil || s.dismissFor(now, k.Size) {
			s.begin(key, k.Size).keptUntil = now.Add(keepFor)
		}
	}
}

// dismissFor makes room for a model that is kept, if it can be made. It is called
// with mu held.
func (s *instances) dismissFor(now time.Time, size int64) bool {
	out, enough := leavers(slices.Collect(maps.Values(s.loaded)), now, maxLoaded-1, s.limit-size, true)
	if enough {
		s.dismiss(out)
	}
	return enough
}

func (s *instances) load(m *loaded) {
	began := time.Now()
	if m.release = func() {}; m.key.line.IsZero() { // else its layers are with the line
		m.path, m.release, m.err = s.models.Fetch(s.life, m.key.digest, m.file)
	}
	if m.err == nil {
		if m.inst, m.err = s.loadFile(m); m.err != nil {
			m.release()
		}
	}
	s.mu.Lock()
	if m.err != nil {
		s.remove(m) // the next lease tries afresh
		if m.users == 0 {
			s.log.Warn("model not loaded ahead of requests", "engine", m.key.engine, "model", m.key.digest.Short(), "error", m.err)
		}
	} else {
		s.measure(m, time.Since(began))
		m.there = true
	}
	s.mu.Unlock()
	close(m.ready)
	s.changed()
}

// largeModel is the least size whose loading says how fast this node is.
const largeModel = 16 << 20

// measure learns from a load how long the next will take. A model that another
// tenant has loaded already says nothing. It is called with mu held.
func (s *instances) measure(m *loaded, took time.Duration) {
	for _, o := range s.loaded {
		if o.there && o.key.digest == m.key.digest {
			return
		}
	}
	if m.size < largeModel || took <= 0 {
		return
	}
	rate := int64(float64(m.size) / took.Seconds())
	if s.rate > 0 {
		rate = (s.rate + rate) / 2
	}
	s.rate = rate
}

// report lists the models in memory, the last used first, and how fast others come.
func (s *instances) report() (digests []core.Digest, rate int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := slices.SortedFunc(maps.Values(s.loaded), func(a, b *loaded) int {
		return cmp.Or(cmp.Compare(b.used, a.used), bytes.Compare(a.key.digest[:], b.key.digest[:]))
	})
	for _, m := range all {
		if m.there && m.key.whole() && !slices.Contains(digests, m.key.digest) && len(digests) < bus.MaxLoaded {
			digests = append(digests, m.key.digest)
		}
	}
	return digests, s.rate
}

func (s *instances) loadFile(m *loaded) (inst engine.Instance, err error) {
	defer func() {
		if p := recover(); p != nil { // as in runner.compute
			s.log.Error("engine panicked", "engine", m.key.engine, "model", m.key.digest, "panic", p, "stack", string(debug.Stack()))
			err = errPanic
		}
	}()
	inst, err = s.engines[m.key.engine].Load(s.life, engine.Model{Digest: m.key.digest, Path: m.path, Tenant: m.key.tenant, Line: m.key.line, Audit: m.key.audit})
	if err != nil {
		err = pathless{err, m.path}
	}
	return inst, err
}

// remove is called with mu held.
func (s *instances) remove(m *loaded) {
	if s.loaded[m.key] == m {
		delete(s.loaded, m.key)
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
	out, _ := leavers(slices.Collect(maps.Values(s.loaded)), time.Now(), maxLoaded, s.limit, false)
	s.dismiss(out)
}

// dismiss unloads models that nobody uses. It is called with mu held.
func (s *instances) dismiss(models []*loaded) {
	for _, m := range models {
		s.remove(m)
		s.wg.Go(func() {
			s.unload(m)
			s.changed()
		})
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
