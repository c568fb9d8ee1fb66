package merge

import (
	"errors"
	"fmt"
	"math"

	"atoll/internal/repro"
)

// Method is a way to make a step of the sites' mean update.
type Method string

// The methods. FedAvg adds the mean as it is. FedAdam treats it as a gradient (Reddi et
// al., "Adaptive federated optimization", 2021: no correction of the early averages, ε
// beside the root). Momentum is heavy-ball (Hsu et al., "Measuring the effects of
// non-identical data distribution", 2019: FedAvgM), Nesterov its look-ahead form, which
// is the outer step of DiLoCo (Douillard et al., 2023: rate 0.7, momentum 0.9).
const (
	FedAvg   Method = "fedavg"
	FedAdam  Method = "fedadam"
	Momentum Method = "momentum"
	Nesterov Method = "nesterov"
)

// ErrOptimizer means that there is no such optimizer, or that its state is another's.
var ErrOptimizer = errors.New("no such optimizer")

// Optimizer steers the step. A zero field means its default.
type Optimizer struct {
	Method   Method  `json:"method"`
	Rate     float32 `json:"rate,omitempty"`     // fedavg and momentum 1, fedadam 0.01, nesterov 0.7
	Momentum float32 `json:"momentum,omitempty"` // 0.9; in fedadam β₁
	Beta2    float32 `json:"beta2,omitempty"`    // fedadam: 0.99
	Epsilon  float32 `json:"epsilon,omitempty"`  // fedadam: 0.001
}

// State is what an optimizer remembers. Its zero value is the start.
type State struct {
	Rounds int       `json:"rounds"`
	First  []float32 `json:"first,omitempty"`  // running mean, or velocity
	Second []float32 `json:"second,omitempty"` // fedadam: running mean of squares
}

func (o Optimizer) withDefaults() (Optimizer, error) {
	rate := float32(1)
	switch o.Method {
	case FedAvg, Momentum:
	case FedAdam:
		rate = 0.01
	case Nesterov:
		rate = 0.7
	default:
		return o, fmt.Errorf("%w: method %.40q, want %s, %s, %s or %s", ErrOptimizer, string(o.Method), FedAvg, FedAdam, Momentum, Nesterov)
	}
	if adam := o.Method == FedAdam; !adam && (o.Beta2 != 0 || o.Epsilon != 0) || o.Method == FedAvg && o.Momentum != 0 {
		return o, fmt.Errorf("%w: %s has no such setting: momentum %g, beta2 %g, epsilon %g", ErrOptimizer, o.Method, o.Momentum, o.Beta2, o.Epsilon)
	}
	for _, d := range []struct {
		at   *float32
		is   float32
		most float32
		name string
	}{{&o.Rate, rate, 100, "rate"}, {&o.Momentum, 0.9, 0.9999, "momentum"}, {&o.Beta2, 0.99, 0.9999, "beta2"}, {&o.Epsilon, 1e-3, 1, "epsilon"}} {
		if *d.at == 0 {
			*d.at = d.is
		}
		if !(*d.at > 0 && *d.at <= d.most) {
			return o, fmt.Errorf("%w: %s %g, want over 0 and up to %g", ErrOptimizer, d.name, *d.at, d.most)
		}
	}
	return o, nil
}

// Check refuses settings that no optimizer has.
func (o Optimizer) Check() error { _, err := o.withDefaults(); return err }

// Step returns the parameters and the state after a round whose mean update is given.
// Its arguments are not changed.
func (o Optimizer) Step(params, mean []float32, s State) ([]float32, State, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, State{}, err
	}
	if len(mean) != len(params) {
		return nil, State{}, fmt.Errorf("%w: %d numbers for %d parameters", ErrUpdates, len(mean), len(params))
	}
	next, err := o.begin(s, len(params))
	if err != nil {
		return nil, State{}, err
	}
	out := append([]float32(nil), params...)
	switch o.Method {
	case FedAvg:
		repro.AddScaled(out, o.Rate, mean)
	case Momentum:
		repro.Decay(next.First, o.Momentum, 1, mean)
		repro.AddScaled(out, o.Rate, next.First)
	case Nesterov:
		repro.Decay(next.First, o.Momentum, 1, mean)
		repro.AddScaled(out, o.Rate, mean)
		repro.AddScaled(out, float32(o.Rate*o.Momentum), next.First)
	case FedAdam:
		o.adam(out, mean, next)
	}
	if err := errors.Join(repro.Finite(out), repro.Finite(next.First), repro.Finite(next.Second)); err != nil {
		return nil, State{}, fmt.Errorf("%w: the step leaves the finite numbers; a lower rate helps: %w", ErrUpdates, err)
	}
	return out, next, nil
}

// begin returns the next round's state, before the step, from the last one's.
func (o Optimizer) begin(s State, size int) (State, error) {
	first, second := o.Method != FedAvg, o.Method == FedAdam
	next := State{Rounds: s.Rounds + 1}
	if s.Rounds == 0 && s.First == nil && s.Second == nil {
		if first {
			next.First = make([]float32, size)
		}
		if second {
			next.Second = make([]float32, size)
		}
		return next, nil
	}
	if s.Rounds < 1 || !fits(s.First, first, size) || !fits(s.Second, second, size) {
		return State{}, fmt.Errorf("%w: a state of round %d with %d and %d numbers is not one of %s over %d", ErrOptimizer, s.Rounds, len(s.First), len(s.Second), o.Method, size)
	}
	next.First, next.Second = append([]float32(nil), s.First...), append([]float32(nil), s.Second...)
	return next, nil
}

func fits(x []float32, used bool, size int) bool {
	if used {
		return len(x) == size
	}
	return len(x) == 0
}

func (o Optimizer) adam(out, mean []float32, s State) {
	repro.Decay(s.First, o.Momentum, 1-o.Momentum, mean)
	for i, u := range mean {
		v := float32(o.Beta2*s.Second[i]) + float32((1-o.Beta2)*float32(u*u))
		s.Second[i] = v
		root := float32(math.Sqrt(float64(v)))
		out[i] += float32(o.Rate*s.First[i]) / float32(root+o.Epsilon)
	}
}
