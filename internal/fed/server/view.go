package server

import (
	"context"
	"errors"
	"math"
	"slices"
	"strconv"

	"atoll/api"
	"atoll/internal/core"
	"atoll/internal/fed"
	"atoll/internal/request"
	"atoll/internal/store"
)

func notFound(id core.FederationID) error {
	return core.Errorf(core.NotFound, "no federation %s", id)
}

// stored is what SQL has of a federation.
func (s *Server) stored(ctx context.Context, id core.FederationID) (*record, error) {
	rec, err := store.Federation[record](ctx, s.cfg.Store, id)
	if errors.Is(err, store.ErrNoRow) {
		return nil, notFound(id)
	}
	return rec, err
}

// row is a federation as SQL has it: what is not durable is not shown.
func (s *Server) row(ctx context.Context, id core.FederationID) (*record, error) {
	rec, err := s.stored(ctx, id)
	if lost := s.lost[id]; lost != nil && err == nil {
		rec.Why = "the hub could not read how far it has come: " + lost.Error()
	}
	return rec, err
}

// seen is row for who may see it.
func (s *Server) seen(ctx context.Context, v request.Viewer, id core.FederationID) (*record, error) {
	rec, err := s.row(ctx, id)
	if err == nil && rec.Account != v.Account && !v.Admin {
		return nil, notFound(id)
	}
	return rec, err
}

// Federation shows one.
func (s *Server) Federation(ctx context.Context, v request.Viewer, id core.FederationID) (api.Federation, error) {
	rec, err := s.seen(ctx, v, id)
	if err != nil {
		return api.Federation{}, err
	}
	return s.view(ctx, rec)
}

// Federations lists an account's, newest first.
func (s *Server) Federations(ctx context.Context, v request.Viewer, p request.Page) ([]api.Federation, string, error) {
	before := core.FederationID(math.MaxInt64)
	if p.Cursor != "" {
		if err := before.UnmarshalText([]byte(p.Cursor)); err != nil {
			return nil, "", badCursor()
		}
	}
	rows, err := store.Federations[record](ctx, s.cfg.Store, v.Account, before, p.Limit+1)
	if err != nil {
		return nil, "", err
	}
	next := ""
	if len(rows) > p.Limit {
		rows = rows[:p.Limit]
		next = rows[p.Limit-1].ID.String()
	}
	out := make([]api.Federation, 0, len(rows))
	for _, rec := range rows {
		f, err := s.view(ctx, rec)
		if err != nil {
			return nil, "", err
		}
		out = append(out, f)
	}
	return out, next, nil
}

func badCursor() error {
	return core.Errorf(core.Invalid, "this is not a cursor of this list").At("cursor").WithHint("use the next value of the page before")
}

func (s *Server) view(ctx context.Context, rec *record) (api.Federation, error) {
	spec, err := fed.Parse(rec.Spec)
	if err != nil {
		return api.Federation{}, err
	}
	out := api.Federation{
		ID: rec.ID, Account: rec.Account, Name: spec.Name, State: rec.State, Why: rec.Why, Dataset: spec.Dataset, Purpose: spec.Purpose, Run: rec.Machine.Run,
		Round: rec.Machine.Round, Rounds: spec.Rounds, Attempt: rec.Machine.Attempt, Created: moment(rec.CreatedMs), Hidden: "under masks: the hub sees sums alone",
	}
	if spec.Secure.Off {
		out.Hidden = "without masks: the hub sees each site's update"
	}
	if out.Spec, err = spec.Digest(); err != nil {
		return out, err
	}
	if rec.NextMs != 0 {
		at := moment(rec.NextMs)
		out.Next = &at
	}
	if rec.EndedMs != 0 {
		at := moment(rec.EndedMs)
		out.Ended = &at
	}
	if v := spec.Privacy; v != nil {
		out.Unit, out.Delta = string(v.Unit), v.Delta
	}
	now := s.cfg.Now()
	s.mu.Lock()
	for i := range rec.Members {
		out.Sites = append(out.Sites, s.siteView(&rec.Members[i], now))
	}
	s.mu.Unlock()
	s.progress(rec.ID, &out)
	rows, err := store.FederationRounds[round](ctx, s.cfg.Store, rec.ID, rec.Machine.Round-2, 1)
	if err == nil && len(rows) == 1 {
		last := rec.roundView(rows[0])
		out.Last, out.Epsilon = &last, last.Epsilon
	}
	return out, err
}

// progress fills in how the round under way goes.
func (s *Server) progress(id core.FederationID, out *api.Federation) {
	r := s.find(id)
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	out.Attempt = r.machine.State().Attempt
	step, sites, _ := r.machine.Waiting()
	out.Step = string(step)
	slices.Sort(sites)
	for _, i := range sites {
		out.Waiting = append(out.Waiting, r.members[i].Name)
	}
}

// Rounds lists those of a federation that are over, in order.
func (s *Server) Rounds(ctx context.Context, v request.Viewer, id core.FederationID, p request.Page) ([]api.FederationRound, string, error) {
	rec, err := s.seen(ctx, v, id)
	if err != nil {
		return nil, "", err
	}
	after := 0
	if p.Cursor != "" {
		if after, err = strconv.Atoi(p.Cursor); err != nil || after < 1 {
			return nil, "", badCursor()
		}
	}
	rows, err := store.FederationRounds[round](ctx, s.cfg.Store, id, after, p.Limit+1)
	if err != nil {
		return nil, "", err
	}
	next := ""
	if len(rows) > p.Limit {
		rows = rows[:p.Limit]
		next = strconv.Itoa(rows[p.Limit-1].Number)
	}
	out := make([]api.FederationRound, 0, len(rows))
	for _, x := range rows {
		out = append(out, rec.roundView(x))
	}
	return out, next, nil
}

func (rec *record) roundView(x *round) api.FederationRound {
	name := func(i int) core.NodeID { return rec.Members[i].Node }
	names := func(sites []int) (out []core.NodeID) {
		for _, i := range sites {
			out = append(out, name(i))
		}
		return out
	}
	out := api.FederationRound{
		Number: x.Number, Attempts: x.Attempts, Sites: names(x.Sites), Rows: x.Counts.Rows, Held: x.Counts.Held, Bytes: x.Sent, Seconds: float64(x.Ms) / 1000,
		Epsilon: x.Epsilon, Sum: x.Sum, Params: x.Params, LogIndex: x.Leaf, EndedAt: moment(x.AtMs),
	}
	if x.Counts.Held > 0 {
		out.Accuracy, out.Loss = float64(x.Counts.Right)/float64(x.Counts.Held), float64(x.Counts.Loss)/1000/float64(x.Counts.Held)
	}
	for _, o := range x.Out {
		out.Out = append(out.Out, api.ExcludedSite{Node: name(o.Site), Why: o.Why})
	}
	for _, g := range x.Groups {
		out.Groups = append(out.Groups, api.FederatedGroup{Sites: names(g.Sites), Why: g.Why})
	}
	return out
}

// Receipt returns that of a round as a Sigstore bundle.
func (s *Server) Receipt(ctx context.Context, v request.Viewer, id core.FederationID, number int) ([]byte, error) {
	if _, err := s.seen(ctx, v, id); err != nil {
		return nil, err
	}
	rows, err := store.FederationRounds[round](ctx, s.cfg.Store, id, number-1, 1)
	if err != nil {
		return nil, err
	}
	if len(rows) == 0 || rows[0].Number != number {
		return nil, core.Errorf(core.NotFound, "round %d of %s is not over", number, id)
	}
	return s.cfg.Hub.Bundle(ctx, rows[0].Leaf)
}

// Pause has a federation wait, Resume go on, and Stop end.
func (s *Server) Pause(ctx context.Context, v request.Viewer, id core.FederationID) (api.Federation, error) {
	return s.change(ctx, v, id, api.FederationPaused)
}

// Resume has a federation go on that was paused.
func (s *Server) Resume(ctx context.Context, v request.Viewer, id core.FederationID) (api.Federation, error) {
	return s.change(ctx, v, id, api.FederationRunning)
}

// Stop ends a federation. Its rounds stay, and the model that they have come to.
func (s *Server) Stop(ctx context.Context, v request.Viewer, id core.FederationID) (api.Federation, error) {
	return s.change(ctx, v, id, api.FederationStopped)
}

func (s *Server) change(ctx context.Context, v request.Viewer, id core.FederationID, state string) (out api.Federation, err error) {
	if _, err := s.seen(ctx, v, id); err != nil {
		return out, err
	}
	var durable <-chan struct{}
	if state == api.FederationStopped {
		durable = s.cancel(id)
	}
	if durable == nil {
		durable, err = s.find(id).changeTo(state)
	}
	if err == nil && durable != nil {
		err = s.await(ctx, durable)
	}
	if err != nil {
		return out, err
	}
	return s.Federation(ctx, v, id)
}

func (r *run) changeTo(state string) (durable <-chan struct{}, err error) {
	over := core.Errorf(core.Conflict, "the federation is over")
	if r == nil {
		return nil, over
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.rec.State == state:
		return nil, nil
	case !r.rec.open() && state == api.FederationStopped && r.rec.NextMs > 0:
		r.rec.NextMs = 0
		rec := r.rec
		return r.write(func(tx *store.Tx, _ logger) { tx.PutFederation(rec.ID, rec.Account, false, &rec) }), nil
	case !r.rec.open():
		return nil, over
	case r.broken != nil:
		return nil, core.Errorf(core.Unavailable, "the federation cannot go on now: %w", r.broken)
	}
	why := map[string]string{api.FederationPaused: "its owner has paused it", api.FederationStopped: "its owner has stopped it"}[state]
	return r.change(state, why), nil
}
