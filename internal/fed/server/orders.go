package server

import (
	"bytes"
	"context"
	"io"
	"slices"

	"atoll/api"
	"atoll/internal/core"
	"atoll/internal/fed"
)

// Poll returns an order that waits for a node, and that it does not work on, as soon as
// there is one; nil: there is none before ctx ends.
func (s *Server) Poll(ctx context.Context, node core.NodeID, report *api.SiteReport) (core.FederationID, *fed.Order, error) {
	if err := report.Validate(); err != nil {
		return 0, nil, err
	}
	defer s.hear(node, report)()
	for {
		changed := s.changes(node)
		for _, r := range s.of(node) {
			if o := r.order(node, report.Working); o != nil {
				return r.id, o, nil
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return 0, nil, nil //nolint:nilerr // there was nothing to say
		case <-s.cfg.Store.Stopped():
			return 0, nil, core.Errorf(core.Unavailable, "the hub is stopping")
		}
	}
}

// of are the federations that a node takes part in, the oldest first.
func (s *Server) of(node core.NodeID) (out []*run) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.runs {
		if _, ok := r.index[node]; ok {
			out = append(out, r)
		}
	}
	slices.SortFunc(out, func(a, b *run) int { return int(a.id - b.id) })
	return out
}

// order is what a node is waited for with; nil: with nothing, or it works on it. Nothing
// is said before what it follows from is durable.
func (r *run) order(node core.NodeID, working []api.SiteOrder) *fed.Order {
	r.mu.Lock()
	defer r.mu.Unlock()
	o := r.orders[r.index[node]]
	if o == nil || r.broken != nil || r.rec.State != api.FederationRunning || r.durable.Load() < r.written {
		return nil
	}
	if slices.Contains(working, api.SiteOrder{Federation: r.id, Round: o.Round, Attempt: o.Attempt, Step: string(o.Step)}) {
		return nil
	}
	return o
}

// SiteRoster tells a node of a federation that it is to take part in.
func (s *Server) SiteRoster(ctx context.Context, node core.NodeID, id core.FederationID) (api.SiteRoster, error) {
	rec, err := s.row(ctx, id)
	if err != nil {
		return api.SiteRoster{}, err
	}
	out := api.SiteRoster{Federation: id, Run: rec.Machine.Run, Spec: rec.Spec, Over: !rec.open()}
	in := false
	for _, m := range rec.Members {
		in = in || m.Node == node
		out.Members = append(out.Members, api.FederationMember{Name: string(m.Node), Key: m.Key})
	}
	if !in {
		return api.SiteRoster{}, notFound(id)
	}
	return out, nil
}

// Reply takes a node's reply to an order, and returns once that is durable. To say it
// again changes nothing. core.Conflict: nobody waits for it any more.
func (s *Server) Reply(ctx context.Context, node core.NodeID, id core.FederationID, body io.Reader) error {
	r := s.find(id)
	if r == nil {
		return core.Errorf(core.Conflict, "federation %s does not go on", id)
	}
	self, ok := r.index[node]
	if !ok {
		return notFound(id)
	}
	reply := new(fed.Reply)
	if err := reply.ReadHead(body); err != nil {
		return err
	}
	if reply.Site != self {
		return core.Errorf(core.Forbidden, "a reply of site %d, and %s is site %d", reply.Site, node, self)
	}
	if wanted, err := r.wants(reply); err != nil || !wanted {
		return err
	}
	var err error
	if reply.Vector, err = readVector(body, r.plan.VectorSize()); err != nil {
		return err
	}
	e := &event{reply: reply}
	release, err := s.keepVector(ctx, e)
	if err != nil {
		return err
	}
	defer release()
	durable, err := r.take(e)
	if err != nil || durable == nil {
		return err
	}
	return s.await(context.WithoutCancel(ctx), durable)
}

// wants reports whether a site is waited for with a reply; false: it has come already.
func (r *run) wants(reply *fed.Reply) (bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	o := r.orders[reply.Site]
	switch {
	case r.broken != nil:
		return false, r.broken
	case o == nil && reply.Round == r.machine.State().Round && reply.Attempt == r.machine.State().Attempt:
		return false, nil
	case o == nil || o.At != reply.At:
		return false, core.Errorf(core.Conflict, "nobody waits for a reply of round %d, attempt %d, to the step %q", reply.Round, reply.Attempt, reply.Step)
	case r.rec.State != api.FederationRunning:
		return false, core.Errorf(core.Unavailable, "federation %s is %s", r.id, r.rec.State)
	}
	return true, nil
}

// readVector reads what follows a reply's head.
func readVector(r io.Reader, limit int64) ([]byte, error) {
	var b bytes.Buffer // grows with what comes
	n, err := io.Copy(&b, io.LimitReader(r, limit+1))
	if err == nil && n > limit {
		err = core.Errorf(core.TooLarge, "an update of over %d bytes", limit)
	}
	return b.Bytes(), err
}

// take has a reply happen; nil: nobody has waited for it any more.
func (r *run) take(e *event) (durable <-chan struct{}, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if o := r.orders[e.reply.Site]; o == nil || o.At != e.reply.At || r.broken != nil || r.rec.State != api.FederationRunning {
		return nil, nil
	}
	e.AtMs = r.clock.now(r.s.cfg.Now()).UnixMilli()
	return r.happen(e)
}
