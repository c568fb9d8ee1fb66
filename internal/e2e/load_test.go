package e2e

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"atoll/api"
	"atoll/client"
	"atoll/internal/core"
)

// load keeps submitting, and is the client's own memory of what it sent and
// what it was told.
type load struct {
	stop  func()        // and waits until nobody submits any more
	ended atomic.Int64  // tasks that a worker has seen at their end
	news  chan struct{} // something has ended
	again atomic.Int64  // submissions sent again, because their answer was lost
	armed chan func()   // to be called at the next acknowledgement

	mu   sync.Mutex // guards what follows
	sent map[string]bool
	told map[string]core.TaskID
	errs []error
}

func startLoad(t *testing.T, n *Network, model string) *load {
	t.Helper()
	l := &load{news: make(chan struct{}, 1), armed: make(chan func(), 1), sent: map[string]bool{}, told: map[string]core.TaskID{}}
	c, err := client.New(client.Config{URL: n.URL, Key: n.Key, OnRetry: func(error) { l.again.Add(1) }})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for id := range workers {
		wg.Go(func() { l.work(ctx, c, model, id) })
	}
	l.stop = sync.OnceFunc(func() {
		cancel()
		wg.Wait()
		c.Close()
	})
	t.Cleanup(l.stop)
	return l
}

// work submits one task after the other and runs ahead of their results by a
// window. Every other worker has each answer wait for the result instead: such
// answers are lost most often.
func (l *load) work(ctx context.Context, c *client.Client, model string, worker int) {
	var open []core.TaskID
	for i := 0; ctx.Err() == nil; i++ {
		opt := client.SubmitOptions{Key: fmt.Sprintf("kill-%d-%d", worker, i)}
		if worker%2 == 0 {
			opt.Wait = 2 * time.Second
		}
		if id, ok := l.submit(ctx, c, terms(model, opt.Key, i), opt); ok {
			open = append(open, id)
		}
		for len(open) > window && ctx.Err() == nil {
			if _, err := c.Wait(ctx, open[0]); err == nil {
				open = open[1:]
				l.end()
			}
		}
	}
}

// submit sends a task until it is answered: the client repeats it under its key.
func (l *load) submit(ctx context.Context, c *client.Client, spec *api.TaskSpec, opt client.SubmitOptions) (core.TaskID, bool) {
	l.mu.Lock()
	l.sent[opt.Key] = true
	l.mu.Unlock()
	reply, err := c.Submit(ctx, spec, opt)
	if err == nil && opt.Wait == 0 {
		select {
		case f := <-l.armed:
			f()
		default:
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		if ctx.Err() == nil {
			l.errs = append(l.errs, fmt.Errorf("submit %s: %w", opt.Key, err))
		}
		return 0, false
	}
	l.told[opt.Key] = reply.ID
	return reply.ID, true
}

func (l *load) end() {
	l.ended.Add(1)
	select {
	case l.news <- struct{}{}:
	default:
	}
}

// atNextAnswer calls f the very moment that a submission is acknowledged, when
// nothing else has happened yet, and returns when f has.
func (l *load) atNextAnswer(t *testing.T, f func()) {
	t.Helper()
	done := make(chan struct{})
	l.armed <- func() {
		defer close(done)
		f()
	}
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatalf("no submission is acknowledged any more after %s", patience)
	}
}

// await returns when so many more tasks are known to have ended.
func (l *load) await(t *testing.T, more int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	goal := l.ended.Load() + int64(more)
	for l.ended.Load() < goal {
		select {
		case <-l.news:
		case <-ctx.Done():
			t.Fatalf("no task ends any more: %d of %d after %s", l.ended.Load(), goal, patience)
		}
	}
}

// terms of a worker's i-th task. The hub must make do without the execution
// timeout: it would hide a report that was acknowledged and then forgotten.
func terms(model, input string, i int) *api.TaskSpec {
	spec := &api.TaskSpec{
		Model: model, Input: []api.DataPointer{client.Inline([]byte(input))}, Budget: &api.Budget{MaxCost: core.Credit}, Retry: &api.Retry{MaxAttempts: 10},
		Timeout:    &api.Timeout{Queue: api.Duration(10 * time.Minute), Execution: api.Duration(time.Hour), Total: api.Duration(2 * time.Hour)},
		Disconnect: &api.Disconnect{LostAfter: api.Duration(2 * time.Second)},
	}
	if i%3 == 0 {
		spec.Verification = &api.Verification{Method: "quorum", Replicas: replicas, Agree: 2}
	}
	return spec
}
