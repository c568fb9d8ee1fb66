package fed

import (
	"crypto/rand"
	"math"

	"atoll/internal/core"
	"atoll/internal/keystream"
	"atoll/internal/privacy"
)

// chance is the randomness of private training, under a key that nobody keeps.
type chance struct {
	*keystream.Stream
	noise *privacy.Noise
}

// fineness is how many steps of the grid a standard deviation has: so fine that rounding
// to it lengthens a sum of clipped gradients by nothing that matters.
const fineness = 1 << 18

func newChance() (*chance, error) {
	s, err := keystream.Secret(rand.Reader)
	if err != nil {
		return nil, err
	}
	n, err := privacy.NewDiscreteGaussian(fineness * fineness)
	if err != nil {
		return nil, core.Errorf(core.Internal, "noise: %w", err)
	}
	return &chance{s, n}, nil
}

// Noise implements model.Chance. Values and noise are multiples of one step: the low bits
// of what comes out tell nothing (see internal/privacy).
func (c *chance) Noise(dst []float32, sigma float64) {
	step := sigma / fineness
	for i, v := range dst {
		dst[i] = float32(float64(int64(math.Round(float64(v)/step))+c.noise.Draw(c.Stream)) * step)
	}
}
