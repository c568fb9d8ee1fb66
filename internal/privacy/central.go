package privacy

import (
	"fmt"
	"math"

	"atoll/internal/core"
	"atoll/internal/keystream"
)

// Central is the randomness of DP-SGD at a place that is trusted with the sums of
// clipped gradients, such as the site that trains. It is what package learn/model asks
// for as its Chance.
//
// A sum is rounded to a grid and discrete Gaussian noise is added on that grid, so that
// what comes out is a function of integers whose distribution is known exactly. Noise
// drawn in floating point is not: which of its low bits can occur tells of the sum
// (Mironov 2012).
type Central struct {
	dim    int
	sigma  float64
	step   float64
	noise  *Noise
	secret *keystream.Stream
}

// fineness is the clip divided by √dim, in steps of the grid.
const fineness = 128

// NewCentral makes noise for sums over vectors of dim values, each clipped to an L2
// norm of clip, with the noise multiplier that Gaussian is asked with. Rounding to the
// grid adds at most a step for each value to what one vector changes, √dim steps in
// all, and errors of adding up are given half as much: 1/256 of the clip in the L2 norm.
// The trainers of learn/model cannot exceed that with a thousand vectors, and hardly
// would with a million. The grid is so fine that all of this is a hundredth of the
// clip; the noise covers it.
func NewCentral(dim int, clip, noise float64, secret *keystream.Stream) (*Central, error) {
	if dim < 1 || !(clip > 0) || math.IsInf(clip, 1) || !(noise > 0) {
		return nil, core.Errorf(core.Invalid, "noise for %d values with a clip of %g and a multiplier of %g: all must be over 0 and finite", dim, clip, noise)
	}
	root := math.Sqrt(float64(dim))
	deviation := noise * root * (fineness + 1.5)
	n, err := NewDiscreteGaussian(deviation * deviation)
	if err != nil {
		return nil, err
	}
	return &Central{dim: dim, sigma: noise * clip, step: clip / (fineness * root), noise: n, secret: secret}, nil
}

// Noise adds noise to a sum, in place. What is no number or is beyond 2^52 steps, which
// no sum of clipped vectors is, becomes NaN, for the trainer to refuse. It panics if
// the sum or its noise are others than NewCentral was told of: there would be too
// little.
func (c *Central) Noise(sum []float32, sigma float64) {
	if len(sum) != c.dim || sigma != c.sigma {
		panic(fmt.Sprintf("privacy: noise of standard deviation %g for %d values was asked of a source made for %g and %d", sigma, len(sum), c.sigma, c.dim))
	}
	for i, v := range sum {
		steps := math.RoundToEven(float64(v) / c.step)
		if !(math.Abs(steps) < 1<<52) {
			steps = math.NaN()
		}
		sum[i] = float32(c.step * (steps + float64(c.noise.Draw(c.secret))))
	}
}

// Uint64 returns 64 secret bits, to draw the batches with.
func (c *Central) Uint64() uint64 { return c.secret.Uint64() }
