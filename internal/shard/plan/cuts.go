package plan

import "time"

// atCuts gives the layers to the same nodes again, by whole segments between cuts.
func (s *search) atCuts(f *found) *found {
	order := s.along(f)
	around := s.way(f.set, f.first, f.last).time + s.hop[f.last][f.first]
	ends := append(append([]int{0}, s.r.Model.Cuts...), s.r.Model.Layers)
	return s.split(func(bound time.Duration) *found { return s.segments(f, order, ends, around, bound) })
}

// segments finds, by dynamic programming, the segments that each node of a way takes,
// so that a token comes round soonest and no stage takes longer than bound.
func (s *search) segments(f *found, order, ends []int, around, bound time.Duration) *found {
	type step struct {
		there bool
		time  time.Duration
		from  int // the end where the node's first segment begins
	}
	// best[k][e] is how soon the first k nodes have done the layers before ends[e].
	best := make([][]step, len(order)+1)
	for k := range best {
		best[k] = make([]step, len(ends))
	}
	best[0][0].there = true
	for k, i := range order {
		n := &s.r.Nodes[s.cand[i]]
		holds := s.holds(s.cand[i], i == f.first, i == f.last)
		for from := range ends {
			if !best[k][from].there {
				continue
			}
			for to := from + 1; to < len(ends); to++ {
				layers := ends[to] - ends[from]
				took := time.Duration(layers)*n.Layer + s.extra(i, f.last)
				if layers > holds || took > bound {
					break
				}
				if b, t := &best[k+1][to], best[k][from].time+took; !b.there || t < b.time {
					*b = step{true, t, from}
				}
			}
		}
	}
	to := len(ends) - 1
	if !best[len(order)][to].there {
		return nil
	}
	g := &found{set: f.set, first: f.first, last: f.last, layers: make([]int, len(s.cand)), token: around + best[len(order)][to].time}
	for k := len(order); k > 0; k-- {
		from := best[k][to].from
		g.layers[order[k-1]] = ends[to] - ends[from]
		to = from
	}
	s.rated(g)
	return g
}
