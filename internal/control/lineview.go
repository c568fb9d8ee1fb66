package control

import (
	"atoll/api"
	"atoll/internal/core"
	"atoll/internal/market"
)

// lineOffer is the offer of a service's line, one of no line if none is needed, or why
// there is none. It is called with mu held.
func (c *Control) lineOffer(t *task) (*market.Offer, string) {
	l := c.lines[t.service]
	if l != nil && l.of != c.services[t.service] {
		return nil, t.service + " has other terms now, and is planned anew"
	}
	if l != nil && l.alone {
		return &market.Offer{}, ""
	}
	if l == nil || !l.ready() {
		why := "the nodes of " + t.service + " load its layers"
		if l == nil {
			why = "service " + t.service + " has no pipeline any more"
		} else if l.why != "" {
			why = "no nodes can hold " + t.service + " together: " + l.why
		}
		return nil, why
	}
	o := *c.nodes[l.charter.Head().Node].offer
	o.Line, o.Price = l.charter.Line.String(), l.plan.price
	for _, id := range l.held() { // each must be where the task may be
		n := c.nodes[id]
		if n == nil {
			continue
		}
		there := *n.offer
		there.Up, there.Draining = true, false // the head sees to that
		if why := t.req.Never(&there, core.MaxMoney); why != "" {
			return nil, string(id) + ", which holds a part of " + t.service + ": " + why
		}
	}
	return &o, ""
}

// lineView is what a service shows of its line. It is called with mu held.
func (c *Control) lineView(s *api.Service) *api.Line {
	if s.Pipeline == "" {
		return nil
	}
	l := c.lines[s.Name]
	if l == nil || l.of != s {
		return &api.Line{State: "planning"}
	}
	v := &api.Line{State: "planning", Why: l.why}
	if l.plan != nil {
		v.Planned, v.Price, v.Left = l.plan.Rate1, l.plan.price, l.plan.left()
	}
	switch {
	case l.alone:
		v.State = "alone"
		return v
	case l.charter == nil:
		return v
	}
	v.ID, v.State, v.RowBytes = l.charter.Line.String(), "seating", l.plan.rowBytes*int64(len(l.charter.Stages)-1)
	stages := l.state.Stages
	if l.ready() {
		v.State = "ready"
	} else {
		stages = nil
		for _, s := range l.charter.Stages {
			stages = append(stages, s.Held())
		}
	}
	for i, h := range stages {
		stage := api.LineStage{Node: h.Node, Layers: [2]int{h.First, h.Last}}
		n, next := c.nodes[h.Node], c.nodes[stages[(i+1)%len(stages)].Node]
		if n != nil {
			stage.Owner = n.doc.Owner
		}
		if n != nil && next != nil {
			way := measured(n, next)
			stage.RTTMs, stage.Mbit = way.RTT.Seconds()*1000, float64(way.Bandwidth)/1e6
		}
		if len(h.Team) > 0 {
			stage.With = h.Nodes()[1:]
		}
		v.Stages = append(v.Stages, stage)
	}
	for _, a := range c.spares(l) {
		if l.holds(a.Node) {
			continue
		}
		v.Spares = append(v.Spares, a.Node)
	}
	v.Tokens, v.Replays, v.Answering, v.PerSecond = l.state.Tokens, l.state.Replaced, l.state.Answering, float64(l.state.Rate)/1000
	return v
}
