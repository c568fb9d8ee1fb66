package plan_test

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"atoll/internal/core"
	"atoll/internal/shard/plan"
)

func node(id core.NodeID, layer time.Duration, memory int64) plan.Node {
	return plan.Node{ID: id, Layer: layer, Output: 2 * layer, Memory: memory}
}

func links(l plan.Link) func(a, b int) plan.Link { return func(int, int) plan.Link { return l } }

var model = plan.Model{Layers: 30, Layer: 10, Embedding: 30, Output: 30, Row: 2304}

// atCuts is model, which may be cut in two places.
var atCuts = plan.Model{Layers: 30, Layer: 10, Embedding: 30, Output: 30, Row: 648, Cuts: []int{10, 20}}

func shown(p *plan.Plan, r *plan.Request) string {
	var b strings.Builder
	for _, s := range p.Stages {
		fmt.Fprintf(&b, "%s:%d-%d ", r.Nodes[s.Node].ID, s.First, s.Last)
	}
	for _, n := range p.Spares {
		fmt.Fprintf(&b, "(%s)", r.Nodes[n].ID)
	}
	return strings.TrimSpace(b.String())
}

func TestPlans(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	near, far := plan.Link{RTT: 200 * time.Microsecond}, plan.Link{RTT: 50 * ms, Bandwidth: 20_000_000}
	for name, tt := range map[string]struct {
		r    plan.Request
		want string
	}{
		"one node is enough, and the other is its spare": {
			plan.Request{Model: model, Nodes: []plan.Node{node("a", ms, 1000), node("b", ms, 1000)}, Link: links(near), Sequences: 1}, "a:0-30 (b)",
		},
		"the faster has it all": {
			plan.Request{Model: model, Nodes: []plan.Node{node("slow", 2*ms, 1000), node("fast", ms, 1000)}, Link: links(near), Sequences: 1}, "fast:0-30 (slow)",
		},
		"what one cannot hold two share, and the faster has as much as it can": {
			plan.Request{Model: model, Nodes: []plan.Node{node("slow", 2*ms, 400), node("fast", ms, 200)}, Link: links(near), Sequences: 1}, "slow:0-13 fast:13-30",
		},
		"many sequences are worth several nodes": {
			plan.Request{Model: model, Nodes: []plan.Node{node("a", ms, 1000), node("b", ms, 1000)}, Link: links(near), Sequences: 8}, "a:0-16 b:16-30",
		},
		"a node far away is not worth its way": {
			plan.Request{Model: model, Nodes: []plan.Node{node("a", ms, 1000), node("b", ms, 1000)}, Link: links(far), Sequences: 2}, "a:0-30 (b)",
		},
		"as many stages as are asked for": {
			plan.Request{Model: model, Nodes: []plan.Node{node("a", ms, 1000), node("b", ms, 1000), node("c", ms, 1000)}, Link: links(near), Sequences: 1, Stages: 2}, "a:0-29 b:29-30 (c)",
		},
		"it is cut only where it may be": {
			plan.Request{Model: atCuts, Nodes: []plan.Node{node("slow", 2*ms, 400), node("fast", ms, 200)}, Link: links(near), Sequences: 1}, "slow:0-20 fast:20-30",
		},
		"a node far away is not worth a little more speed": {
			plan.Request{Model: model, Nodes: []plan.Node{node("near", 1010*time.Microsecond, 1000), node("far", ms, 1000), node("here", ms, 1000)}, Sequences: 8, Stages: 2, Link: func(a, b int) plan.Link {
				if a == 1 || b == 1 {
					return plan.Link{RTT: 60 * ms}
				}
				return near
			}}, "here:0-16 near:16-30 (far)",
		},
		"the way is the shortest": {
			plan.Request{Model: model, Nodes: []plan.Node{node("a", ms, 110), node("b", ms, 110), node("c", ms, 110), node("d", ms, 110)}, Sequences: 1, Link: func(a, b int) plan.Link {
				if (a+b)%2 == 0 { // a-c and b-d are neighbours
					return near
				}
				return plan.Link{RTT: 10 * ms}
			}}, "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, err := plan.Make(&tt.r)
			if err != nil {
				t.Fatal(err)
			}
			got := shown(p, &tt.r)
			if tt.want != "" && got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
			if tt.want == "" { // a and c side by side, b and d side by side
				if ids := []int{p.Stages[0].Node, p.Stages[1].Node, p.Stages[2].Node, p.Stages[3].Node}; (ids[0]+ids[1])%2 != 0 && (ids[1]+ids[2])%2 != 0 {
					t.Errorf("%s", got)
				}
			}
			if len(p.Stages)+len(p.Left) != len(tt.r.Nodes) {
				t.Errorf("%d stages, %d left of %d nodes", len(p.Stages), len(p.Left), len(tt.r.Nodes))
			}
		})
	}
}

func TestNoPlan(t *testing.T) {
	t.Parallel()
	for _, r := range []plan.Request{
		{Model: model, Nodes: []plan.Node{node("a", 1, 100), node("b", 1, 100)}, Link: links(plan.Link{}), Sequences: 1},
		{Model: model, Nodes: []plan.Node{node("a", 1, 1000)}, Link: links(plan.Link{}), Sequences: 1, Stages: 2},
		{Model: model, Link: links(plan.Link{}), Sequences: 1},
	} {
		if p, err := plan.Make(&r); err == nil || core.KindOf(err) == core.Internal {
			t.Errorf("%+v, %v", p, err)
		}
	}
}

// The best of all plans is found, but for what another node is not worth.
func TestPlanIsTheBest(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 4).Draw(t, "nodes")
		r := &plan.Request{
			Model:     plan.Model{Layers: rapid.IntRange(1, 7).Draw(t, "layers"), Layer: 10, Embedding: 10, Output: 15, Row: 1000},
			Sequences: rapid.IntRange(1, 6).Draw(t, "sequences"),
		}
		if n < 4 && rapid.Bool().Draw(t, "named") { // four have two ways through the middle
			for i := 1; i < r.Model.Layers; i++ {
				if rapid.Bool().Draw(t, "cut") {
					r.Model.Cuts = append(r.Model.Cuts, i)
				}
			}
		}
		for i := range n {
			r.Nodes = append(r.Nodes, plan.Node{
				ID: core.NodeID(fmt.Sprint("n", i)), Layer: time.Duration(rapid.IntRange(1, 20).Draw(t, "layer")) * time.Millisecond,
				Output: time.Duration(rapid.IntRange(0, 30).Draw(t, "output")) * time.Millisecond, Memory: int64(rapid.IntRange(0, 120).Draw(t, "memory")),
			})
		}
		rtts := rapid.SliceOfN(rapid.IntRange(0, 40), n*n, n*n).Draw(t, "rtts")
		r.Link = func(a, b int) plan.Link {
			return plan.Link{RTT: time.Duration(rtts[min(a, b)*n+max(a, b)]) * time.Millisecond, Bandwidth: 10_000_000}
		}
		best := brute(r)
		p, err := plan.Make(r)
		if err != nil {
			if best > 0 {
				t.Fatalf("%v, and there is one of %.3f tokens/s", err, best)
			}
			return
		}
		if token, now := plan.Standing(r, p.Stages); token != p.Token || now != p.Rate {
			t.Fatalf("a plan of %s and %.6f tokens/s stands at %s and %.6f", p.Token, p.Rate, token, now)
		}
		if got := rate(r, p.Stages); math.Abs(got-p.Rate) > 1e-9*got {
			t.Fatalf("a plan of %.6f tokens/s says that it has %.6f", got, p.Rate)
		}
		if p.Rate < best/math.Pow(1.02, float64(n+1))*(1-1e-6) || p.Rate > best*(1+1e-9) {
			t.Fatalf("%s has %.3f tokens/s, the best %.3f", shown(p, r), p.Rate, best)
		}
	})
}

// rate is what stages give, 0 if they cannot be.
func rate(r *plan.Request, stages []plan.Stage) float64 {
	var token, slowest time.Duration
	at := 0
	for i, s := range stages {
		n, m := r.Nodes[s.Node], r.Model
		memory := int64(s.Last-s.First) * m.Layer
		took := time.Duration(s.Last-s.First) * n.Layer
		if i == 0 {
			memory += m.Embedding
		}
		if i == len(stages)-1 {
			memory += m.Output
			took += n.Output
		}
		if cuts := m.Cuts; len(cuts) > 0 && s.First > 0 && !slices.Contains(cuts, s.First) {
			return 0
		}
		if s.First != at || s.Last <= s.First || memory > n.Memory {
			return 0
		}
		at = s.Last
		token += took
		slowest = max(slowest, took)
		if next := stages[(i+1)%len(stages)]; len(stages) > 1 {
			l := r.Link(s.Node, next.Node)
			token += 200*time.Microsecond + l.RTT/2 + time.Duration(float64(m.Row*8)/float64(l.Bandwidth)*float64(time.Second))
		}
	}
	if at != r.Model.Layers {
		return 0
	}
	return min(float64(r.Sequences)/max(token, 1).Seconds(), 1/max(slowest, 1).Seconds())
}

// brute tries everything.
func brute(r *plan.Request) (best float64) {
	var try func(stages []plan.Stage)
	try = func(stages []plan.Stage) {
		at := 0
		if len(stages) > 0 {
			at = stages[len(stages)-1].Last
		}
		if at == r.Model.Layers {
			best = max(best, rate(r, stages))
			return
		}
		for i := range r.Nodes {
			if slices.ContainsFunc(stages, func(s plan.Stage) bool { return s.Node == i }) {
				continue
			}
			for last := at + 1; last <= r.Model.Layers; last++ {
				try(append(slices.Clone(stages), plan.Stage{Node: i, First: at, Last: last}))
			}
		}
	}
	try(nil)
	return best
}

func BenchmarkMake(b *testing.B) {
	r := &plan.Request{Model: plan.Model{Layers: 80, Layer: 10, Embedding: 30, Output: 30, Row: 8192}, Sequences: 8, Link: func(a, c int) plan.Link {
		return plan.Link{RTT: time.Duration(1+(a*7+c*7)%40) * time.Millisecond, Bandwidth: 100_000_000}
	}}
	for i := range 12 {
		r.Nodes = append(r.Nodes, node(core.NodeID(fmt.Sprint("n", i)), time.Duration(1+i%5)*time.Millisecond, 300))
	}
	for b.Loop() {
		if _, err := plan.Make(r); err != nil {
			b.Fatal(err)
		}
	}
}
