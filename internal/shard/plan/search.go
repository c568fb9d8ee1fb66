package plan

import (
	"cmp"
	"fmt"
	"math/bits"
	"slices"
	"time"

	"atoll/internal/core"
)

// search tries the candidates, which are the fastest nodes, by their places in cand.
type search struct {
	r    *Request
	cand []int
	hop  [][]time.Duration
	// ways are, for each set, first and last, the shortest from first to last through
	// all of the set.
	ways []way
	// found is what is chosen for each number of stages, and with the best rate that has
	// a node.
	found []*found
	with  []float64
	tried []*found // all choices, as if the model could be cut anywhere
}

// way is one of them; before is the node before the last, −1 if there is none.
type way struct {
	there  bool
	time   time.Duration
	before int
}

func (s *search) way(set, first, last int) *way {
	n := len(s.cand)
	return &s.ways[(set*n+first)*n+last]
}

// found is a choice and what it gives.
type found struct {
	set, first, last int
	layers           []int // of each candidate
	token            time.Duration
	rate             float64
}

func newSearch(r *Request) *search {
	s := &search{r: r}
	for i := range r.Nodes {
		s.cand = append(s.cand, i)
	}
	slices.SortStableFunc(s.cand, func(a, b int) int { return int(r.Nodes[a].Layer - r.Nodes[b].Layer) })
	s.cand = s.cand[:min(most, len(s.cand))]
	s.hop = make([][]time.Duration, len(s.cand))
	for a := range s.cand {
		s.hop[a] = make([]time.Duration, len(s.cand))
		for b := range s.cand {
			if a != b {
				s.hop[a][b] = r.Link(s.cand[a], s.cand[b]).time(r.Model.Row)
			}
		}
	}
	s.found, s.with = make([]*found, len(s.cand)+1), make([]float64, len(s.cand))
	return s
}

// walk finds the shortest ways through all sets of nodes.
func (s *search) walk() {
	n := len(s.cand)
	s.ways = make([]way, n*n<<n)
	for first := range n {
		*s.way(1<<first, first, first) = way{true, 0, -1}
	}
	for set := 1; set < 1<<n; set++ {
		for first := range n {
			for last := range n {
				at := s.way(set, first, last)
				if !at.there {
					continue
				}
				for next := range n {
					if set>>next&1 == 1 {
						continue
					}
					w, t := s.way(set|1<<next, first, next), at.time+s.hop[last][next]
					if !w.there || t < w.time {
						*w = way{true, t, last}
					}
				}
			}
		}
	}
}

// all tries every set of nodes with every head and last.
func (s *search) all() {
	n := len(s.cand)
	for set := 1; set < 1<<n; set++ {
		stages := bits.OnesCount(uint(set))
		if stages > s.r.Model.Layers || s.r.Stages > 0 && stages != s.r.Stages {
			continue
		}
		for first := range n {
			for last := range n {
				w := s.way(set, first, last)
				if !w.there || stages > 1 && first == last || s.r.Nodes[s.cand[first]].team != nil {
					continue
				}
				around := w.time + s.hop[last][first]
				f := s.split(func(bound time.Duration) *found { return s.within(set, first, last, around, bound) })
				if f == nil {
					continue
				}
				s.tried = append(s.tried, f)
				for i := range n {
					if set>>i&1 == 1 {
						s.with[i] = max(s.with[i], f.rate)
					}
				}
			}
		}
	}
}

// sift keeps, of each number of stages, the choice by which a token comes round soonest
// of those that come close to the best rate: a single answer is not to wait for a node
// far away that is hardly faster.
func (s *search) sift() {
	slices.SortStableFunc(s.tried, func(a, b *found) int { return cmp.Compare(b.rate, a.rate) })
	top, near := make([]float64, len(s.found)), make([][]*found, len(s.found))
	for _, f := range s.tried {
		stages := bits.OnesCount(uint(f.set))
		if f.rate*enough < top[stages] {
			continue
		}
		if len(s.r.Model.Cuts) > 0 {
			if f = s.atCuts(f); f == nil {
				continue
			}
		}
		top[stages], near[stages] = max(top[stages], f.rate), append(near[stages], f)
	}
	for stages, all := range near {
		for _, f := range all {
			if b := s.found[stages]; f.rate*enough >= top[stages] && (b == nil || f.token < b.token) {
				s.found[stages] = f
			}
		}
	}
}

// split gives the layers to a set's nodes, as within does for a bound of a stage's time.
func (s *search) split(within func(bound time.Duration) *found) *found {
	best := within(1 << 62)
	if best == nil || s.r.Sequences == 1 {
		return best
	}
	low, high := time.Duration(0), s.slowest(best)
	for high-low > high/fine+1 {
		middle := low + (high-low)/2
		f := within(middle)
		if f == nil {
			low = middle
			continue
		}
		if f.rate > best.rate {
			best = f
		}
		// With stages no longer than that, is it the sequences that bound the rate?
		if float64(s.r.Sequences)/f.token.Seconds() < 1/s.slowest(f).Seconds() {
			low = middle
		} else {
			high = s.slowest(f)
		}
	}
	return best
}

// within splits the layers with no stage longer than bound; nil if that cannot be.
func (s *search) within(set, first, last int, around, bound time.Duration) *found {
	m := &s.r.Model
	f := &found{set: set, first: first, last: last, layers: make([]int, len(s.cand)), token: around}
	left := m.Layers
	room := make([]int, len(s.cand))
	for i, c := range s.cand {
		if set>>i&1 == 0 {
			continue
		}
		room[i] = min(m.Layers, s.holds(c, i == first, i == last))
		if t := s.r.Nodes[c].Layer; t > 0 {
			room[i] = min(room[i], int(max(0, bound-s.extra(i, last))/t))
		}
		if room[i] < 1 {
			return nil
		}
		f.layers[i] = 1
		left--
		f.token += s.extra(i, last) + s.r.Nodes[c].Layer
	}
	for i, c := range s.cand { // the fastest first
		n := min(left, room[i]-f.layers[i])
		if left < 0 || n <= 0 {
			continue
		}
		f.layers[i] += n
		left -= n
		f.token += time.Duration(n) * s.r.Nodes[c].Layer
	}
	if left != 0 {
		return nil
	}
	s.rated(f)
	return f
}

func (s *search) rated(f *found) { f.rate = s.r.rate(f.token, s.slowest(f)) }

// extra is what a stage takes besides its layers.
func (s *search) extra(i, last int) time.Duration {
	if i != last {
		return 0
	}
	return s.r.Nodes[s.cand[i]].Output
}

// holds is how many layers a node has memory for.
func (s *search) holds(node int, first, last bool) int {
	if t := s.r.Nodes[node].team; t != nil {
		return t.holds(&s.r.Model, last)
	}
	m, memory := &s.r.Model, s.r.Nodes[node].Memory
	if first {
		memory -= m.Embedding
	}
	if last {
		memory -= m.Output
	}
	if memory < 0 {
		return 0
	}
	if m.Layer == 0 {
		return m.Layers
	}
	return int(memory / m.Layer)
}

func (s *search) stage(f *found, i int) time.Duration {
	return time.Duration(f.layers[i])*s.r.Nodes[s.cand[i]].Layer + s.extra(i, f.last)
}

func (s *search) slowest(f *found) (t time.Duration) {
	for i, n := range f.layers {
		if n > 0 {
			t = max(t, s.stage(f, i))
		}
	}
	return t
}

// choose takes the fewest stages that come close to the best.
func (s *search) choose() (best *found) {
	for _, f := range s.found {
		if f != nil && (best == nil || f.rate > best.rate*enough) {
			best = f
		}
	}
	return best
}

// why says what kept every plan from being one.
func (s *search) why() error {
	var memory int64
	for _, n := range s.r.Nodes {
		memory += n.Memory
	}
	m := &s.r.Model
	need := int64(m.Layers)*m.Layer + m.Embedding + m.Output
	if s.r.Stages > len(s.r.Nodes) {
		return core.Errorf(core.Unavailable, "%d stages need as many nodes; there are %d", s.r.Stages, len(s.r.Nodes))
	}
	return core.Errorf(core.Unavailable, "no %d of the nodes have the memory for all layers: they need %d bytes and what they keep, the nodes lend %d", max(s.r.Stages, 1), need, memory)
}

// along is the way of a choice, from the head to the last.
func (s *search) along(f *found) (order []int) {
	for set, at := f.set, f.last; at >= 0; {
		order = append(order, at)
		set, at = set&^(1<<at), s.way(set, f.first, at).before
	}
	slices.Reverse(order)
	return order
}

// plan puts a choice into order.
func (s *search) plan(f *found) *Plan {
	p := &Plan{Token: f.token, Rate: f.rate}
	at := 0
	for _, i := range s.along(f) {
		p.Stages = append(p.Stages, Stage{Node: s.cand[i], First: at, Last: at + f.layers[i], Time: s.stage(f, i)})
		at += f.layers[i]
	}
	return p
}

// rest says what becomes of the nodes without a stage.
func (s *search) rest(p *Plan) {
	largest := 0
	for _, st := range p.Stages {
		largest = max(largest, st.Last-st.First)
	}
	for _, node := range s.order() {
		if slices.ContainsFunc(p.Stages, func(st Stage) bool { return st.Node == node }) {
			continue
		}
		if s.holds(node, true, true) >= largest {
			p.Spares = append(p.Spares, node)
		}
		p.Left = append(p.Left, Left{node, s.reason(node, p.Rate)})
	}
}

// order is all nodes, the fastest first.
func (s *search) order() []int {
	all := slices.Clone(s.cand)
	for i := range s.r.Nodes {
		if !slices.Contains(all, i) {
			all = append(all, i)
		}
	}
	return all
}

func (s *search) reason(node int, rate float64) string {
	i := slices.Index(s.cand, node)
	switch {
	case i < 0:
		return fmt.Sprintf("slower than the %d fastest, of which the plan was made", most)
	case s.with[i] == 0 && s.holds(node, false, false) < 1:
		return "no memory for a layer"
	case s.with[i] == 0:
		return "no plan with it can be"
	case s.with[i] < rate:
		return fmt.Sprintf("with it %.1f tokens/s, without %.1f", s.with[i], rate)
	}
	return fmt.Sprintf("with it no more than %.1f tokens/s, without %.1f: it is not worth another node", s.with[i], rate)
}
