package text

import (
	"fmt"

	"atoll/internal/repro"
)

// calibrate returns the factor on all scores (an inverse temperature) at which
// the mean probability of the label named is the share that is right: at 90 %
// certainty, nine of ten are. It searches from 1/16 to 16; the mean rises with
// the factor.
func (m *Model) calibrate(held []Example) (float32, error) {
	k := len(m.labels)
	scores := make([]float32, 0, len(held)*k)
	s := m.pool.Get().(*scratch)
	defer m.pool.Put(s)
	right := 0
	for _, x := range held {
		if err := m.score(s, x.Text); err != nil {
			return 0, err
		}
		if best, _ := m.bestTwo(s.scores); m.labels[best] == x.Label {
			right++
		}
		scores = append(scores, s.scores...)
	}
	// Nobody is always right; one more try that is half wrong keeps the factor
	// from running away on small holdouts.
	want := (int64(right)*2 + 1) * 1_000_000 / (2 * int64(len(held)+1))
	low, high := float32(1.0/16), float32(16)
	for range 24 {
		mid := (low + high) / 2
		var sum int64
		for i := 0; i < len(scores); i += k {
			for j, v := range scores[i : i+k] {
				s.probs[j] = float32(v * mid)
			}
			if err := repro.Softmax(s.probs, s.probs); err != nil {
				return 0, fmt.Errorf("text: %w", err)
			}
			var top float32
			for _, p := range s.probs {
				top = max(top, p)
			}
			sum += int64(ppm(top))
		}
		if sum/int64(len(held)) < want {
			low = mid
		} else {
			high = mid
		}
	}
	return high, nil
}

// sharpened returns a copy of m whose scores are multiplied by factor. The copy
// shares the weights.
func (m *Model) sharpened(factor float32) (*Model, error) {
	out := &Model{labels: m.labels, bits: m.bits, buckets: m.buckets, weights: m.weights}
	for _, v := range m.bias {
		out.bias = append(out.bias, float32(v*factor))
	}
	for _, v := range m.scales {
		out.scales = append(out.scales, float32(v*factor))
	}
	for _, v := range append(out.bias, out.scales...) {
		if max(v, -v) > maxScore {
			return nil, fmt.Errorf("%w: a weight grew to %g; a lower learning rate helps", ErrData, v)
		}
	}
	return newModel(out), nil
}
