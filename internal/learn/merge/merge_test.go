package merge_test

import (
	"encoding/json"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"atoll/internal/learn/merge"
)

func TestMean(t *testing.T) {
	t.Parallel()
	got, err := merge.Mean([][]float32{{1, 2}, {4, -4}}, []int{2, 1})
	if err != nil || !near(got, []float64{2, 0}) {
		t.Errorf("%v, %v", got, err)
	}
	sum := []float32{6, 0}
	if err := merge.Divide(sum, 3); err != nil || sum[0] != 2 {
		t.Errorf("%v, %v", sum, err)
	}
	inf := float32(math.Inf(1))
	for want, f := range map[string]func() ([]float32, error){
		"0 updates":                func() ([]float32, error) { return merge.Mean(nil, nil) },
		"1 updates with 2":         func() ([]float32, error) { return merge.Mean([][]float32{{1}}, []int{1, 2}) },
		"weight 0":                 func() ([]float32, error) { return merge.Mean([][]float32{{1}}, []int{0}) },
		"update 1 has 2 numbers":   func() ([]float32, error) { return merge.Mean([][]float32{{1}, {1, 2}}, []int{1, 1}) },
		"update 1: element 0":      func() ([]float32, error) { return merge.Mean([][]float32{{1}, {inf}}, []int{1, 1}) },
		"sum of weight 0":          func() ([]float32, error) { return nil, merge.Divide(nil, 0) },
		"their mean: element 0 is": func() ([]float32, error) { return nil, merge.Divide([]float32{3e38}, 1e-9) },
	} {
		if _, err := f(); !errors.Is(err, merge.ErrUpdates) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

func near(got []float32, want []float64) bool {
	for i, v := range got {
		if math.Abs(float64(v)-want[i]) > 1e-5*(1+math.Abs(want[i])) {
			return false
		}
	}
	return len(got) == len(want)
}

// reference are the methods as their papers write them, in binary64.
func reference(o merge.Optimizer, x, u []float64, m, v []float64) {
	for i := range x {
		switch o.Method {
		case merge.FedAvg:
			x[i] += u[i]
		case merge.Momentum:
			m[i] = 0.9*m[i] + u[i]
			x[i] += m[i]
		case merge.Nesterov:
			m[i] = 0.9*m[i] + u[i]
			x[i] += 0.7 * (u[i] + 0.9*m[i])
		case merge.FedAdam:
			m[i] = 0.9*m[i] + 0.1*u[i]
			v[i] = 0.99*v[i] + 0.01*u[i]*u[i]
			x[i] += 0.01 * m[i] / (math.Sqrt(v[i]) + 1e-3)
		}
	}
}

// Each method does what its paper says, its arguments stay as they were, and a state
// that was stored and read again goes on alike.
func TestOptimizers(t *testing.T) {
	t.Parallel()
	for _, method := range []merge.Method{merge.FedAvg, merge.FedAdam, merge.Momentum, merge.Nesterov} {
		rapid.Check(t, func(t *rapid.T) {
			o := merge.Optimizer{Method: method}
			n := rapid.IntRange(1, 4).Draw(t, "n")
			draw := rapid.SliceOfN(rapid.Float32Range(-2, 2), n, n)
			params := draw.Draw(t, "params")
			x, m, v := wide(params), make([]float64, n), make([]float64, n)
			var state merge.State
			for round := range 4 {
				mean := draw.Draw(t, "mean")
				before, was := slices.Clone(params), slices.Clone(mean)
				b, err := json.Marshal(state)
				if err != nil {
					t.Fatal(err)
				}
				var stored, untouched merge.State
				if err := errors.Join(json.Unmarshal(b, &stored), json.Unmarshal(b, &untouched)); err != nil {
					t.Fatal(err)
				}
				next, s, err := o.Step(params, mean, state)
				if err != nil {
					t.Fatal(err)
				}
				again, _, err := o.Step(params, mean, stored)
				if err != nil || !slices.Equal(again, next) || !slices.Equal(before, params) || !slices.Equal(was, mean) || s.Rounds != round+1 {
					t.Fatalf("round %d: %v and %v from equal arguments, which are now %v, %v; %v", round, next, again, params, mean, err)
				}
				if state.Rounds != untouched.Rounds || !slices.Equal(state.First, untouched.First) || !slices.Equal(state.Second, untouched.Second) {
					t.Fatalf("round %d: the state before it is now %+v, was %+v", round, state, untouched)
				}
				reference(o, x, wide(mean), m, v)
				for i := range x {
					if math.Abs(float64(next[i])-x[i]) > 1e-4*(1+math.Abs(x[i])) {
						t.Fatalf("%s, round %d: %v, want %v", method, round, next, x)
					}
				}
				params, state = next, s
			}
		})
	}
}

func wide(x []float32) []float64 {
	var out []float64
	for _, v := range x {
		out = append(out, float64(v))
	}
	return out
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	one := []float32{1}
	for want, f := range map[string]func() error{
		"method \"sgd\"":  func() error { return merge.Optimizer{Method: "sgd"}.Check() },
		"rate -1":         func() error { return merge.Optimizer{Method: merge.FedAvg, Rate: -1}.Check() },
		"rate NaN":        func() error { return merge.Optimizer{Method: merge.FedAvg, Rate: float32(math.NaN())}.Check() },
		"momentum 1":      func() error { return merge.Optimizer{Method: merge.Momentum, Momentum: 1}.Check() },
		"no such setting": func() error { return merge.Optimizer{Method: merge.FedAvg, Momentum: 0.5}.Check() },
		"beta2 0.5":       func() error { return merge.Optimizer{Method: merge.Nesterov, Beta2: 0.5}.Check() },
		"not one of": func() error {
			_, _, err := merge.Optimizer{Method: merge.FedAdam}.Step(one, one, merge.State{Rounds: 1, First: one})
			return err
		},
		"state of round 0": func() error {
			_, _, err := merge.Optimizer{Method: merge.Momentum}.Step(one, one, merge.State{First: one})
			return err
		},
	} {
		if err := f(); !errors.Is(err, merge.ErrOptimizer) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	for want, f := range map[string]func() error{
		"2 numbers for 1": func() error {
			_, _, err := merge.Optimizer{Method: merge.FedAvg}.Step(one, []float32{1, 2}, merge.State{})
			return err
		},
		"a lower rate helps": func() error {
			_, _, err := merge.Optimizer{Method: merge.FedAvg, Rate: 100}.Step(one, []float32{3e38}, merge.State{})
			return err
		},
	} {
		if err := f(); !errors.Is(err, merge.ErrUpdates) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
