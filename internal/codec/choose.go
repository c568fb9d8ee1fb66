package codec

import "atoll/internal/keystream"

// chosen are the coordinates that are sent under a seed, in ascending order: a
// uniform choice of kept out of Dim (Knuth, "The Art of Computer Programming",
// vol. 2, 3.4.2, algorithm S), in integers alone.
func (g *Grid) chosen(seed keystream.Seed) []int {
	s := keystream.Public(seed, "atoll codec coordinates v1")
	list := make([]int, 0, g.kept)
	for i := 0; len(list) < g.kept; i++ {
		if s.Below(uint64(g.shape.Dim-i)) < uint64(g.kept-len(list)) {
			list = append(list, i)
		}
	}
	return list
}

func gather(x []float32, at []int) []float32 {
	y := make([]float32, len(at))
	for i, a := range at {
		y[i] = x[a]
	}
	return y
}
