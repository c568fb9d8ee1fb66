package codec

import (
	"math"
	"math/bits"

	"atoll/internal/keystream"
)

// rotation is an orthonormal map that spreads any vector over all its coordinates.
type rotation struct {
	dim, block int
	signs      [2][]uint64 // one bit for each coordinate of a block: 1 turns the sign
}

func (g *Grid) rotation(seed keystream.Seed) *rotation {
	r := &rotation{dim: g.shape.Dim, block: g.block}
	s := keystream.Public(seed, "atoll codec signs v1")
	for i := range r.blocks() {
		r.signs[i] = make([]uint64, (r.block+63)/64)
		for j := range r.signs[i] {
			r.signs[i][j] = s.Uint64()
		}
	}
	return r
}

// blocks are one, or two that overlap.
func (r *rotation) blocks() int {
	if r.dim == r.block {
		return 1
	}
	return 2
}

// part is the i-th block of x.
func (r *rotation) part(x []float32, i int) []float32 {
	first := i * (r.dim - r.block)
	return x[first : first+r.block]
}

// apply rotates x in place.
func (r *rotation) apply(x []float32) {
	for i := range r.blocks() {
		p := r.part(x, i)
		flip(p, r.signs[i], r.root())
		hadamard(p)
	}
}

// invert undoes apply.
func (r *rotation) invert(x []float32) {
	for i := r.blocks() - 1; i >= 0; i-- {
		p := r.part(x, i)
		hadamard(p)
		flip(p, r.signs[i], r.root())
	}
}

// root is 1/√block, exact if that is a power of two.
func (r *rotation) root() float32 { return float32(1 / math.Sqrt(float64(r.block))) }

// flip multiplies each value by ±f.
func flip(x []float32, signs []uint64, f float32) {
	bit := math.Float32bits(f)
	for i := range x {
		s := uint32(signs[i/64]>>(i%64)) << 31
		x[i] = float32(x[i] * math.Float32frombits(bit^s))
	}
}

// hadamard is the Walsh–Hadamard transform in natural order, not normalised; the
// length is a power of two. Pairs are added level by level, from neighbours to
// halves, in this order and no other: two levels at once only save memory traffic.
func hadamard(x []float32) {
	h := 1
	if bits.Len(uint(len(x)))%2 == 0 { // an odd number of levels
		for i := 0; i < len(x); i += 2 {
			x[i], x[i+1] = x[i]+x[i+1], x[i]-x[i+1]
		}
		h = 2
	}
	for ; h < len(x); h *= 4 {
		for i := 0; i < len(x); i += 4 * h {
			fourWay(x[i:i+h], x[i+h:i+2*h], x[i+2*h:i+3*h], x[i+3*h:i+4*h])
		}
	}
}

func fourWay(a, b, c, d []float32) {
	b, c, d = b[:len(a)], c[:len(a)], d[:len(a)]
	for i := range a {
		s, t := a[i]+b[i], a[i]-b[i]
		u, v := c[i]+d[i], c[i]-d[i]
		a[i], b[i], c[i], d[i] = s+u, t+v, s-u, t-v
	}
}
