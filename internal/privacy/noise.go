package privacy

import (
	"math"

	"atoll/internal/core"
	"atoll/internal/keystream"
)

// MaxVariance is the most that a Noise may have.
const MaxVariance = 1 << 44

// Noise draws integers, symmetric around 0, with exactly the distribution that its
// constructor names. It may be used by several goroutines, each with its own stream.
type Noise struct {
	steps      *staircase
	difference bool // of two draws
}

// NewSkellam is noise for sums under masks: the difference of two Poisson variables
// of half the variance each. The sum of many clients' Skellam noise is Skellam again,
// with the variances added up. A variance is over 0 and at most MaxVariance.
func NewSkellam(variance float64) (*Noise, error) {
	if err := checkVariance(variance); err != nil {
		return nil, err
	}
	return &Noise{steps: newStaircase(poisson{mean: variance / 2}), difference: true}, nil
}

// NewDiscreteGaussian is noise for one place that is trusted with the sum. (Sums of
// discrete Gaussians are no discrete Gaussians, so it is not for shares.) The
// variance parameter σ² is at least 1/4; the distribution's own variance is a little
// less than that.
func NewDiscreteGaussian(variance float64) (*Noise, error) {
	if err := checkVariance(variance); err != nil {
		return nil, err
	}
	return &Noise{steps: newStaircase(discreteGaussian{variance: variance})}, nil
}

func checkVariance(variance float64) error {
	if !(variance >= 0x1p-20 && variance <= MaxVariance) {
		return core.Errorf(core.Invalid, "noise has a variance from 2^-20 to 2^44 steps of the grid, not %g", variance).At("variance").
			WithHint("use more or fewer bits for a value")
	}
	return nil
}

// Draw returns one value.
func (n *Noise) Draw(secret *keystream.Stream) int64 {
	k := n.steps.draw(secret)
	if n.difference {
		k -= n.steps.draw(secret)
	}
	return k
}

// AddTo adds a value to each word, modulo 2^32.
func (n *Noise) AddTo(words []uint32, secret *keystream.Stream) {
	for i := range words {
		words[i] += uint32(n.Draw(secret))
	}
}

// Central adds discrete Gaussian noise to a sum of floating-point vectors, in a place
// that is trusted with the sum, such as a site that trains by DP-SGD.
//
// The sum is rounded to a grid and the noise is on that grid, so that what comes out
// is a function of integers whose distribution is known exactly. Noise drawn in
// floating point is not: which of its low bits can occur tells of the sum (Mironov
// 2012).
type Central struct {
	step  float64
	noise *Noise
}

// NewCentral makes noise for sums over vectors of dim values, each clipped to an L2
// norm of clip, with the noise multiplier that Gaussian was asked with. The grid is
// fine enough that what rounding adds to the sensitivity, √dim steps, is less than a
// hundredth; the noise covers it.
func NewCentral(dim int, clip, noise float64) (*Central, error) {
	if dim < 1 || !(clip > 0) || math.IsInf(clip, 1) || !(noise > 0) {
		return nil, core.Errorf(core.Invalid, "noise for %d values with a clip of %g and a multiplier of %g: all must be over 0 and finite", dim, clip, noise)
	}
	root := math.Sqrt(float64(dim))
	const fine = 128
	deviation := noise * root * (fine + 1)
	n, err := NewDiscreteGaussian(deviation * deviation)
	return &Central{step: clip / (fine * root), noise: n}, err
}

// AddTo adds noise to a sum, in place. The sum must have been added up in float64 or
// finer: errors of summing are part of its sensitivity, and far below a step there.
func (c *Central) AddTo(sum []float64, secret *keystream.Stream) error {
	for i, v := range sum {
		steps := math.RoundToEven(v / c.step)
		if !(math.Abs(steps) < 1<<52) {
			return core.Errorf(core.Invalid, "value %d of the sum is %v, too large for noise with steps of %g", i, v, c.step)
		}
		sum[i] = c.step * (steps + float64(c.noise.Draw(secret)))
	}
	return nil
}
