package plan_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"atoll/internal/core"
	"atoll/internal/shard/plan"
)

// divided is a model whose layers up to four nodes can divide.
func divided(layers int, cuts ...int) plan.Model {
	return plan.Model{Layers: layers, Layer: 10, Embedding: 30, Output: 40, Row: 16384, Cuts: cuts, Parts: 50_000, Shares: func(speeds []int) ([]float64, error) {
		if len(speeds) > 4 {
			return nil, errors.New("too many")
		}
		all := 0
		for _, s := range speeds {
			all += s
		}
		out := make([]float64, len(speeds))
		for i, s := range speeds {
			out[i] = float64(s) / float64(all)
		}
		return out, nil
	}}
}

func teamNode(id core.NodeID, layer time.Duration, memory int64) plan.Node {
	n := node(id, layer, memory)
	n.Speed = int(time.Second / layer)
	return n
}

func teams(p *plan.Plan, r *plan.Request) (out []string) {
	for _, s := range p.Stages {
		var name strings.Builder
		for _, m := range s.Team {
			name.WriteString(string(r.Nodes[m].ID))
		}
		out = append(out, name.String())
	}
	return out
}

// Nodes that are left over help a stage where the ways to it are short beside a layer, and
// known.
func TestTeams(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	room := plan.Link{RTT: 200 * time.Microsecond, Bandwidth: 10e9, Measured: true}
	guess := room
	guess.Measured = false
	some := func(n int, layer time.Duration) (out []plan.Node) {
		for i := range n {
			out = append(out, teamNode(core.NodeID("abcde"[i:i+1]), layer, 1000))
		}
		return out
	}
	four := some(4, 20*ms)
	undivided := divided(30)
	undivided.Shares = nil
	for name, tt := range map[string]struct {
		model plan.Model
		nodes []plan.Node
		link  plan.Link
		want  string // "": no team
	}{
		"one room":               {divided(30), four, room, "bc"},
		"one room, more nodes":   {divided(30), some(5, 40*ms), room, "bcd"},
		"the only spare":         {divided(30), four[:3], room, ""},
		"a guess":                {divided(30), four, guess, ""},
		"a long way":             {divided(30), four, plan.Link{RTT: 10 * ms, Measured: true}, ""},
		"a thin way":             {divided(30), four, plan.Link{RTT: 200 * time.Microsecond, Bandwidth: 20e6, Measured: true}, ""},
		"small layers":           {divided(30), some(4, ms/4), room, ""},
		"layers with one head":   {undivided, four, room, ""},
		"slow ones":              {divided(30), []plan.Node{four[0], four[1], teamNode("c", 500*ms, 1000), teamNode("d", 500*ms, 1000)}, room, ""},
		"one with no memory":     {divided(30), []plan.Node{four[0], four[1], teamNode("c", 20*ms, 2), teamNode("d", 21*ms, 1000)}, room, ""},
		"the others can no more": {divided(30), []plan.Node{four[0], four[1], four[2], teamNode("d", 20*ms, 2)}, room, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := &plan.Request{Model: tt.model, Nodes: tt.nodes, Link: links(tt.link), Sequences: 8, Stages: 2}
			p, err := plan.Make(r)
			if err != nil {
				t.Fatal(err)
			}
			got := teams(p, r)
			if len(got) != 2 || got[0] != "" || got[1] != tt.want {
				t.Errorf("%s: %q, want %q", shown(p, r), got, tt.want)
			}
			if token, now := plan.Standing(r, p.Stages); token != p.Token || now != p.Rate {
				t.Errorf("%.3f tokens/s, and then %.3f", p.Rate, now)
			}
		})
	}
	// A member's memory bounds the layers of its team, of each of which it has half.
	r := &plan.Request{Model: divided(30), Nodes: []plan.Node{four[0], four[1], teamNode("c", 20*ms, 80), teamNode("d", 30*ms, 1000)}, Link: links(room), Sequences: 8, Stages: 2}
	p, err := plan.Make(r)
	if err != nil || teams(p, r)[1] != "bc" || p.Stages[1].Last-p.Stages[1].First != 16 {
		t.Errorf("%s, %v", shown(p, r), err)
	}
}

// A team makes a plan better by what it has to be worth, and never changes whom it is of:
// each node has one place, and no memory is asked for that is not there.
func TestTeamsAreWorthIt(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(2, 6).Draw(t, "nodes")
		r := &plan.Request{Model: divided(rapid.IntRange(2, 20).Draw(t, "layers")), Sequences: rapid.IntRange(1, 8).Draw(t, "sequences")}
		for i := range n {
			r.Nodes = append(r.Nodes, teamNode(core.NodeID(fmt.Sprint("n", i)), time.Duration(rapid.IntRange(1, 40).Draw(t, "layer"))*time.Millisecond, int64(rapid.IntRange(20, 300).Draw(t, "memory"))))
		}
		r.Stages = rapid.IntRange(0, min(n, r.Model.Layers)).Draw(t, "stages")
		rtts := rapid.SliceOfN(rapid.IntRange(0, 4000), n*n, n*n).Draw(t, "rtts")
		r.Link = func(a, b int) plan.Link {
			return plan.Link{RTT: time.Duration(rtts[min(a, b)*n+max(a, b)]) * time.Microsecond, Bandwidth: 1e9, Measured: true}
		}
		without := *r
		without.Model.Shares = nil
		was, err := plan.Make(&without)
		if err != nil {
			return
		}
		p, err := plan.Make(r)
		if err != nil {
			t.Fatal(err)
		}
		placed := map[int]bool{}
		count := 0
		for i, s := range p.Stages {
			members := []int{s.Node}
			if s.Team != nil {
				members = s.Team
				count++
			}
			if members[0] != s.Node || i == 0 && s.Team != nil || len(members) > 4 {
				t.Fatalf("%s: %v", shown(p, r), s.Team)
			}
			for _, m := range members {
				if placed[m] {
					t.Fatalf("%s: node %d has two places", shown(p, r), m)
				}
				placed[m] = true
			}
			var speeds []int
			for _, m := range members {
				speeds = append(speeds, r.Nodes[m].Speed)
			}
			shares, _ := r.Model.Shares(speeds)
			for k, m := range members {
				need := shares[k] * float64(s.Last-s.First) * float64(r.Model.Layer)
				if i == 0 {
					need += float64(r.Model.Embedding)
				}
				if i == len(p.Stages)-1 && k == 0 {
					need += float64(r.Model.Output)
				}
				if need > float64(r.Nodes[m].Memory)*1.001 {
					t.Fatalf("%s: %s has %d bytes for %.0f", shown(p, r), r.Nodes[m].ID, r.Nodes[m].Memory, need)
				}
			}
		}
		for _, l := range p.Left {
			if placed[l.Node] {
				t.Fatalf("%s: %s is left over", shown(p, r), r.Nodes[l.Node].ID)
			}
			placed[l.Node] = true
		}
		if len(placed) != n || count > 0 && (p.Rate < 1.1*was.Rate || len(was.Spares) > 0 && len(p.Spares) == 0) || count == 0 && p.Rate != was.Rate {
			t.Fatalf("%s has %.3f tokens/s, without teams %.3f", shown(p, r), p.Rate, was.Rate)
		}
	})
}
