package llm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"atoll/internal/repro"
)

// Gatherer brings together what the members of a group have computed. The decoders of
// all members call it equally often and in the same order: four times a layer, for what
// attention gives, its product, what is inside the feed-forward, and its product.
type Gatherer interface {
	// Gather hands mine to all others and returns the parts of all in the order of the
	// members; that of member i has sizes[i] bytes. They are valid until the next call.
	Gather(mine []byte, sizes []int) ([][]byte, error)
}

// group is what a decoder of a share has besides.
type group struct {
	Gatherer
	parts  []Part
	member int

	mine  []byte
	sizes []int
	part  []float32 // rows of a product, as far as they are computed here
	wide  []float32 // rows that go into a product, whole,
	q     []int8    // or quantised:
	d     []float32
}

// newGroup is nil for a decoder of whole layers.
func newGroup(m *Model, c *DecoderConfig) (*group, error) {
	if shared := m.Share.Speeds != nil; shared != (c.Group != nil) {
		return nil, errors.New("decoder: a share of layers is computed in a group, and nothing else is")
	} else if !shared {
		return nil, nil
	}
	parts, err := Split(&m.Config, m.Share.Speeds)
	if err != nil {
		return nil, err
	}
	return &group{Gatherer: c.Group, parts: parts, member: m.Share.Member, sizes: make([]int, len(parts)), part: make([]float32, c.Batch*m.part.Dim.Len())}, nil
}

// inputs prepares vectors of so many elements to be multiplied, of which x has what was
// computed here.
func (d *Decoder) inputs(x []float32, cols int, rows func(*Part) Rows) (operand, error) {
	g := d.group
	if g == nil {
		return d.operand(x, cols)
	}
	if err := repro.Finite(x); err != nil {
		return operand{}, err
	}
	mine := rows(&g.parts[g.member])
	n := len(x) / mine.Len()
	a := d.acts[cols]
	if a == nil {
		g.wide = room(g.wide, n*cols)
		return operand{x: g.wide}, g.join(g.wide, x, cols, rows)
	}
	g.q, g.d = room(g.q, n*cols), room(g.d, n*cols/repro.BlockSize)
	for r := range n {
		from, to := r*cols+mine.First, r*cols+mine.Last
		if err := repro.Quantize(g.q[from:to], g.d[from/repro.BlockSize:to/repro.BlockSize], x[r*mine.Len():(r+1)*mine.Len()]); err != nil {
			return operand{}, err
		}
	}
	if err := g.gather(blocks{g.q, g.d}, n, cols, rows); err != nil {
		return operand{}, err
	}
	return operand{a: a}, a.SetQuantized(g.q, g.d)
}

// outputs sets dst to the products of l with the vectors of x.
func (d *Decoder) outputs(dst []float32, l *linear, x operand) error {
	g := d.group
	if g == nil {
		l.mul(dst, x, d.pool)
		return nil
	}
	part := g.part[:len(dst)/d.m.Config.Dim*d.m.part.Dim.Len()]
	l.mul(part, x, d.pool)
	if err := repro.Finite(part); err != nil {
		return err
	}
	return g.join(dst, part, d.m.Config.Dim, func(p *Part) Rows { return p.Dim })
}

// join gathers rows of so many elements into dst, of which x has what was computed
// here.
func (g *group) join(dst, x []float32, cols int, rows func(*Part) Rows) error {
	mine := rows(&g.parts[g.member])
	n := len(x) / mine.Len()
	for r := range n {
		copy(dst[r*cols+mine.First:], x[r*mine.Len():(r+1)*mine.Len()])
	}
	return g.gather(floats(dst), n, cols, rows)
}

// room is a slice of n elements, the same as before if that is long enough.
func room[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	return s[:n]
}

// vectors are rows of elements, one after another, in one of two forms.
type vectors interface {
	bytes(n int) int                   // that so many elements take
	put(b []byte, first, n int) []byte // appends elements from first on
	take(b []byte, first, n int) error // the inverse
}

// gather fills n rows of so many elements with the others' parts.
func (g *group) gather(v vectors, n, cols int, rows func(*Part) Rows) error {
	for i := range g.parts {
		g.sizes[i] = n * v.bytes(rows(&g.parts[i]).Len())
	}
	mine := rows(&g.parts[g.member])
	g.mine = g.mine[:0]
	for r := range n {
		g.mine = v.put(g.mine, r*cols+mine.First, mine.Len())
	}
	all, err := g.Gather(g.mine, g.sizes)
	if err != nil {
		return err
	}
	for i, b := range all {
		if i == g.member {
			continue
		}
		at := rows(&g.parts[i])
		for r := range n {
			size := len(b) / n
			if err := v.take(b[r*size:(r+1)*size], r*cols+at.First, at.Len()); err != nil {
				return fmt.Errorf("from member %d: %w", i, err)
			}
		}
	}
	return nil
}

// floats travel as they are, each a binary32, little-endian.
type floats []float32

func (floats) bytes(n int) int { return 4 * n }

func (f floats) put(b []byte, first, n int) []byte {
	for _, v := range f[first : first+n] {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
	}
	return b
}

func (f floats) take(b []byte, first, n int) error {
	dst := f[first : first+n]
	for i := range dst {
		dst[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
	}
	return repro.Finite(dst)
}

// blocks are quantised by rule 1. Each travels as its scale, a binary32, and 32 int8.
type blocks struct {
	q []int8
	d []float32
}

const blockBytes = 4 + repro.BlockSize

func (blocks) bytes(n int) int { return n / repro.BlockSize * blockBytes }

func (s blocks) put(b []byte, first, n int) []byte {
	for at := first; at < first+n; at += repro.BlockSize {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(s.d[at/repro.BlockSize]))
		for _, v := range s.q[at : at+repro.BlockSize] {
			b = append(b, byte(v))
		}
	}
	return b
}

// take leaves it to Activations.SetQuantized to refuse what is no quantisation.
func (s blocks) take(b []byte, first, n int) error {
	for at := first; at < first+n; at += repro.BlockSize {
		s.d[at/repro.BlockSize] = math.Float32frombits(binary.LittleEndian.Uint32(b))
		for i, v := range b[4:blockBytes] {
			s.q[at+i] = int8(v)
		}
		b = b[blockBytes:]
	}
	return nil
}
