package model

import (
	"fmt"

	"atoll/internal/learn"
	"atoll/internal/repro"
)

// chunkRows is how many rows go through a network at once. It is a part of what the
// bits of a training step depend on.
const chunkRows = 64

// A network computes with a model's parameters, on a chunk of rows at a time:
// forward, then whoever calls it turns the scores into slopes of the loss in place,
// and then, for training, propagate, perhaps squares and scale, and accumulate.
type network interface {
	// load takes the parameters. They are read until the next load.
	load(params []float32)
	// forward returns the outputs of at most chunkRows rows, row after row.
	forward(rows []int) []float32
	// propagate takes what forward returned as the slopes of the loss by the
	// outputs, and finds those by each layer's.
	propagate()
	// squares sets dst to the squared length of each row's gradient.
	squares(dst []float64)
	// scale multiplies each row's gradient.
	scale(by []float32)
	// accumulate adds the gradient of the chunk, summed over rows, to grad. If
	// fresh is set, grad counts as zero, whatever it holds.
	accumulate(grad []float32, fresh bool)
}

// newNetwork returns the network of a model for chunks of so many rows of e.
func newNetwork(s Spec, e *learn.Examples, room int, pool *repro.Pool) (network, error) {
	if s.Kind == Text {
		if e.Texts == nil {
			return nil, fmt.Errorf("%w: a text model wants a text in each row", learn.ErrExamples)
		}
		return newSparse(s, e, room)
	}
	if e.Width != s.Inputs {
		return nil, fmt.Errorf("%w: %d numbers a row, the model takes %d", learn.ErrExamples, e.Width, s.Inputs)
	}
	return newDense(s, e, room, pool)
}
