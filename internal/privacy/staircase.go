package privacy

import (
	"math"
	"math/big"
	"math/bits"

	"atoll/internal/keystream"
)

// law is a distribution over the integers whose probabilities rise to its mode and
// fall after it, ever faster (it is log-concave).
type law interface {
	mode() int64
	lowest() int64 // value with a probability over 0; math.MinInt64 if there is none
	deviation() float64
	// logRatio is ln(p(k)/p(mode)), off by less than slack wherever it is over −60, and
	// −∞ where there is nothing.
	logRatio(k int64) float64
	// ratio is p(k)/p(mode), off by a part in 2^(precision−32).
	ratio(k int64, precision uint) *big.Float
}

// slack is many times what rounding does to logRatio, and what it may be.
const slack = 1e-11

// staircase draws exactly from a law, by rejection (von Neumann) under a staircase of
// whole numbers:
//
//	height  ─────┐ p(k) lies below it, p(mode) being scale
//	             └──┐
//
// A cell is drawn with a probability in proportion to its area, from a table of
// aliases in whole numbers (Walker 1977, Vose 1991), then an integer in it, which is
// uniform. It is kept with probability scale·p(k)/p(mode)/height: a random number V
// decides, of which 64 bits are looked at first. Most are below what suffices for all
// of the cell (sure). Else p(k) is computed in floating point; where that is too close
// to V to tell, which happens once in 10^10 draws, it is computed with big numbers, and
// V gets more bits until they differ. So no rounding ever decides, and what is drawn
// has the law's very distribution if the words of the stream are uniform.
//
// Beyond the table, at 12 standard deviations or more, each further cell is half as
// high as the one before.
type staircase struct {
	law
	shift      int // a cell has 2^shift integers
	cells      []cell
	columns    []column // 2^columnBits
	columnBits int
	scale      float64
}

type cell struct {
	first  int64  // of its integers; in the left tail the last one
	tail   int64  // −1 and 1 in the first and last cell, which go on for ever
	height uint64 // a whole number
	sure   uint64 // below it V keeps any integer of the cell
}

// column is one of the table of aliases: the cell of its own number below keep, of
// 2^32, and another from there on.
type column struct {
	keep  uint64
	other int
}

const (
	areaBits   = 32 // all heights add up to 2^areaBits, tails twice
	tableReach = 12 // standard deviations: the tails are practically never drawn
)

// newStaircase has a table of that many standard deviations to each side, or more if
// the tails would not fall fast enough.
func newStaircase(l law, reach float64) *staircase {
	d := &staircase{law: l, shift: max(0, math.Ilogb(l.deviation()/8))}
	d.lay(reach)
	d.raise()
	d.alias()
	return d
}

// lay divides the integers into cells.
func (d *staircase) lay(reach float64) {
	width, far := int64(1)<<d.shift, int64(math.Ceil(reach*d.deviation()))
	low := d.mode() - far
	if d.lowest() >= low {
		low = d.lowest()
	} else {
		for ; d.logRatio(low-width)-d.logRatio(low) > -0.7; low -= width { // over one half
		}
		d.cells = append(d.cells, cell{first: low - 1, tail: -1})
	}
	for ; low <= d.mode() || low < d.mode()+far || d.logRatio(low+width)-d.logRatio(low) > -0.7; low += width {
		d.cells = append(d.cells, cell{first: low})
	}
	d.cells = append(d.cells, cell{first: low, tail: 1})
}

// raise gives each cell a height above the probabilities in it, with all areas a power
// of two.
func (d *staircase) raise() {
	width := int64(1) << d.shift
	highest, least, area := make([]float64, len(d.cells)), make([]float64, len(d.cells)), 0.0
	for i, c := range d.cells {
		a, b := c.first, c.first+width-1
		if c.tail != 0 {
			b = a // falls from here on, to nothing
		}
		pa, pb := math.Exp(d.logRatio(a)), math.Exp(d.logRatio(b))
		highest[i] = max(pa, pb) * (1 + slack)
		if a <= d.mode() && d.mode() <= b {
			highest[i] = 1
		}
		if c.tail == 0 {
			least[i] = min(pa, pb) * (1 - slack)
		}
		area += highest[i] * float64(1+c.tail*c.tail)
	}
	d.scale = math.Floor((1<<areaBits - 4*float64(len(d.cells))) / area)
	left, top := uint64(1)<<areaBits, 0
	for i := range d.cells {
		c := &d.cells[i]
		c.height = uint64(d.scale*highest[i]) + 1
		left -= c.area()
		if c.height > d.cells[top].height {
			top = i
		}
	}
	d.cells[top].height += left
	for i := range d.cells {
		c := &d.cells[i]
		c.sure = uint64(math.Ldexp(least[i]*d.scale/float64(c.height)*(1-slack), 64))
	}
}

// area is that of a cell, divided by its width: a tail's heights are 1, 1/2, 1/4, …
func (c *cell) area() uint64 {
	if c.tail != 0 {
		return 2 * c.height
	}
	return c.height
}

// alias fills the table: areas are moved between columns until each has at most two
// cells.
func (d *staircase) alias() {
	d.columnBits = bits.Len(uint(len(d.cells) - 1))
	d.columns = make([]column, 1<<d.columnBits)
	left := make([]uint64, len(d.columns)) // times the number of columns
	var under, over []int
	for i := range left {
		if i < len(d.cells) {
			left[i] = d.cells[i].area() << d.columnBits
		}
		if left[i] < 1<<areaBits {
			under = append(under, i)
		} else {
			over = append(over, i)
		}
	}
	for len(under) > 0 {
		u, o := under[len(under)-1], over[len(over)-1]
		under = under[:len(under)-1]
		d.columns[u] = column{keep: left[u], other: o}
		left[o] -= 1<<areaBits - left[u]
		if left[o] < 1<<areaBits {
			over = over[:len(over)-1]
			under = append(under, o)
		}
	}
	for _, o := range over {
		d.columns[o] = column{keep: 1 << areaBits}
	}
}

// draw returns a value with the law's distribution.
func (d *staircase) draw(s *keystream.Stream) int64 {
	for {
		r := s.Uint64()
		i := int(r & (1<<d.columnBits - 1))
		r >>= d.columnBits
		if col := &d.columns[i]; r&(1<<areaBits-1) >= col.keep {
			i = col.other
		}
		c, offset := &d.cells[i], int64(r>>areaBits&(1<<d.shift-1))
		v := s.Uint64()
		if v < c.sure {
			return c.first + offset
		}
		k, halvings := c.first+offset, 0
		if c.tail != 0 {
			halvings = leadingZeros(s)
			k = c.first + c.tail*(offset+int64(halvings)<<d.shift)
		}
		if d.keeps(s, v, k, c.height, halvings) {
			return k
		}
	}
}

// leadingZeros is the number of zeros before the first one in random bits: n with
// probability 2^−(n+1).
func leadingZeros(s *keystream.Stream) int {
	n := 0
	for {
		z := bits.LeadingZeros64(s.Uint64())
		n += z
		if z < 64 {
			return n
		}
	}
}

// keeps decides whether V, of which v are the first 64 bits, is below
// scale·p(k)/p(mode)/(height/2^halvings).
func (d *staircase) keeps(s *keystream.Stream, v uint64, k int64, height uint64, halvings int) bool {
	x := math.Ldexp(math.Exp(d.logRatio(k))*d.scale/float64(height), halvings)
	low := float64(v) * 0x1p-64
	switch {
	case low+0x1p-63 < x*(1-slack):
		return true
	case low > x*(1+slack):
		return false
	}
	return d.decide(s, v, k, height, halvings)
}

// decide is keeps with big numbers.
func (d *staircase) decide(s *keystream.Stream, v uint64, k int64, height uint64, halvings int) bool {
	digits := new(big.Int).SetUint64(v)
	for n := 64; ; {
		precision := uint(n) + 128
		x := d.ratio(k, precision)
		x.Mul(x, new(big.Float).SetFloat64(d.scale))
		x.Quo(x, new(big.Float).SetUint64(height))
		// In units of V's last bit, x is off by less than one, for x is at most 1.
		x.SetMantExp(x, halvings+n)
		units, _ := x.Int(nil)
		switch difference := new(big.Int).Sub(digits, units); {
		case difference.Cmp(big.NewInt(-2)) <= 0:
			return true
		case difference.Cmp(big.NewInt(2)) >= 0:
			return false
		}
		digits.Lsh(digits, 64).Or(digits, new(big.Int).SetUint64(s.Uint64()))
		n += 64
	}
}
