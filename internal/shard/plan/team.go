package plan

import (
	"slices"
	"time"
)

const (
	// worthTeam is how much faster a plan has to be with one team more.
	worthTeam = 1.1
	// mostTried is how many teams are tried at a time, those of the fastest layers.
	mostTried = 4
	gathers   = 4 // of a layer
)

// members are the nodes of a stage, its leader first.
func (s *Stage) members() []int {
	if s.Team != nil {
		return s.Team
	}
	return []int{s.Node}
}

// teamed is a plan to which teams are added, one after another, as long as each is worth
// it. The last spare stays one: without it a node that is lost ends the answers under way.
func (r *Request) teamed(p *Plan) *Plan {
	for {
		best := p
		for _, teams := range r.tries(p) {
			q := r.with(teams)
			if q == nil || len(q.Spares) == 0 && len(p.Spares) > 0 {
				continue
			}
			if q.Rate > best.Rate && q.Rate >= worthTeam*p.Rate {
				best = q
			}
		}
		if best == p {
			return p
		}
		p = best
	}
}

// tries are the teams of a plan with one more, or a larger one, for each of those that
// promise most.
func (r *Request) tries(p *Plan) (out [][][]int) {
	type try struct {
		stage, node int
		layer       time.Duration
	}
	var all []try
	for i := range p.Stages {
		if i == 0 { // nobody could take the head's place
			continue
		}
		had, _ := r.unit(p.Stages[i].members())
		for _, l := range p.Left {
			if slices.ContainsFunc(p.Stages[i].members(), func(m int) bool { return !r.Link(m, l.Node).Measured }) {
				continue
			}
			n, ok := r.unit(append(slices.Clone(p.Stages[i].members()), l.Node))
			if ok && float64(n.Layer)*worthTeam < float64(had.Layer) {
				all = append(all, try{i, l.Node, n.Layer})
			}
		}
	}
	slices.SortStableFunc(all, func(a, b try) int { return int(a.layer - b.layer) })
	for _, t := range all[:min(mostTried, len(all))] {
		var teams [][]int
		for i := range p.Stages {
			members := slices.Clone(p.Stages[i].members())
			if i == t.stage {
				members = append(members, t.node)
			}
			if len(members) > 1 {
				teams = append(teams, members)
			}
		}
		out = append(out, teams)
	}
	return out
}

// with is the best plan in which these teams are nodes of their own; nil if one of them is
// not used.
func (r *Request) with(teams [][]int) *Plan {
	with := *r
	with.Nodes = nil
	var units [][]int // the members of each of with.Nodes
	for i := range r.Nodes {
		if !slices.ContainsFunc(teams, func(t []int) bool { return slices.Contains(t, i) }) {
			units = append(units, []int{i})
		}
	}
	units = append(units, teams...)
	for _, u := range units {
		n, _ := r.unit(u)
		with.Nodes = append(with.Nodes, n)
	}
	with.Link = func(a, b int) Link { return r.Link(units[a][0], units[b][0]) }
	p, err := with.alone()
	if err != nil {
		return nil
	}
	used := 0
	for i := range p.Stages {
		s := &p.Stages[i]
		u := units[s.Node]
		if s.Node = u[0]; len(u) > 1 {
			s.Team = u
			used++
		}
	}
	if used < len(teams) {
		return nil
	}
	for i := range p.Left {
		p.Left[i].Node = units[p.Left[i].Node][0]
	}
	for i := range p.Spares {
		p.Spares[i] = units[p.Spares[i]][0]
	}
	return p
}

// team is what a node that is one has besides: of each member, its memory and its share.
type team struct {
	memory []int64
	shares []float64
}

// holds is how many layers the team has memory for. The output is the leader's alone.
func (t *team) holds(m *Model, last bool) int {
	if m.Layer == 0 {
		return m.Layers
	}
	most := float64(m.Layers)
	for i, memory := range t.memory {
		if i == 0 && last {
			memory -= m.Output
		}
		most = min(most, max(0, float64(memory)/(t.shares[i]*float64(m.Layer))))
	}
	return int(most)
}

// unit is what some nodes are as one: what one is, or a team. If they cannot divide a layer
// it is the first of them.
func (r *Request) unit(members []int) (Node, bool) {
	n := r.Nodes[members[0]]
	if len(members) == 1 {
		return n, true
	}
	if r.Model.Shares == nil {
		return n, false
	}
	var speeds []int
	for _, m := range members {
		speeds = append(speeds, r.Nodes[m].Speed)
	}
	shares, err := r.Model.Shares(speeds)
	if err != nil {
		return n, false
	}
	n.Layer, n.team = 0, &team{shares: shares}
	for i, m := range members {
		n.Layer = max(n.Layer, time.Duration(shares[i]*float64(r.Nodes[m].Layer)))
		n.team.memory = append(n.team.memory, r.Nodes[m].Memory)
	}
	n.Layer += r.gathering(members, shares)
	return n, true
}

// gathering is how long a team takes in each layer to bring its parts together, all of
// which go through the leader.
func (r *Request) gathering(members []int, shares []float64) time.Duration {
	var ways []time.Duration // to each follower
	var slowest float64      // seconds a bit
	for _, m := range members[1:] {
		l := r.Link(members[0], m)
		ways = append(ways, l.time(0))
		if l.Bandwidth > 0 {
			slowest = max(slowest, 1/float64(l.Bandwidth))
		}
	}
	slices.Sort(ways)
	way := ways[len(ways)-1]
	if len(ways) > 1 { // from one follower to another
		way += ways[len(ways)-2]
	}
	others := float64(len(members) - 1)
	sends := others*shares[0] + (others-1)*(1-shares[0])
	return gathers*way + time.Duration(8*sends*float64(r.Model.Parts)*slowest*float64(time.Second))
}
