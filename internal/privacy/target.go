package privacy

import (
	"math"

	"atoll/internal/core"
)

// Target is the privacy that a whole run is to have.
type Target struct {
	Epsilon float64 `json:"epsilon"`
	Delta   float64 `json:"delta"`
	Rounds  int     `json:"rounds"`         // how often the mechanism is used
	Rate    float64 `json:"rate,omitempty"` // see Gaussian; 0 means 1
}

// Noise returns the least noise multiplier of Gaussian that meets the target, to
// one part in a million, never under it.
func (t Target) Noise() (float64, error) {
	return t.least(func(noise float64) (Curve, error) { return Gaussian(noise, t.rate()) })
}

// SkellamVariance returns the least variance of the noise in the sum, in the square
// of the grid's steps, with which Skellam meets the target, to two parts in a
// million, never under it.
func (t Target) SkellamVariance(l1, l2 float64) (float64, error) {
	noise, err := t.least(func(noise float64) (Curve, error) {
		return Skellam(l1, l2, noise*noise*l2*l2, t.rate())
	})
	return noise * noise * l2 * l2, err
}

func (t Target) rate() float64 {
	if t.Rate == 0 {
		return 1
	}
	return t.Rate
}

// Noise multipliers beyond these are of no use, and of no harm.
const leastNoise, mostNoise = 1e-2, 1e7

// least searches the least noise, by halving on a logarithmic scale: ε falls as it
// grows.
func (t Target) least(curve func(noise float64) (Curve, error)) (float64, error) {
	if err := checkEpsilon(t.Epsilon); err != nil {
		return 0, err
	}
	if err := checkDelta(t.Delta); err != nil {
		return 0, err
	}
	if t.Rounds < 1 {
		return 0, core.Errorf(core.Invalid, "a run has at least one round, not %d", t.Rounds).At("rounds")
	}
	low, high := math.Log(leastNoise), math.Log(mostNoise)
	for high-low > 1e-6 {
		middle := (low + high) / 2
		c, err := curve(math.Exp(middle))
		if err != nil {
			return 0, err
		}
		if e, _ := c.Times(t.Rounds).Epsilon(t.Delta); e <= t.Epsilon {
			high = middle
		} else {
			low = middle
		}
	}
	if high == math.Log(mostNoise) {
		return 0, core.Errorf(core.Invalid, "ε = %g at δ = %g in %d rounds is less than can be shown of any noise", t.Epsilon, t.Delta, t.Rounds).
			At("epsilon").WithHint("allow a larger ε or δ, or fewer rounds")
	}
	return math.Exp(high), nil
}
