package codec

import (
	"math"
	"math/bits"

	"atoll/internal/core"
)

// Limits of a Shape.
const (
	MaxDim  = 1 << 28
	MinBits = 2
	MaxBits = 20
)

// Shape is what all clients of a federation have in common.
type Shape struct {
	Dim  int     `json:"dim"`            // values in an update
	Clip float64 `json:"clip"`           // longest update, in the L2 norm; longer ones are scaled down
	Bits int     `json:"bits"`           // of one value, sign included: 2 to 20
	Keep int     `json:"keep,omitempty"` // coordinates sent in a round; 0 means all
}

// Grid holds the numbers that follow from a Shape; see the package comment. It
// never changes.
type Grid struct {
	shape Shape
	block int     // B, the size of a Hadamard transform
	kept  int     // coordinates sent: Keep or Dim
	clip  float64 // longest vector of those kept
	limit float64 // L, the largest value of one
	scale float64 // steps of the grid for a value of 1
	l2    float64 // longest vector of integers
}

// NewGrid checks a shape. Its errors are core.Invalid and name the field.
func NewGrid(s Shape) (*Grid, error) {
	switch {
	case s.Dim < 1 || s.Dim > MaxDim:
		return nil, core.Errorf(core.Invalid, "an update has 1 to %d values, not %d", MaxDim, s.Dim).At("dim")
	case !(s.Clip >= 0x1p-64 && s.Clip <= 0x1p64):
		return nil, core.Errorf(core.Invalid, "the longest update must have a norm from 2^-64 to 2^64, not %g", s.Clip).At("clip")
	case s.Bits < MinBits || s.Bits > MaxBits:
		return nil, core.Errorf(core.Invalid, "a value has %d to %d bits, not %d", MinBits, MaxBits, s.Bits).At("bits")
	case s.Keep < 0 || s.Keep > s.Dim:
		return nil, core.Errorf(core.Invalid, "%d of %d coordinates cannot be kept", s.Keep, s.Dim).At("keep").WithHint("0 keeps all")
	}
	g := &Grid{shape: s, block: 1 << (bits.Len(uint(s.Dim)) - 1), kept: s.Dim, clip: s.Clip}
	if s.Keep > 0 && s.Keep < s.Dim {
		g.kept = s.Keep
		share := math.Sqrt(float64(s.Keep) / float64(s.Dim))
		g.clip = min(s.Clip, s.Clip*share*(1+4/math.Sqrt(float64(s.Keep))))
	}
	// The explicit conversions keep products from being fused with what follows, so
	// that every machine has the same grid. Square roots are exact by IEEE 754.
	spread := math.Sqrt(float64(2*math.Ln2*float64(bits.Len(uint(s.Dim-1))+21)) / float64(g.block))
	g.limit = min(float64(s.Clip*spread), g.clip)
	g.scale = float64(g.Level()) / g.limit
	c, k := float64(g.clip*g.scale), float64(g.kept)
	root := math.Sqrt(k)
	worst := c + root
	likely := math.Sqrt(float64(c*c) + k/4 + c + root/2)
	g.l2 = math.Floor(min(worst, likely)) + 1
	return g, nil
}

// Shape returns what the grid was made of.
func (g *Grid) Shape() Shape { return g.shape }

// Level is the largest integer a client sends for one coordinate, and minus it the
// smallest.
func (g *Grid) Level() int { return 1<<(g.shape.Bits-1) - 1 }

// Len is how many words a client sends.
func (g *Grid) Len() int { return g.kept }

// Step is the distance of two neighbouring values on the grid.
func (g *Grid) Step() float64 { return 1 / g.scale }

// Gain is by how much a sum of the coordinates that were chosen is the longer for standing
// for all of them: Dim to Keep.
func (g *Grid) Gain() float64 { return float64(g.shape.Dim) / float64(g.kept) }

// L2 bounds the norm of the integers that a client sends before noise: by so much
// the sum changes when one client's update is replaced by zeros. Of a part of an update,
// such as one record's, it says nothing: rounding joins them.
func (g *Grid) L2() float64 { return g.l2 }

// L1 is the same in the L1 norm.
func (g *Grid) L1() float64 { return min(float64(g.l2*g.l2), g.l2*math.Sqrt(float64(g.kept))) }
