package control

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"atoll/api"
	"atoll/internal/bus"
	"atoll/internal/core"
	"atoll/internal/lifecycle"
	"atoll/internal/market"
	"atoll/internal/request"
	"atoll/internal/shard/audit"
	"atoll/internal/shard/charter"
)

// newRoom is a line of two stages over four nodes that are so far from one another, once
// they have measured that.
func newRoom(t *testing.T, rtt time.Duration) (*troupe, *api.Line) {
	t.Helper()
	p := newTroupe(t, "a", "b", "c", "d")
	p.far["a"], p.far["b"], p.far["c"] = rtt, rtt, rtt
	p.live(time.Second)
	spec := api.ServiceSpec{Model: "echo", Pipeline: "2", Terms: api.Terms{Params: map[string]json.RawMessage{"profile": json.RawMessage(`"f32"`)}}}
	if _, err := p.hub.PutService(t.Context(), request.Viewer{Account: "demo"}, "big", spec); err != nil {
		t.Fatal(err)
	}
	p.live(40 * time.Second)
	return p, p.line()
}

// A stage is a team where the ways between nodes have been measured and are short: its
// charter says so to all of them, the price has all of them, and a hub that is restarted
// knows it from the head.
func TestTeam(t *testing.T) {
	t.Parallel()
	p, l := newRoom(t, time.Millisecond)
	if l.State != "ready" || len(l.Stages) != 2 || l.Stages[0].With != nil || len(l.Stages[1].With) != 1 || len(l.Spares) != 1 || len(l.Left) != 0 || l.Price != 12 { // each share of 10 is rounded up
		t.Fatalf("%+v", l)
	}
	for id, lines := range p.heard {
		for _, c := range lines {
			if s := c.Stages[1]; len(c.Nodes()) != 4 || len(s.Team) != 2 || s.Team[1].Speed != 4096 || s.Team[1].Node.Node != l.Stages[1].With[0] {
				t.Errorf("%s has heard %+v", id, c)
			}
		}
		if len(lines) != 1 {
			t.Errorf("%s has heard of %d lines", id, len(lines))
		}
	}
	p.live(time.Minute)
	if again := p.line(); again.ID != l.ID {
		t.Errorf("it was planned anew for nothing: %+v", again)
	}
	p.reopen()
	p.live(3 * time.Second)
	again := p.line()
	if again.ID != l.ID || !slices.Equal(again.Stages[1].With, l.Stages[1].With) || again.Price != l.Price {
		t.Errorf("after a restart: %+v", again)
	}
	p.live(time.Minute)
	if again := p.line(); again.ID != l.ID || len(p.heard["a"]) != 1 {
		t.Errorf("after a restart it was planned anew for nothing: %+v", again)
	}
}

// With longer ways there is no team.
func TestNoTeamOverLongWays(t *testing.T) {
	t.Parallel()
	_, l := newRoom(t, 20*time.Millisecond)
	if l.State != "ready" || len(l.Stages) != 2 || l.Stages[1].With != nil || len(l.Spares) != 2 {
		t.Errorf("%+v", l)
	}
}

// Once a spare has a team's place its nodes are spares.
func TestTeamThatHasBrokenUp(t *testing.T) {
	t.Parallel()
	p, l := newRoom(t, time.Millisecond)
	head := p.nodes[l.Stages[0].Node]
	says := head.says
	head.says = func(o *bus.NodeOffer) {
		says(o)
		for i := range o.Lines {
			o.Lines[i].Stages[1].Team = nil // its leader has it alone
		}
	}
	p.live(10 * time.Second)
	l = p.line()
	if l.State != "ready" || l.Stages[1].With != nil || len(l.Spares) != 2 || slices.Contains(l.Spares, l.Stages[1].Node) {
		t.Errorf("%+v", l)
	}
}

// A team's work is divided by the speeds of those whom the charter names, and by no
// leader's word.
func TestTeamsAreUnpaidWithoutTheHubsWord(t *testing.T) {
	t.Parallel()
	mates := []charter.Mate{{Speed: 300}, {Speed: 100}}
	mates[0].Node.Node, mates[1].Node.Node = "b", "c"
	stages := []charter.Stage{{Last: 4}, {First: 4, Last: 8, Team: mates}}
	stages[0].Node.Node, stages[1].Node.Node = "a", "b"
	id, old := charter.ID{1}, charter.ID{2}
	nodes := map[core.NodeID]*node{}
	for id, price := range map[core.NodeID]core.Money{"a": 5, "b": 6, "c": 7} {
		nodes[id] = &node{offer: &market.Offer{Up: true, Price: price}}
	}
	c := &Control{nodes: nodes, lines: map[string]*line{"big": {charter: &charter.Charter{Line: id, Stages: stages}}}, fading: []*line{{charter: &charter.Charter{Line: old, Stages: stages}}}}
	for name, tt := range map[string]struct {
		line charter.ID
		said []audit.Share
		want []audit.Share
	}{
		"a team":                 {id, []audit.Share{{Node: "a", Work: 7}, {Node: "b", Team: true, Work: 401}}, []audit.Share{{Node: "a", Work: 7}, {Node: "b", Work: 301}, {Node: "c", Work: 100}}},
		"of a line that fades":   {old, []audit.Share{{Node: "b", Team: true, Work: 400}}, []audit.Share{{Node: "b", Work: 300}, {Node: "c", Work: 100}}},
		"then alone":             {id, []audit.Share{{Node: "b", Team: true, Work: 400}, {Node: "b", Work: 50}, {Node: "c", Work: 1}}, []audit.Share{{Node: "b", Work: 350}, {Node: "c", Work: 101}}},
		"a team that is none":    {id, []audit.Share{{Node: "a", Team: true, Work: 7}}, []audit.Share{{Node: "a", Work: 7}}},
		"a line that nobody has": {charter.ID{3}, []audit.Share{{Node: "b", Team: true, Work: 400}}, []audit.Share{{Node: "b", Work: 400}}},
	} {
		l := &lifecycle.Lease{Price: 9, Crew: c.crew(tt.line.String())}
		if got := shares(l, tt.said); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %+v, want %+v", name, got, tt.want)
		}
	}
	l := &lifecycle.Lease{Price: 9, Crew: c.crew(id.String())}
	for _, n := range nodes {
		n.offer.Price = 1000 // when the lease is made already
	}
	if l.Asked("a") != 5 || l.Asked("c") != 7 || l.Asked("z") != 9 {
		t.Errorf("%+v", l.Crew)
	}
}
