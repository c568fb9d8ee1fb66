package wasm

import (
	"context"
	"log/slog"
	"sync"

	"atoll/internal/node/sandbox"
)

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
