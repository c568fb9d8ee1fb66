package llm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"atoll/internal/repro"
)

// ErrPart means that another member of the team sent what it cannot have computed.
var ErrPart = errors.New("a part that no member computes")

// Gatherer brings together what the members of a team have computed. The decoders of
// all members call it equally often and in the same order: four times a layer, for what
// attention gives, its product, what is inside the feed-forward, and its product.
type Gatherer interface {
	// Gather hands mine to all others and returns the parts of all in the order of the
	// members; that of member i has sizes[i] bytes. They are valid until the next call.
	Gather(mine []byte, sizes []int) ([][]byte, error)
}

// team is what a decoder of a share has besides.
type team struct {
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

// newTeam is nil for a decoder of whole layers.
func newTeam(m *Model, c *DecoderConfig) (*team, error) {
	if shared := m.Share.Speeds != nil; shared != (c.Team != nil) {
		return nil, errors.New("decoder: a share of layers is computed in a team, and nothing else is")
	} else if !shared {
		return nil, nil
	}
	parts, err := Split(&m.Config, m.Share.Speeds)
	if err != nil {
		return nil, err
	}
	return &team{Gatherer: c.Team, parts: parts, member: m.Share.Member, sizes: make([]int, len(parts)), part: make([]float32, c.Batch*m.part.Dim.Len())}, nil
}

// inputs prepares vectors of so many elements to be multiplied, of which x has what was
// computed here.
func (d *Decoder) inputs(x []float32, cols int, rows func(*Part) Rows) (operand, error) {
	t := d.team
	if t == nil {
		return d.operand(x, cols)
	}
	if err := repro.Finite(x); err != nil {
		return operand{}, err
	}
	mine := rows(&t.parts[t.member])
	n := len(x) / mine.Len()
	a := d.acts[cols]
	if a == nil {
		t.wide = room(t.wide, n*cols)
		return operand{x: t.wide}, t.join(t.wide, x, cols, rows)
	}
	t.q, t.d = room(t.q, n*cols), room(t.d, n*cols/repro.BlockSize)
	for r := range n {
		from, to := r*cols+mine.First, r*cols+mine.Last
		if err := repro.Quantize(t.q[from:to], t.d[from/repro.BlockSize:to/repro.BlockSize], x[r*mine.Len():(r+1)*mine.Len()]); err != nil {
			return operand{}, err
		}
	}
	if err := t.gather(blocks{t.q, t.d}, n, cols, rows); err != nil {
		return operand{}, err
	}
	if err := a.SetQuantized(t.q, t.d); err != nil {
		return operand{}, fmt.Errorf("%w: %w", ErrPart, err)
	}
	return operand{a: a}, nil
}

// outputs sets dst to the products of l with the vectors of x.
func (d *Decoder) outputs(dst []float32, l *linear, x operand) error {
	t := d.team
	if t == nil {
		l.mul(dst, x, d.pool)
		return nil
	}
	part := t.part[:len(dst)/d.m.Config.Dim*d.m.part.Dim.Len()]
	l.mul(part, x, d.pool)
	if err := repro.Finite(part); err != nil {
		return err
	}
	return t.join(dst, part, d.m.Config.Dim, func(p *Part) Rows { return p.Dim })
}

// join gathers rows of so many elements into dst, of which x has what was computed
// here.
func (t *team) join(dst, x []float32, cols int, rows func(*Part) Rows) error {
	mine := rows(&t.parts[t.member])
	n := len(x) / mine.Len()
	for r := range n {
		copy(dst[r*cols+mine.First:], x[r*mine.Len():(r+1)*mine.Len()])
	}
	return t.gather(floats(dst), n, cols, rows)
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
func (t *team) gather(v vectors, n, cols int, rows func(*Part) Rows) error {
	for i := range t.parts {
		t.sizes[i] = n * v.bytes(rows(&t.parts[i]).Len())
	}
	mine := rows(&t.parts[t.member])
	t.mine = t.mine[:0]
	for r := range n {
		t.mine = v.put(t.mine, r*cols+mine.First, mine.Len())
	}
	all, err := t.Gather(t.mine, t.sizes)
	if err != nil {
		return err
	}
	for i, b := range all {
		if i == t.member {
			continue
		}
		at := rows(&t.parts[i])
		for r := range n {
			size := len(b) / n
			if err := v.take(b[r*size:(r+1)*size], r*cols+at.First, at.Len()); err != nil {
				return fmt.Errorf("%w: from member %d: %w", ErrPart, i, err)
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
