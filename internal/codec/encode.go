package codec

import (
	"math"

	"atoll/internal/core"
	"atoll/internal/keystream"
	"atoll/internal/planted"
)

// Report is what encoding did to an update. It tells of the data and stays at the
// client.
type Report struct {
	Norm     float64 // of the update as it came
	Clipped  bool    // whether it was scaled down to Shape.Clip
	Rescaled bool    // whether the chosen coordinates had to be scaled down again
	Clamped  int     // values beyond the limit
	Rounds   int     // roundings until the norm fitted
}

// Encode returns an update as Grid.Len words: two's complement, not yet reduced.
// The seed is the round's, the same for all clients and not known when the update
// was made; secret is the client's own stream. The update is left as it is. NaN and
// infinities are refused with their place.
func (g *Grid) Encode(update []float32, seed keystream.Seed, secret *keystream.Stream) ([]uint32, Report, error) {
	if len(update) != g.shape.Dim {
		return nil, Report{}, core.Errorf(core.Invalid, "the update has %d values, the federation's have %d", len(update), g.shape.Dim)
	}
	norm, err := Norm(update)
	if err != nil {
		return nil, Report{}, err
	}
	report := Report{Norm: norm}
	x := make([]float32, g.shape.Dim)
	report.Clipped = shorten(x, update, norm, g.shape.Clip)
	g.rotation(seed).apply(x)
	if g.kept < g.shape.Dim {
		x = gather(x, g.chosen(seed))
		norm, err := Norm(x)
		if err != nil {
			return nil, Report{}, err
		}
		report.Rescaled = shorten(x, x, norm, g.clip)
	}
	words, err := g.round(x, secret, &report)
	return words, report, err
}

// Norm is the L2 norm of x, the same on every machine: squares of float32 are exact
// in float64 and are added in order. NaN and infinities are refused.
func Norm(x []float32) (float64, error) {
	sum := 0.0
	for i, v := range x {
		if v-v != 0 {
			return 0, core.Errorf(core.Invalid, "value %d of the update is %v", i, v).
				WithHint("training has diverged: use a smaller learning rate, or look for missing values in the data")
		}
		sum += float64(float64(v) * float64(v))
	}
	return math.Sqrt(sum), nil
}

// Clip scales x down to a norm of at most limit where it is longer, for updates that are
// sent without a Grid.
func Clip(x []float32, limit float64) (clipped bool, err error) {
	norm, err := Norm(x)
	if err != nil {
		return false, err
	}
	return shorten(x, x, norm, limit), nil
}

// shorten writes x to dst, scaled down to a norm of at most limit. It stays under
// it by as much as the rotation's rounding may lengthen a vector.
func shorten(dst, x []float32, norm, limit float64) bool {
	limit *= 1 - 0x1p-19
	if norm <= limit {
		copy(dst, x)
		return false
	}
	f := limit / norm
	for i, v := range x {
		dst[i] = float32(float64(v) * f)
	}
	return true
}

// maxRounds is how often a rounding is tried: each fits with a chance of 0.39 at
// the least, so that none does with 2^-91.
const maxRounds = 128

// round is the conditional stochastic rounding.
func (g *Grid) round(x []float32, secret *keystream.Stream, report *Report) ([]uint32, error) {
	level := float64(g.Level())
	most := uint64(g.l2) * uint64(g.l2)
	words := make([]uint32, len(x))
	for report.Rounds = 1; report.Rounds <= maxRounds; report.Rounds++ {
		report.Clamped = 0
		square := uint64(0)
		for i, f := range x {
			v := float64(float64(f) * g.scale)
			if v > level || v < -level {
				v = math.Copysign(level, v)
				report.Clamped++
			}
			low := math.Floor(v)
			k := int64(low)
			// 53 bits decide: the chance to go up is exact to 2^-53.
			if float64(secret.Uint64()>>11)*0x1p-53 < v-low {
				k++
			}
			square += uint64(k * k)
			words[i] = uint32(k)
		}
		if square <= most || planted.Long {
			return words, nil
		}
	}
	return nil, core.Errorf(core.Internal, "no rounding of %d fits a norm of %g", maxRounds, g.l2)
}

// Decode turns the sum of clients' words, modulo 2^WordBits, into the sum of their
// updates.
func (g *Grid) Decode(sum []uint32, m Modulus, seed keystream.Seed) ([]float32, error) {
	if err := m.Check(sum, g.kept); err != nil {
		return nil, err
	}
	x := make([]float32, g.shape.Dim)
	step := g.Gain() / g.scale
	if g.kept == g.shape.Dim {
		for i, w := range sum {
			x[i] = float32(float64(m.Centre(w)) * step)
		}
	} else {
		for i, at := range g.chosen(seed) {
			x[at] = float32(float64(m.Centre(sum[i])) * step)
		}
	}
	g.rotation(seed).invert(x)
	return x, nil
}
