package model

import (
	"fmt"

	"atoll/internal/learn"
	"atoll/internal/repro"
)

// dense is a network of layers over rows of numbers.
type dense struct {
	x      *learn.Examples
	layers []denseLayer
	params []float32
	pool   *repro.Pool
	room   int // rows that fit
	n      int // rows in the chunk
}

// denseLayer holds what one layer computes with. Matrices are named for their rows
// and columns.
type denseLayer struct {
	layer
	input  []float32 // room × in; of all but the first, the output of the layer below
	output []float32 // room × out, after the ReLU
	slope  []float32 // room × out: of the loss by the output before the ReLU; in the last layer, output

	outIn  *repro.FloatMatrix // the weights, which turn inputs into outputs
	inOut  *repro.FloatMatrix // their transpose, which brings slopes down; nil in the first layer
	inRow  *repro.FloatMatrix // the inputs, which turn slopes into the weights' gradient
	outRow []float32          // the slopes, transposed
	sum    []float32          // out × in: the gradient of a chunk but the first of a batch; made when there is one
}

func newDense(s Spec, e *learn.Examples, room int, pool *repro.Pool) (*dense, error) {
	d := &dense{x: e, pool: pool, room: room}
	input := make([]float32, room*s.Inputs)
	for i, l := range s.layers() {
		dl := denseLayer{
			layer: l, input: input, output: make([]float32, room*l.out), slope: make([]float32, room*l.out),
			outRow: make([]float32, room*l.out),
		}
		var err error
		if dl.outIn, err = repro.NewFloatMatrix(l.out, l.in, repro.F32); err != nil {
			return nil, fmt.Errorf("layer %v: %w", l, err)
		}
		if dl.inRow, err = repro.NewFloatMatrix(l.in, room, repro.F32); err != nil {
			return nil, fmt.Errorf("layer %v: %w", l, err)
		}
		if i > 0 {
			if dl.inOut, err = repro.NewFloatMatrix(l.in, l.out, repro.F32); err != nil {
				return nil, fmt.Errorf("layer %v: %w", l, err)
			}
		}
		input = dl.output
		d.layers = append(d.layers, dl)
	}
	last := &d.layers[len(d.layers)-1]
	last.slope = last.output
	return d, nil
}

func (d *dense) load(params []float32) {
	d.params = params
	for i := range d.layers {
		l := &d.layers[i]
		w := params[l.at:l.bias()]
		l.outIn.Set(w)
		if l.inOut != nil {
			l.inOut.SetColumns(w)
		}
	}
}

func (d *dense) forward(rows []int) []float32 {
	d.n = len(rows)
	first, last := &d.layers[0], &d.layers[len(d.layers)-1]
	for i, r := range rows {
		copy(first.input[i*first.in:], d.x.Row(r))
	}
	for i := range d.layers {
		l := &d.layers[i]
		l.outIn.Mul(l.output[:d.n*l.out], l.input[:d.n*l.in], d.pool)
		bias := d.params[l.bias():l.end()]
		for r := range d.n {
			addBias(l.output[r*l.out:(r+1)*l.out], bias, l != last)
		}
	}
	return last.output[:d.n*last.out]
}

// addBias adds the biases to a row of outputs, and then sets what is negative to
// zero if so asked. A NaN stays one.
func addBias(row, bias []float32, relu bool) {
	bias = bias[:len(row)]
	for i, b := range bias {
		v := row[i] + b
		if relu && v < 0 {
			v = 0
		}
		row[i] = v
	}
}

func (d *dense) propagate() {
	for i := len(d.layers) - 1; i > 0; i-- {
		l, below := &d.layers[i], &d.layers[i-1]
		l.inOut.Mul(below.slope[:d.n*l.in], l.slope[:d.n*l.out], d.pool)
		for j, v := range below.output[:d.n*l.in] {
			if v == 0 {
				below.slope[j] = 0
			}
		}
	}
}

func (d *dense) squares(dst []float64) {
	clear(dst[:d.n])
	for i := range d.layers {
		l := &d.layers[i]
		for r := range d.n {
			in, slope := square(l.input[r*l.in:(r+1)*l.in]), square(l.slope[r*l.out:(r+1)*l.out])
			dst[r] += float64((in + 1) * slope) // a bias has an input of 1
		}
	}
}

func (d *dense) scale(by []float32) {
	for i := range d.layers {
		l := &d.layers[i]
		for r, f := range by[:d.n] {
			multiply(l.slope[r*l.out:(r+1)*l.out], f)
		}
	}
}

func (d *dense) accumulate(grad []float32, fresh bool) {
	for i := range d.layers {
		l := &d.layers[i]
		clear(l.input[d.n*l.in:]) // rows that the chunk has not, whose slopes are an earlier chunk's
		l.inRow.SetColumns(l.input)
		transpose(l.outRow, l.slope, l.out)
		weights, bias := grad[l.at:l.bias()], grad[l.bias():l.end()]
		if fresh {
			l.inRow.Mul(weights, l.outRow, d.pool)
			clear(bias)
		} else {
			if l.sum == nil {
				l.sum = make([]float32, l.in*l.out)
			}
			l.inRow.Mul(l.sum, l.outRow, d.pool)
			repro.Add(weights, l.sum, d.pool)
		}
		for r := range d.n {
			repro.AddScaled(bias, 1, l.slope[r*l.out:(r+1)*l.out])
		}
	}
}

// transpose writes the rows of x, of width numbers each, to dst as columns.
func transpose(dst, x []float32, width int) {
	rows := len(x) / width
	for r := range rows {
		for c, v := range x[r*width : (r+1)*width] {
			dst[c*rows+r] = v
		}
	}
}

func multiply(x []float32, by float32) {
	for i := range x {
		x[i] *= by
	}
}

// square is the sum of squares of x. The product of two binary32 numbers is exact in
// binary64, so nothing depends on whether a machine rounds it before it adds.
func square(x []float32) float64 {
	var s float64
	for _, v := range x {
		s += float64(v) * float64(v)
	}
	return s
}
