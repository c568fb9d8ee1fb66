package model

import (
	"fmt"

	"atoll/internal/learn"
	"atoll/internal/learn/text"
	"atoll/internal/repro"
)

// sparse is one layer over the hashed features of texts, of which each has few.
type sparse struct {
	layer
	starts []int    // of each text's features; one more than there are texts
	bucket []uint32 //
	value  []float32

	params []float32
	rows   []int
	output []float32 // room × out; then the slopes
}

func newSparse(s Spec, e *learn.Examples, room int) (*sparse, error) {
	l := s.layers()[0]
	n := &sparse{layer: l, starts: []int{0}, output: make([]float32, room*l.out)}
	h := text.NewHasher(s.Bits)
	for i, t := range e.Texts {
		var err error
		if n.bucket, n.value, err = h.Append(n.bucket, n.value, t); err != nil {
			return nil, fmt.Errorf("%w: row %d: %w", learn.ErrExamples, i, err)
		}
		if len(n.bucket) > text.MaxFeatures {
			return nil, fmt.Errorf("%w: the first %d texts have over %d features, the most that fit", learn.ErrExamples, i+1, text.MaxFeatures)
		}
		n.starts = append(n.starts, len(n.bucket))
	}
	return n, nil
}

// weights returns the weights of one bucket in a vector of parameters.
func (n *sparse) weights(params []float32, bucket uint32) []float32 {
	return params[int(bucket)*n.out:][:n.out]
}

func (n *sparse) load(params []float32) { n.params = params }

func (n *sparse) forward(rows []int) []float32 {
	n.rows = rows
	for i, r := range rows {
		out := n.output[i*n.out:][:n.out]
		copy(out, n.params[n.bias():])
		for k := n.starts[r]; k < n.starts[r+1]; k++ {
			repro.AddScaled(out, n.value[k], n.weights(n.params, n.bucket[k]))
		}
	}
	return n.output[:len(rows)*n.out]
}

func (n *sparse) propagate() {}

func (n *sparse) squares(dst []float64) {
	for i, r := range n.rows {
		in := square(n.value[n.starts[r]:n.starts[r+1]])
		dst[i] = float64((in + 1) * square(n.output[i*n.out:][:n.out]))
	}
}

func (n *sparse) scale(by []float32) {
	for i := range n.rows {
		multiply(n.output[i*n.out:][:n.out], by[i])
	}
}

func (n *sparse) accumulate(grad []float32, fresh bool) {
	if fresh {
		clear(grad)
	}
	bias := grad[n.bias():]
	for i, r := range n.rows {
		slope := n.output[i*n.out:][:n.out]
		for k := n.starts[r]; k < n.starts[r+1]; k++ {
			repro.AddScaled(n.weights(grad, n.bucket[k]), n.value[k], slope)
		}
		repro.AddScaled(bias, 1, slope)
	}
}
