// Package merge is what a hub does with the updates of a round: it takes their mean,
// and an [Optimizer] makes a step of it. All of it is pure, over flat vectors, with
// the same bits on every machine; what an optimizer remembers can be stored between
// rounds.
package merge

import (
	"errors"
	"fmt"

	"atoll/internal/repro"
)

// ErrUpdates means that updates cannot be put together.
var ErrUpdates = errors.New("updates that cannot be put together")

// Mean returns Σ weights[i]·updates[i] / Σ weights, in the order of updates, which is
// FedAvg where the weights are the sites' rows (McMahan et al., "Communication-efficient
// learning of deep networks from decentralized data", 2017). Under privacy weights
// would tell of the sites' sizes: give all the same. Under secure aggregation the sum
// is made elsewhere; see [Divide].
func Mean(updates [][]float32, weights []int) ([]float32, error) {
	if len(updates) == 0 || len(updates) != len(weights) {
		return nil, fmt.Errorf("%w: %d updates with %d weights", ErrUpdates, len(updates), len(weights))
	}
	total := 0
	for i, w := range weights {
		if w < 1 || w > 1<<40 {
			return nil, fmt.Errorf("%w: update %d has weight %d, want 1 to 2^40", ErrUpdates, i, w)
		}
		total += w
	}
	mean := make([]float32, len(updates[0]))
	for i, u := range updates {
		if len(u) != len(mean) {
			return nil, fmt.Errorf("%w: update %d has %d numbers, the first %d", ErrUpdates, i, len(u), len(mean))
		}
		if err := repro.Finite(u); err != nil {
			return nil, fmt.Errorf("%w: update %d: %w", ErrUpdates, i, err)
		}
		repro.AddScaled(mean, float32(float64(weights[i])/float64(total)), u)
	}
	if err := repro.Finite(mean); err != nil {
		return nil, fmt.Errorf("%w: their mean: %w", ErrUpdates, err)
	}
	return mean, nil
}

// Divide turns a sum of updates into their mean, in place.
func Divide(sum []float32, weight float64) error {
	if !(weight > 0) {
		return fmt.Errorf("%w: a sum of weight %g", ErrUpdates, weight)
	}
	for i, v := range sum {
		sum[i] = float32(float64(v) / weight)
	}
	if err := repro.Finite(sum); err != nil {
		return fmt.Errorf("%w: their mean: %w", ErrUpdates, err)
	}
	return nil
}
