package server

import (
	"context"
	"slices"
	"time"

	"atoll/api"
	"atoll/internal/core"
	"atoll/internal/fed"
)

// site is a node that asks for orders.
type site struct {
	datasets []api.SiteDataset
	asking   int       // requests that are held open
	seen     time.Time // when the last one ended
	changed  chan struct{}
}

// hear notes that a node asks for orders; done is to be called when it does no more.
func (s *Server) hear(id core.NodeID, report *api.SiteReport) (done func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.sites[id]
	if x == nil {
		x = &site{changed: make(chan struct{})}
		s.sites[id] = x
	}
	x.datasets = report.Datasets
	x.asking++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		x.asking--
		x.seen = s.cfg.Now()
	}
}

// silent is for how long a node has not asked for orders. since is when the hub began to
// listen, at the earliest. It is called with mu held.
func (s *Server) silent(id core.NodeID, since, now time.Time) time.Duration {
	x := s.sites[id]
	switch {
	case x == nil:
		return now.Sub(since)
	case x.asking > 0:
		return 0
	case x.seen.After(since):
		since = x.seen
	}
	return now.Sub(since)
}

// changes is closed at the next change that is for a node.
func (s *Server) changes(id core.NodeID) <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sites[id].changed
}

// wake has nodes look for orders again.
func (s *Server) wake(members []member) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range members {
		if x := s.sites[members[i].Node]; x != nil {
			close(x.changed)
			x.changed = make(chan struct{})
		}
	}
}

// roster finds who would take part in a federation now.
func (s *Server) roster(ctx context.Context, spec *fed.Spec) (api.FederationRoster, []member, error) {
	var out api.FederationRoster
	plan, err := fed.NewPlan(spec, spec.LeastSites())
	if err != nil {
		return out, nil, err
	}
	nodes, err := s.cfg.Hub.Nodes(ctx)
	if err != nil {
		return out, nil, err
	}
	filter, err := spec.Sites.Filter()
	if err != nil {
		return out, nil, err
	}
	out.Fewest = spec.LeastSites()
	schema := plan.Resource.Schema.Digest()
	var members []member
	now := s.cfg.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range nodes {
		n := &nodes[i]
		why := s.lacks(n, spec.Dataset, schema, now)
		if why == "" {
			why = filter(&fed.Candidate{Name: string(n.ID), Country: n.Country, Labels: n.Labels})
		}
		if why != "" {
			out.Excluded = append(out.Excluded, api.ExcludedSite{Node: n.ID, Why: why})
			continue
		}
		m := member{Node: n.ID, Owner: n.Owner, Country: n.Country, Key: n.PublicKey}
		if m.Digest, err = keyDigest(n.PublicKey); err != nil {
			return out, nil, err
		}
		members = append(members, m)
		out.Sites = append(out.Sites, s.siteView(&m, now))
	}
	return out, members, nil
}

// lacks says why a node has no such dataset to offer; empty: it has. It is called with mu
// held.
func (s *Server) lacks(n *api.Node, dataset string, schema core.Digest, now time.Time) string {
	x := s.sites[n.ID]
	switch {
	case n.State == "revoked":
		return "it is locked out"
	case x == nil || len(x.datasets) == 0:
		return "it has no datasets"
	case s.silent(n.ID, time.Time{}, now) > s.cfg.Patience:
		return "it has fallen silent"
	}
	i := slices.IndexFunc(x.datasets, func(d api.SiteDataset) bool { return d.Name == dataset })
	if i < 0 {
		return "it has no dataset " + dataset
	}
	if x.datasets[i].Schema != schema {
		return "its " + dataset + " has another schema"
	}
	return ""
}

func (s *Server) siteView(m *member, now time.Time) api.FederationSite {
	return api.FederationSite{Node: m.Node, Owner: m.Owner, Country: m.Country, Key: m.Digest, Heard: s.silent(m.Node, time.Time{}, now) <= s.cfg.Patience}
}
