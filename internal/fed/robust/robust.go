// Package robust puts vectors together so that a few which were made to spoil the whole
// do not: the median or the trimmed mean of each coordinate (Yin et al.,
// "Byzantine-robust distributed learning: towards optimal statistical rates", 2018), in
// place of the mean.
//
// Under secure aggregation nobody sees a single update, so the vectors are the means of
// groups of sites. One poisoner taints its group: the larger the groups, the more a group
// hides, and the fewer poisoners the rule withstands. [Taint] and [Poisoners] are that
// trade in numbers, and [Exposed] is its other side.
//
// All of it is pure, over flat vectors, with the same bits on every machine.
package robust

import (
	"math"
	"slices"

	"atoll/internal/core"
	"atoll/internal/repro"
)

// Name of a rule.
type Name string

// The rules.
const (
	Median  Name = "median"
	Trimmed Name = "trimmed"
)

// Rule is one of them. Trimmed leaves out the lowest and the highest of each coordinate,
// of so many vectors the share Trim on either side.
type Rule struct {
	Name Name    `json:"rule"`
	Trim float64 `json:"trim,omitempty"`
}

// Check refuses what is no rule. Its errors are core.Invalid and name the field.
func (r Rule) Check() error {
	switch {
	case r.Name == Median && r.Trim != 0:
		return core.Errorf(core.Invalid, "a median trims nothing: want no trim of %g", r.Trim).At("trim")
	case r.Name == Trimmed && !(r.Trim > 0 && r.Trim < 0.5):
		return core.Errorf(core.Invalid, "a share of %g is trimmed on either side: want more than 0, and under 0.5", r.Trim).At("trim")
	case r.Name != Median && r.Name != Trimmed:
		return core.Errorf(core.Invalid, "a rule %.40q: want median or trimmed", r.Name).At("rule")
	}
	return nil
}

// Breakdown is the share of tainted vectors from which on they have their way.
func (r Rule) Breakdown() float64 {
	if r.Name == Median {
		return 0.5
	}
	return r.Trim
}

// Withstands is how many tainted vectors of n the rule is proof against: with so many
// each coordinate of what comes out lies between those of honest vectors.
func (r Rule) Withstands(n int) int {
	if r.Name == Median {
		return max(n-1, 0) / 2
	}
	return int(r.Trim*float64(n) + 1e-9) // 0.29 · 100 is a little less than 29
}

// Of applies the rule to vectors of one length. Its errors are core.Invalid, but for too
// few vectors, of which it could not withstand a single one: core.Unavailable.
func (r Rule) Of(vectors [][]float32) ([]float32, error) {
	if err := r.Check(); err != nil {
		return nil, err
	}
	cut := r.Withstands(len(vectors))
	if cut == 0 {
		return nil, core.Errorf(core.Unavailable, "the %s of %d vectors withstands no tainted one: it takes more", r.Name, len(vectors))
	}
	for i, v := range vectors {
		if len(v) != len(vectors[0]) {
			return nil, core.Errorf(core.Invalid, "vector %d has %d numbers, the first %d", i, len(v), len(vectors[0]))
		}
		if err := repro.Finite(v); err != nil {
			return nil, core.Errorf(core.Invalid, "vector %d: %w", i, err)
		}
	}
	out := make([]float32, len(vectors[0]))
	column := make([]float32, len(vectors))
	for j := range out {
		for i, v := range vectors {
			column[i] = v[j]
		}
		slices.Sort(column)
		out[j] = mean(column[cut : len(column)-cut]) // of a median one or two are left
	}
	return out, nil
}

func mean(x []float32) float32 {
	sum := 0.0
	for _, v := range x {
		sum += float64(v)
	}
	return float32(sum / float64(len(x)))
}

// Taint is the expected share of groups of a size that have a poisoner, where that share
// of all sites are.
func Taint(group int, poisoners float64) float64 {
	return 1 - math.Pow(1-poisoners, float64(group))
}

// Poisoners is the share of poisoners at which that share of groups is expected to be
// tainted.
func Poisoners(group int, tainted float64) float64 {
	return 1 - math.Pow(1-tainted, 1/float64(group))
}

// Exposed is the chance that of the others in a site's group at least so many work with
// the hub, where corrupt of the other n − 1 sites do, and groups are dealt at random.
func Exposed(n, corrupt, group, atLeast int) (chance float64) {
	others, drawn := n-1, group-1
	for k := atLeast; k <= min(corrupt, drawn); k++ {
		if drawn-k <= others-corrupt {
			chance += math.Exp(logChoose(corrupt, k) + logChoose(others-corrupt, drawn-k) - logChoose(others, drawn))
		}
	}
	return min(chance, 1)
}

func logChoose(n, k int) float64 {
	a, _ := math.Lgamma(float64(n + 1))
	b, _ := math.Lgamma(float64(k + 1))
	c, _ := math.Lgamma(float64(n - k + 1))
	return a - b - c
}
