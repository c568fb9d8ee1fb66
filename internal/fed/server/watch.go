package server

import (
	"context"
	"fmt"
	"time"

	"atoll/api"
)

// watchEvery is how often deadlines and silence are looked at.
const watchEvery = 200 * time.Millisecond

// Run has time pass for the federations until ctx ends.
func (s *Server) Run(ctx context.Context) {
	began := s.cfg.Now()
	t := time.NewTicker(watchEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			s.watch(ctx, began)
		}
	}
}

// watch looks at each federation that goes on, once.
func (s *Server) watch(ctx context.Context, began time.Time) {
	s.mu.Lock()
	runs := make([]*run, 0, len(s.runs))
	for _, r := range s.runs {
		runs = append(runs, r)
	}
	s.mu.Unlock()
	for _, r := range runs {
		if err := r.watch(began); err != nil {
			s.mend(ctx, r, err)
		}
		if rec := r.ended(); rec != nil {
			s.mu.Lock()
			if delete(s.runs, r.id); rec.NextMs > 0 {
				s.due[r.id] = rec
			}
			s.mu.Unlock()
		}
	}
	s.beginDue(ctx)
}

// watch has deadlines pass, and sites leave that have fallen silent.
func (r *run) watch(began time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.broken != nil {
		return r.broken
	}
	if r.rec.State != api.FederationRunning {
		return nil
	}
	hub := r.s.cfg.Now()
	now := r.clock.now(hub)
	for i, why := range r.gone(began, hub) {
		if r.orders[i] == nil {
			continue // the round has gone on without it
		}
		if _, err := r.happen(&event{AtMs: now.UnixMilli(), Gone: i + 1, Why: why}); err != nil {
			return err
		}
		if r.machine.Over() {
			return nil
		}
	}
	step, _, until := r.machine.Waiting()
	if step == "" || now.Before(until) {
		return nil
	}
	_, err := r.happen(&event{AtMs: now.UnixMilli()})
	return err
}

// gone are sites that are waited for, and have not asked for orders for too long.
func (r *run) gone(began, hub time.Time) map[int]string {
	out := map[int]string{}
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	since := began
	if r.clock.set.After(since) { // it was paused
		since = r.clock.set
	}
	for i := range r.orders {
		if d := r.s.silent(r.rec.Members[i].Node, since, hub); d > r.s.cfg.Patience {
			out[i] = fmt.Sprintf("not heard of for %s", d.Round(time.Second))
		}
	}
	return out
}

// ended returns the record of a federation that does not go on, once it is durable; else
// nil.
func (r *run) ended() *record {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.rec.open() || r.durable.Load() < r.written {
		return nil
	}
	rec := r.rec
	return &rec
}

// mend makes a run anew from SQL where what it has come to could not be written, say for
// want of room on the disk.
func (s *Server) mend(ctx context.Context, r *run, why error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.durable.Load() < r.written {
		return // later
	}
	s.cfg.Log.Error("a federation could not go on, and is made anew from what is stored", "federation", r.id, "error", why)
	rec, err := s.stored(ctx, r.id)
	if err == nil {
		var fresh *run
		if fresh, err = s.restore(ctx, rec); err == nil {
			r.rec, r.machine, r.orders, r.events, r.clock, r.broken = fresh.rec, fresh.machine, fresh.orders, fresh.events, fresh.clock, nil
		}
	}
	if err != nil {
		s.cfg.Log.Error("nor could it be read", "federation", r.id, "error", err)
	}
}
