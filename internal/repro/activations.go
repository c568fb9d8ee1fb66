package repro

import (
	"fmt"
	"math"
	"slices"
)

// tileColumns is how many vectors of activations the kernels take at once.
const tileColumns = 16

// Activations are up to max vectors of k values, quantised by rule 1 and laid out
// for the kernels. They are made once and filled for each product, or for
// several products of the same vectors.
type Activations struct {
	k, max, n int
	// The vectors stand in tiles of 16, the last one narrower. A tile of width w
	// holds for block b and its column c the integers at (b·w + c)·32 and the
	// scale and bias at b·w + c.
	q    []int8
	d    []float32
	bias []int32
}

// NewActivations returns room for max vectors of k values. k must be a positive
// multiple of 32 and at most [MaxColumns].
func NewActivations(k, max int) (*Activations, error) {
	if err := checkColumns(k); err != nil {
		return nil, fmt.Errorf("activations: %w", err)
	}
	if max < 1 || max > 1<<24 || max*k > maxValues {
		return nil, fmt.Errorf("activations: room for %d vectors of %d: want 1 to 2^24, at most 2^40 values", max, k)
	}
	nb := k / BlockSize
	return &Activations{k: k, max: max, q: make([]int8, max*k), d: make([]float32, max*nb), bias: make([]int32, max*nb)}, nil
}

// Size returns the length of a vector, and how many are held.
func (a *Activations) Size() (k, n int) { return a.k, a.n }

// Set quantises the vectors in x, one after another. len(x) must be a multiple
// of k, with at most max vectors. If an element is NaN or infinite the error
// names it, and a holds nothing.
func (a *Activations) Set(x []float32, pool *Pool) error {
	n := len(x) / a.k
	if n*a.k != len(x) || n > a.max {
		return fmt.Errorf("activations: %d values: want up to %d vectors of %d", len(x), a.max, a.k)
	}
	pool.mu.Lock()
	defer pool.mu.Unlock()
	j := &pool.jobs.quantize
	*j = quantizeJob{a: a, x: x, n: n, top: j.top}
	if len(j.top) < pool.Threads() {
		j.top = make([]uint32, pool.Threads()) // once in a pool's life
	}
	clear(j.top)
	a.n = n
	if n*a.k < 1<<13 { // not worth waking anybody
		for c := range n {
			j.piece(pool.isa, 0, c)
		}
	} else {
		pool.run(j, n)
	}
	j.a, j.x = nil, nil
	if slices.Max(j.top) >= notFiniteBits {
		a.n = 0
		return fmt.Errorf("activations: %w", Finite(x))
	}
	return nil
}

// SetQuantized takes vectors that were quantised elsewhere, one after another, in the
// plain form of [Quantize]. It refuses what no quantisation gives: integers below −127,
// and scales that are negative or not finite; a then holds nothing.
func (a *Activations) SetQuantized(q []int8, d []float32) error {
	n, nb := len(q)/a.k, a.k/BlockSize
	if n*a.k != len(q) || n > a.max || len(d) != n*nb {
		return fmt.Errorf("activations: %d integers and %d scales: want up to %d vectors of %d and a scale for each %d", len(q), len(d), a.max, a.k, BlockSize)
	}
	a.n = 0
	for c := range n {
		t, i := a.tile(c/tileColumns, n), c%tileColumns
		for b := range nb {
			scale, block := d[c*nb+b], q[c*a.k+b*BlockSize:][:BlockSize]
			if math.Signbit(float64(scale)) || notFinite(scale) {
				return fmt.Errorf("activations: scale %d of vector %d is %g: %w", b, c, scale, ErrNotFinite)
			}
			at, sum := b*t.width+i, int32(0)
			for _, v := range block {
				if v == -128 {
					return fmt.Errorf("activations: an integer of block %d of vector %d is −128: want −127 to 127", b, c)
				}
				sum += int32(v)
			}
			copy(t.q[at*BlockSize:], block)
			t.d[at], t.bias[at] = scale, -128*sum
		}
	}
	a.n = n
	return nil
}

// quantizeJob quantises one column a piece.
type quantizeJob struct {
	a   *Activations
	x   []float32
	n   int
	top []uint32 // for each slot, the bits of the largest magnitude seen
}

func (j *quantizeJob) piece(isa ISA, slot, c int) {
	a := j.a
	t, i := a.tile(c/tileColumns, j.n), c%tileColumns
	top := quantizeColumn(isa, t, i, j.x[c*a.k:(c+1)*a.k])
	j.top[slot] = max(j.top[slot], top)
}

// tile is up to 16 columns of activations.
type tile struct {
	width int
	q     []int8
	d     []float32
	bias  []int32
}

// tile returns the i-th tile when n columns are held.
func (a *Activations) tile(i, n int) tile {
	nb := a.k / BlockSize
	first := i * tileColumns
	w := min(tileColumns, n-first)
	return tile{
		width: w,
		q:     a.q[first*a.k : (first+w)*a.k],
		d:     a.d[first*nb : (first+w)*nb],
		bias:  a.bias[first*nb : (first+w)*nb],
	}
}

// quantizeColumnPortable fills column c of t and returns the bits of the largest
// magnitude.
func quantizeColumnPortable(t tile, c int, x []float32) uint32 {
	var top uint32
	for b := range len(x) / BlockSize {
		i := b*t.width + c
		top = max(top, quantizeBlock(t.q[i*BlockSize:], &t.d[i], &t.bias[i], x[b*BlockSize:]))
	}
	return top
}
