package model

import (
	"context"
	"fmt"
	"math"

	"atoll/internal/repro"
)

// Private asks for DP-SGD. What it costs follows from Noise, Sample and Steps alone.
type Private struct {
	Steps  int     `json:"steps"`  // of gradient descent
	Sample float64 `json:"sample"` // the chance of each unit to be in a step
	Clip   float64 `json:"clip"`   // the most that a unit's gradient may be long (L2)
	Noise  float64 `json:"noise"`  // the noise's standard deviation, in clips
	// Persons: the unit is all rows with one value of Examples.Units; else a row.
	Persons bool `json:"persons,omitempty"`

	Chance Chance `json:"-"`
}

// Chance is the randomness of private training. What it says must be known to nobody
// who sees the result, or there is no privacy; a site's owner who wants to do the
// training again keeps what it was made of.
type Chance interface {
	// Noise adds to each element of dst an independent draw from the normal
	// distribution of mean 0 and this standard deviation.
	Noise(dst []float32, sigma float64)
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
	units := t.units()
	// The number of units counts as known. What is expected of a step, and not what
	// a step happens to have, divides its sum: that is no function of chance.
	expected := max(float32(p.Sample*float64(len(units))), 1)
	add := t.addRecords
	if p.Persons {
		add = t.persons()
	}
	drawn := make([][]int, 0, len(units))
	for range p.Steps {
		if err := ctx.Err(); err != nil {
			return err
		}
		drawn = drawn[:0]
		for _, u := range units {
			if p.drawn() {
				drawn = append(drawn, u)
			}
		}
		t.net.load(t.params)
		clear(t.grad)
		if err := add(drawn); err != nil {
			return err
		}
		p.Chance.Noise(t.grad, float64(p.Noise*p.Clip))
		t.step(expected)
	}
	return nil
}

// drawn casts one unit's lot.
func (p *Private) drawn() bool {
	return float64(p.Chance.Uint64()>>11)*0x1p-53 < p.Sample
}

// units returns the rows of each unit. Persons come in the order of their first row.
func (t *training) units() [][]int {
	n := t.rows.Len()
	var out [][]int
	if !t.Private.Persons {
		for i := range n {
			out = append(out, []int{i})
		}
		return out
	}
	index := make(map[uint64]int)
	for i := range n {
		unit := uint64(i)
		if t.rows.Units != nil {
			unit = t.rows.Units[i]
		}
		at, ok := index[unit]
		if !ok {
			at = len(out)
			index[unit] = at
			out = append(out, nil)
		}
		out[at] = append(out[at], i)
	}
	return out
}

// addRecords adds the clipped gradient of each row.
func (t *training) addRecords(drawn [][]int) error {
	rows := make([]int, 0, len(drawn))
	for _, u := range drawn {
		rows = append(rows, u...)
	}
	squares, by := make([]float64, t.room), make([]float32, t.room)
	_, err := t.gradient(t.grad, rows, func(n int) {
		t.net.squares(squares)
		for i, s := range squares[:n] {
			by[i] = t.Private.factor(s)
		}
		t.net.scale(by)
	})
	return err
}

// persons returns what adds the clipped gradient of each person.
func (t *training) persons() func(drawn [][]int) error {
	own := make([]float32, len(t.grad))
	return func(drawn [][]int) error {
		for _, rows := range drawn {
			if _, err := t.gradient(own, rows, nil); err != nil {
				return err
			}
			repro.AddScaled(t.grad, t.Private.factor(square(own)), own)
		}
		return nil
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
