package wasm

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"atoll/internal/engine"
)

var errClosed = errors.New("wasm: the engine is closed")

// fairness is how long a part of one pool waits for the children of
// another before one of them is ended for it.
const fairness = 50 * time.Millisecond

// scheduler gives children to jobs.
type scheduler struct {
	most int

	mu     sync.Mutex
	closed bool
	empty  sync.Cond           // live has become 0
	live   int                 // children that exist or that a turn may start
	all    map[*child]struct{} // those that exist
	idle   []*child            // the longest idle first
	lines  []*pool             // those in which jobs wait
	ending sync.WaitGroup      // processes that are being ended
}

func newScheduler(most int) *scheduler {
	s := &scheduler{most: most, all: map[*child]struct{}{}}
	s.empty.L = &s.mu
	return s
}

// enter waits for j's turn. It returns nil when j.answer is set already, because
// another job's turn took j along or the engine closed.
func (s *scheduler) enter(ctx context.Context, p *pool, j *job) (*turn, error) {
	t, err := s.ask(p, j)
	if t != nil || err != nil {
		return t, err
	}
	select {
	case <-j.wake:
		return j.turn, nil
	case <-ctx.Done():
		s.withdraw(p, j)
		return nil, engine.Ended(ctx)
	}
}

// ask gives j a turn at once, or puts it in line.
func (s *scheduler) ask(p *pool, j *job) (*turn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return nil, errClosed
	case s.live < s.most && !s.hasIdle(p):
		s.live++
		p.children++
		return &turn{jobs: []*job{j}}, nil
	}
	for i, c := range slices.Backward(s.idle) {
		if c.pool == p { // the one used last is the warmest
			s.idle = slices.Delete(s.idle, i, i+1)
			return &turn{child: c, jobs: []*job{j}}, nil
		}
	}
	if len(s.idle) > 0 {
		c := s.idle[0]
		s.idle = slices.Delete(s.idle, 0, 1)
		s.end(c)
		p.children++
		return &turn{jobs: []*job{j}}, nil
	}
	j.since = time.Now()
	if len(j.question.data) > batchEach {
		j.alone = true
	} else {
		// The caller may give up and use its bytes for something else while
		// another job's turn is about to send them.
		j.question.data = bytes.Clone(j.question.data)
	}
	s.queue(p, j)
	return nil, nil
}

func (s *scheduler) hasIdle(p *pool) bool {
	return slices.ContainsFunc(s.idle, func(c *child) bool { return c.pool == p })
}

func (s *scheduler) queue(p *pool, j *job) {
	if len(p.line) == 0 {
		s.lines = append(s.lines, p)
	}
	p.line = append(p.line, j)
}

// take removes the first n jobs of p's line.
func (s *scheduler) take(p *pool, n int) []*job {
	jobs := slices.Clone(p.line[:n])
	p.line = slices.Delete(p.line, 0, n)
	s.dropEmpty(p)
	return jobs
}

func (s *scheduler) dropEmpty(p *pool) {
	if len(p.line) == 0 {
		s.lines = slices.DeleteFunc(s.lines, func(q *pool) bool { return q == p })
	}
}

// withdraw takes a job out whose caller has given up.
func (s *scheduler) withdraw(p *pool, j *job) {
	s.mu.Lock()
	if i := slices.Index(p.line, j); i >= 0 {
		p.line = slices.Delete(p.line, i, i+1)
		s.dropEmpty(p)
		s.mu.Unlock()
		return
	}
	t := j.turn
	s.mu.Unlock()
	if t == nil {
		return // under way in another job's turn, which needs nothing of ours
	}
	// The turn came at the same moment: those who were to come along do so
	// with the next.
	for _, other := range t.jobs[1:] {
		other.answer = answer{again: true}
		other.wake <- struct{}{}
	}
	if t.child != nil {
		s.leave(t.child)
	} else {
		s.forgo(p)
	}
}

// leave gives back a child that is fit for the next parts.
func (s *scheduler) leave(c *child) {
	s.mu.Lock()
	defer s.mu.Unlock()
	own, other := c.pool, s.oldest(c.pool)
	switch {
	case s.closed || c.cpu >= retireAfter:
		s.lost(c)
	case len(own.line) > 0 && (other == nil || time.Since(other.line[0].since) < fairness):
		s.grant(&turn{child: c, jobs: s.take(own, s.share(own))})
	case other != nil:
		s.lost(c)
	default:
		c.since = time.Now()
		s.idle = append(s.idle, c)
	}
}

// share is how many of the waiting jobs go with the next turn: the first, and
// then as many as may and as are this child's part of the line.
func (s *scheduler) share(p *pool) int {
	most := min(p.together(), (len(p.line)+p.children-1)/p.children)
	size := 0
	for n, j := range p.line {
		size += len(j.question.data) + len(j.question.env) + runHeader
		if n > 0 && (n >= most || j.alone || p.line[0].alone || size > batchBytes) {
			return n
		}
	}
	return len(p.line)
}

// lose gives back a child that is not fit for anything.
func (s *scheduler) lose(c *child) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lost(c)
}

func (s *scheduler) lost(c *child) {
	s.end(c)
	s.vacate()
}

// forgo gives back the right to start a child.
func (s *scheduler) forgo(p *pool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p.children--
	s.vacate()
}

// vacate gives a free place to the job that has waited longest.
func (s *scheduler) vacate() {
	p := s.oldest(nil)
	if p == nil || s.closed {
		s.live--
		if s.live == 0 {
			s.empty.Broadcast()
		}
		return
	}
	p.children++
	s.grant(&turn{jobs: s.take(p, 1)})
}

func (s *scheduler) grant(t *turn) {
	first := t.jobs[0]
	first.turn = t
	first.wake <- struct{}{}
}

// oldest returns the pool, other than not, whose first job has waited longest.
func (s *scheduler) oldest(not *pool) *pool {
	var found *pool
	for _, p := range s.lines {
		if p != not && (found == nil || p.line[0].since.Before(found.line[0].since)) {
			found = p
		}
	}
	return found
}

// end ends a child in the background.
func (s *scheduler) end(c *child) {
	delete(s.all, c)
	c.pool.children--
	s.ending.Go(c.proc.Close)
}

// add makes a started child known. It is false when the engine has closed
// meanwhile; the child is then ended.
func (s *scheduler) add(c *child) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all[c] = struct{}{}
	return !s.closed
}

// reap ends the children that have been idle since before.
func (s *scheduler) reap(before time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for n < len(s.idle) && s.idle[n].since.Before(before) {
		s.end(s.idle[n])
		s.live--
		n++
	}
	s.idle = slices.Delete(s.idle, 0, n)
}

// inUse reports whether a pool has children or waiting jobs.
func (s *scheduler) inUse(p *pool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return p.children > 0 || len(p.line) > 0
}

// close refuses what waits, kills what runs and waits for all processes.
func (s *scheduler) close() {
	s.mu.Lock()
	s.closed = true
	for _, p := range s.lines {
		for _, j := range p.line {
			j.answer.err = errClosed
			j.wake <- struct{}{}
		}
		p.line = nil
	}
	s.lines = nil
	for _, c := range s.idle {
		s.lost(c)
	}
	s.idle = nil
	for c := range s.all {
		c.proc.Kill(errClosed) // its turn gives it back
	}
	for s.live > 0 {
		s.empty.Wait()
	}
	s.mu.Unlock()
	s.ending.Wait()
}
