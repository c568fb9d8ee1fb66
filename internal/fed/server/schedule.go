package server

import (
	"context"
	"time"

	"atoll/api"
	"atoll/internal/core"
	"atoll/internal/fed"
	"atoll/internal/store"
)

// retryRun is how long a run that is due waits after it could not begin, say for want of
// sites.
const retryRun = time.Minute

// next is when a federation that has ended by itself is to run again; 0: never.
func next(rec *record, spec *fed.Spec, now time.Time) int64 {
	s := spec.Schedule
	if s == nil || rec.State != api.FederationDone && rec.State != api.FederationFailed || s.Runs > 0 && rec.Time >= s.Runs {
		return 0
	}
	return max(rec.CreatedMs+time.Duration(s.Every).Milliseconds(), now.UnixMilli())
}

// kept reports whether the hub still has something to do with the federation.
func (rec *record) kept() bool { return rec.open() || rec.NextMs > 0 }

// beginDue begins the runs that are due.
func (s *Server) beginDue(ctx context.Context) {
	now := s.cfg.Now()
	var due []*record
	s.mu.Lock()
	for _, rec := range s.due {
		if rec.NextMs <= now.UnixMilli() {
			due = append(due, rec)
		}
	}
	s.mu.Unlock()
	for _, rec := range due {
		id, err := s.again(ctx, rec)
		s.mu.Lock()
		if err == nil {
			delete(s.due, rec.ID)
		} else if s.due[rec.ID] == rec {
			later := *rec
			later.NextMs = now.Add(retryRun).UnixMilli()
			s.due[rec.ID] = &later
		}
		s.mu.Unlock()
		if err != nil {
			s.cfg.Log.Warn("a federation that is due does not begin", "federation", rec.ID, "error", err)
			continue
		}
		s.cfg.Log.Info("a federation runs again", "federation", id, "after", rec.ID)
	}
}

// again begins the next run of a federation.
func (s *Server) again(ctx context.Context, rec *record) (core.FederationID, error) {
	spec, err := fed.Parse(rec.Spec)
	if err != nil {
		return 0, err
	}
	if spec.Promote != nil {
		spec.StartFrom = rec.Before
	}
	return s.begin(ctx, rec.Account, spec, rec)
}

// cancel has a federation run no more. nil: it was not to.
func (s *Server) cancel(id core.FederationID) (durable <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	rec := s.due[id]
	if rec == nil {
		return nil
	}
	delete(s.due, id)
	over := *rec
	over.NextMs = 0
	return s.cfg.Hub.Record(func(tx *store.Tx, _ logger) { tx.PutFederation(id, over.Account, false, &over) })
}
