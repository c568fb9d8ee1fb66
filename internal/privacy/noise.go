package privacy

import (
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
			WithHint("use a coarser or a finer grid, such as by fewer or more bits for a value")
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
