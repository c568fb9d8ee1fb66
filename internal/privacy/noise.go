package privacy

import (
	"math"

	"atoll/internal/core"
	"atoll/internal/keystream"
)

// Limits of a Noise's variance: words of 64 random bits suffice for cells of that width.
const (
	MinVariance = 0x1p-20
	MaxVariance = 1 << 50
)

// Noise draws integers, symmetric around 0, with exactly the distribution that its
// constructor names. It may be used by several goroutines, each with its own stream.
type Noise struct {
	steps      *staircase
	difference bool // of two draws
}

// NewSkellam is noise for sums under masks: the difference of two Poisson variables
// of half the variance each. The sum of many clients' Skellam noise is Skellam again,
// with the variances added up. A variance is from MinVariance to MaxVariance.
func NewSkellam(variance float64) (*Noise, error) {
	if err := checkVariance(variance); err != nil {
		return nil, err
	}
	return &Noise{steps: newStaircase(poisson{mean: variance / 2}, tableReach), difference: true}, nil
}

// NewDiscreteGaussian is noise for one place that is trusted with the sum. (Sums of
// discrete Gaussians are no discrete Gaussians, so it is not for shares.) The
// variance parameter σ², from MinVariance to MaxVariance, is a little more than the
// distribution's own variance.
func NewDiscreteGaussian(variance float64) (*Noise, error) {
	if err := checkVariance(variance); err != nil {
		return nil, err
	}
	return &Noise{steps: newStaircase(discreteGaussian{variance: variance}, tableReach)}, nil
}

func checkVariance(variance float64) error {
	if !(variance >= MinVariance && variance <= MaxVariance) {
		return core.Errorf(core.Invalid, "noise has a variance from 2^-20 to 2^50, in steps of the grid, not %g", variance).At("variance").
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
// norm of clip, with the noise multiplier that Gaussian was asked with. Rounding to
// the grid adds at most a step for each value to what one vector changes, √dim steps in
// all, and errors of adding up are given half as much. The grid is so fine that this is
// a hundredth of the clip; the noise covers it.
func NewCentral(dim int, clip, noise float64) (*Central, error) {
	if dim < 1 || !(clip > 0) || math.IsInf(clip, 1) || !(noise > 0) {
		return nil, core.Errorf(core.Invalid, "noise for %d values with a clip of %g and a multiplier of %g: all must be over 0 and finite", dim, clip, noise)
	}
	root := math.Sqrt(float64(dim))
	const fine = 128
	deviation := noise * root * (fine + 1.5)
	n, err := NewDiscreteGaussian(deviation * deviation)
	return &Central{step: clip / (fine * root), noise: n}, err
}

// AddTo adds noise to a sum, in place. The sum must have been added up in float64, or
// its errors would be more than half a step.
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

// Sample draws the records of a batch: each of n with probability rate, independently,
// which is the sampling that a rate below 1 speaks of. Indices ascend. Who is in the
// batch must stay as secret as the stream.
func Sample(n int, rate float64, secret *keystream.Stream) []int {
	below := uint64(rate * (1 << 53))
	list := make([]int, 0, int(rate*float64(n))+1)
	for i := range n {
		if secret.Uint64()>>11 < below {
			list = append(list, i)
		}
	}
	return list
}
