package text

import (
	"context"
	"fmt"
	"math"

	"atoll/internal/repro"
)

// fit trains a model on the examples named by order, which it shuffles.
//
// It is stochastic gradient descent on the cross entropy of the softmax, one
// example a step. The step size of a row adapts to the row's past gradients
// (AdaGrad, Duchi, Hazan, Singer 2011, with one sum a row instead of one a
// weight, so that a step costs one root a feature) and falls to zero over the
// run, which makes an average over steps needless.
func (t *trainer) fit(ctx context.Context, order []int, sharpness float32) (*Model, error) {
	f := &fit{
		trainer: t,
		rng:     repro.NewRandom(repro.Mix(t.opt.Seed + 1)),
		weights: make([]float32, len(t.buckets)*len(t.labels)),
		past:    make([]float32, len(t.buckets)),
		bias:    make([]float32, len(t.labels)),
		probs:   make([]float32, len(t.labels)),
	}
	order = append([]int(nil), order...)
	steps := len(order) * t.opt.Epochs
	for step := range steps {
		at := step % len(order)
		if at == 0 {
			repro.Shuffle(f.rng, order)
		}
		if step%256 == 0 {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			t.progress(Progress{t.done + step, t.total})
		}
		left := float32(steps-step) / float32(steps)
		if err := f.learn(order[at], float32(t.opt.LearningRate*left)); err != nil {
			return nil, err
		}
	}
	t.done += steps
	t.progress(Progress{t.done, t.total})
	return f.model(sharpness)
}

type fit struct {
	*trainer
	rng     *repro.Random
	weights []float32 // rows × labels
	past    []float32 // of each row, the sum of squared gradients
	bias    []float32
	all     float32   // as past, for the bias
	probs   []float32 // scores, then probabilities, then the gradient
	rows1   []int32   // the features of this step
	values1 []float32
}

// learn takes one step towards the label of one example.
func (f *fit) learn(example int, rate float32) error {
	k := len(f.labels)
	f.pick(example)
	copy(f.probs, f.bias)
	for i, row := range f.rows1 {
		repro.AddScaled(f.probs, f.values1[i], f.weights[int(row)*k:][:k])
	}
	if err := repro.Softmax(f.probs, f.probs); err != nil {
		return fmt.Errorf("%w: training diverged; a lower learning rate helps: %w", ErrData, err)
	}
	f.probs[f.class[example]] -= 1
	size, err := repro.Dot(f.probs, f.probs)
	if err != nil {
		return fmt.Errorf("text: %w", err)
	}
	if size == 0 {
		return nil
	}
	f.all += size
	repro.AddScaled(f.bias, -rate/root32(f.all), f.probs)
	for i, row := range f.rows1 {
		v := f.values1[i]
		f.past[row] += float32(float32(v*v) * size)
		step := rate / root32(f.past[row]+1e-6)
		keep := 1 - float32(step*f.opt.L2)
		repro.Decay(f.weights[int(row)*k:][:k], keep, -float32(step*v), f.probs)
	}
	return nil
}

// pick chooses the features of a step: all but a random few.
func (f *fit) pick(example int) {
	from, to := f.starts[example], f.starts[example+1]
	f.rows1, f.values1 = f.rows1[:0], f.values1[:0]
	drop := uint64(max(f.opt.Dropout, 0))
	for i := from; i < to; i++ {
		if drop > 0 && f.rng.Uint64()>>32*100>>32 < drop {
			continue
		}
		f.rows1 = append(f.rows1, f.rows[i])
		f.values1 = append(f.values1, f.values[i])
	}
}

func root32(v float32) float32 { return float32(math.Sqrt(float64(v))) }

// model rounds the weights to 8 bits, each row by its own scale, and multiplies
// all by sharpness. Rows that came out without effect are left out.
func (f *fit) model(sharpness float32) (*Model, error) {
	m := &Model{labels: f.labels, bits: f.opt.Bits}
	k := len(f.labels)
	if err := repro.Finite(f.weights); err != nil {
		return nil, fmt.Errorf("%w: training diverged; a lower learning rate helps: %w", ErrData, err)
	}
	for row, bucket := range f.buckets {
		w := f.weights[row*k:][:k]
		var most float32
		for _, v := range w {
			most = max(most, v, -v)
		}
		if most < 0x1p-20 {
			continue
		}
		inverse := 127 / most
		for _, v := range w {
			m.weights = append(m.weights, int8(math.RoundToEven(float64(float32(v*inverse)))))
		}
		m.buckets = append(m.buckets, bucket)
		m.scales = append(m.scales, most/127)
	}
	m.bias = f.bias
	return newModel(m).sharpened(sharpness)
}
