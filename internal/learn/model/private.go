package model

import (
	"context"
	"fmt"
	"math"

	"atoll/internal/learn"
)

// Private asks for DP-SGD. What it costs follows from Noise, Sample and Steps alone:
// the curve that internal/privacy has for Noise and Sample, times Steps.
type Private struct {
	Steps  int     `json:"steps"`  // of gradient descent
	Sample float64 `json:"sample"` // the chance of each unit to be in a step
	Clip   float64 `json:"clip"`   // the most that a unit's gradient may be long (L2)
	Noise  float64 `json:"noise"`  // the noise's standard deviation, in clips
	// Customers: the unit is all rows with one value of Examples.Units; else a row.
	Customers bool `json:"customers,omitempty"`

	Chance Chance `json:"-"`
}

// Chance is the randomness of private training. What it says must be known to nobody
// who sees the result, or there is no privacy; a site's owner who wants to do the
// training again keeps what it was made of. Central of package
// internal/privacy is one.
type Chance interface {
	// Noise adds to each element of sum an independent draw from a distribution of
	// mean 0 and this standard deviation.
	Noise(sum []float32, sigma float64)
	// Uint64 returns 64 random bits. They decide which units are in a step.
	Uint64() uint64
}

// MaxSteps is the most steps of one private training.
const MaxSteps = 1 << 20

func (p *Private) check() error {
	for _, w := range []struct {
		ok   bool
		want string
	}{
		{p.Steps >= 1 && p.Steps <= MaxSteps, fmt.Sprintf("private steps from 1 to %d", MaxSteps)},
		{p.Sample > 0 && p.Sample <= 1, "a share of units in a step over 0 and up to 1"},
		{p.Clip > 0 && p.Clip <= 1e6, "a clip over 0 and up to 1000000"},
		{p.Noise > 0 && p.Noise <= 1e6, "noise over 0 and up to 1000000 clips"},
		{p.Chance != nil, "a source of chance for the noise"},
	} {
		if !w.ok {
			return fmt.Errorf("%w: want %s", ErrConfig, w.want)
		}
	}
	return nil
}

// private takes noisy steps.
func (t *training) private(ctx context.Context) error {
	p := t.Private
	units, err := t.units()
	if err != nil {
		return err
	}
	// How many units there are is public. What is expected of a step, and not what it
	// happens to have, divides its sum: that tells nothing of who is in it.
	expected := max(float32(p.Sample*float64(len(units))), 1)
	sum := make([]float64, len(t.params)) // so wide that what is rounded away is far below the noise
	for range p.Steps {
		if err := ctx.Err(); err != nil {
			return err
		}
		t.net.load(t.params)
		clear(sum)
		if err := t.addClipped(sum, p.draw(units)); err != nil {
			return err
		}
		for i, v := range sum {
			t.grad[i] = float32(v)
		}
		p.Chance.Noise(t.grad, p.Noise*p.Clip)
		t.step(expected)
	}
	return nil
}

// draw casts a lot for each unit, and returns those that are in a step.
func (p *Private) draw(units [][]int) [][]int {
	var drawn [][]int
	for _, u := range units {
		if float64(p.Chance.Uint64()>>11)*0x1p-53 < p.Sample {
			drawn = append(drawn, u)
		}
	}
	return drawn
}

// units returns the rows of each unit. Customers come in the order of their first row.
func (t *training) units() ([][]int, error) {
	var out [][]int
	if !t.Private.Customers {
		for i := range t.rows.Len() {
			out = append(out, []int{i})
		}
		return out, nil
	}
	if t.rows.Units == nil {
		return nil, fmt.Errorf("%w: they do not say which customer they are of; name the column of customers in the features", learn.ErrExamples)
	}
	index := make(map[uint64]int)
	for i, unit := range t.rows.Units {
		at, ok := index[unit]
		if !ok {
			at = len(out)
			index[unit] = at
			out = append(out, nil)
		}
		out[at] = append(out[at], i)
	}
	return out, nil
}

// addClipped adds the clipped gradient of each unit to sum.
func (t *training) addClipped(sum []float64, units [][]int) error {
	if t.Private.Customers {
		for _, rows := range units {
			if _, err := t.gradient(rows); err != nil {
				return err
			}
			widen(sum, t.Private.factor(square(t.grad)), t.grad)
		}
		return nil
	}
	rows := make([]int, 0, len(units))
	for _, u := range units {
		rows = append(rows, u...)
	}
	squares, by := make([]float64, t.room), make([]float32, t.room)
	for chunk := range t.chunks(rows) {
		if _, err := t.slopes(chunk); err != nil {
			return err
		}
		t.net.squares(squares)
		for i, s := range squares[:len(chunk)] {
			by[i] = t.Private.factor(s)
		}
		t.net.scale(by)
		t.net.accumulate(t.grad, true)
		widen(sum, 1, t.grad)
	}
	return nil
}

// widen adds x, times by, to sum.
func widen(sum []float64, by float32, x []float32) {
	sum = sum[:len(x)]
	for i, v := range x {
		sum[i] += float64(by) * float64(v) // exact in binary64: fused or not, it is the same
	}
}

// factor is what a gradient of this squared length is multiplied with, so that it is
// no longer than Clip. A millionth is kept back for what rounding may add.
func (p *Private) factor(square float64) float32 {
	limit := p.Clip * (1 - 0x1p-20)
	if length := math.Sqrt(square); length > limit {
		return float32(limit / length)
	}
	return 1
}
