package secagg

import (
	"slices"

	"atoll/internal/core"
	"atoll/internal/keystream"
)

// graph says who is whose neighbour.
type graph struct {
	n, degree int
	order     []int // member at each place of the ring
	place     []int // of each member
}

// newGraph draws the order of a ring from a seed; with degree 0 everybody is everybody's
// neighbour, and there is none.
func newGraph(n, degree int, seed core.Digest) *graph {
	g := &graph{n: n, degree: degree}
	if degree == 0 {
		return g
	}
	lot := keystream.Public(keystream.Seed(seed), "atoll secagg ring v1")
	g.order, g.place = make([]int, n), make([]int, n)
	for i := range n { // Fisher and Yates
		g.order[i] = i
		j := int(lot.Below(uint64(i + 1)))
		g.order[i], g.order[j] = g.order[j], i
	}
	for at, member := range g.order {
		g.place[member] = at
	}
	return g
}

// neighbours of a member, in order.
func (g *graph) neighbours(i int) (out []int) {
	if g.degree == 0 {
		for j := range g.n {
			if j != i {
				out = append(out, j)
			}
		}
		return out
	}
	at := g.place[i]
	for d := 1; d <= g.degree/2; d++ {
		out = append(out, g.order[(at+d)%g.n], g.order[(at-d+g.n)%g.n])
	}
	slices.Sort(out)
	return out
}

// degreeOf is a round's degree if so many take part in the end.
func degreeOf(p *Params, n int) int {
	if p.Degree == 0 {
		return 0
	}
	return min(p.Degree, (n-1)/2*2)
}
