package model

import (
	"math"
	"testing"

	"atoll/internal/keystream"
	"atoll/internal/privacy"
)

// chance makes noise of a stream that can be had again, for tests alone.
func chance(t testing.TB, s Spec, clip, noise float64) Chance {
	t.Helper()
	c, err := privacy.NewCentral(s.Size(), clip, noise, keystream.Public(keystream.Seed{1}, "test"))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// One unit, whatever its rows, moves the sum by no more than the clip, and the chance
// decides who takes part.
func TestPrivateSumsAreBounded(t *testing.T) {
	t.Parallel()
	s := Spec{Kind: MLP, Inputs: 6, Hidden: []int{7}, Classes: classes(2)}
	rows := blobs(3, 60, 6, 2)
	for i := range rows.X {
		rows.X[i] *= 1000
	}
	rows.Units = make([]uint64, 60)
	for i := range rows.Units {
		rows.Units[i] = uint64(i / 20)
	}
	for customers, want := range map[bool]int{false: 60, true: 3} {
		for _, clip := range []float64{0.125, 1e-3, 3} {
			tr := newTraining(t, s, randomParams(s), rows)
			tr.Private = &Private{Clip: clip, Customers: customers}
			units, err := tr.units()
			if err != nil || len(units) != want {
				t.Fatalf("%d units, want %d: %v", len(units), want, err)
			}
			var longest float64
			sum := make([]float64, len(tr.grad))
			for _, u := range units {
				clear(sum)
				if err := tr.addClipped(sum, [][]int{u}); err != nil {
					t.Fatal(err)
				}
				var square float64
				for _, v := range sum {
					square += v * v
				}
				longest = max(longest, math.Sqrt(square))
			}
			if longest > clip || longest < clip*0.99 {
				t.Fatalf("customers %t: the longest gradient clipped to %g has length %g", customers, clip, longest)
			}
		}
	}
}

// A gradient a little longer than the clip is shortened, one a little shorter is not.
func TestClipping(t *testing.T) {
	t.Parallel()
	p := Private{Clip: 2}
	for _, length := range []float64{0, 1e-9, 1.99, 2.001, 2.1, 4, 1e30} {
		got := float64(p.factor(length*length)) * length
		if got > 2 || length < 2 && got != length || length > 2 && got < 1.999 {
			t.Errorf("a gradient of length %g becomes one of %g", length, got)
		}
	}
}

// With hardly any noise, a clip that nothing reaches and all rows in each step, private
// training is gradient descent.
func TestPrivateTrainingWithoutPrivacy(t *testing.T) {
	t.Parallel()
	pool := newPool(t, 1, fastest())
	s := Spec{Kind: MLP, Inputs: 6, Hidden: []int{7}, Classes: classes(3)}
	rows := blobs(3, 60, 6, 3)
	for i := range rows.Len() {
		rows.Units = append(rows.Units, uint64(i/20))
	}
	plain, err := Train(t.Context(), s, s.Start(1), rows, Config{Epochs: 10, Batch: 60, Rate: 0.1}, pool)
	if err != nil {
		t.Fatal(err)
	}
	for customers, units := range map[bool]float32{false: 60, true: 3} {
		p := &Private{Steps: 10, Sample: 1, Clip: 100, Noise: 1e-6, Customers: customers, Chance: chance(t, s, 100, 1e-6)}
		private, err := Train(t.Context(), s, s.Start(1), rows, Config{Rate: 0.1 / 60 * units, Private: p}, pool)
		if err != nil {
			t.Fatal(err)
		}
		for i, v := range plain.Delta {
			// The noise lies on a grid, to which the sum is rounded.
			if math.Abs(float64(private.Delta[i]-v)) > 2e-3 {
				t.Fatalf("customers %t: parameter %d moves by %g, without privacy by %g", customers, i, private.Delta[i], v)
			}
		}
		if private.Loss != 0 {
			t.Error("the loss of private training is told")
		}
	}
}

// The noise of a step is as large as was asked for.
func TestNoise(t *testing.T) {
	t.Parallel()
	s := Spec{Kind: MLP, Inputs: 20, Hidden: []int{50}, Classes: classes(2)}
	p := &Private{Steps: 1, Sample: 0.5, Clip: 0.01, Noise: 3, Chance: chance(t, s, 0.01, 3)}
	u, err := Train(t.Context(), s, s.Start(1), blobs(1, 40, 20, 2), Config{Rate: 1, Private: p}, newPool(t, 1, fastest()))
	if err != nil {
		t.Fatal(err)
	}
	want := 3 * 0.01 / 20 // noise times clip, over the rows expected in a step
	if got := math.Sqrt(square(u.Delta) / float64(len(u.Delta))); math.Abs(got-want) > 0.05*want {
		t.Errorf("the step's deviation is %g, want %g", got, want)
	}
}

// A step takes each unit by chance, and may take none.
func TestPoissonSampling(t *testing.T) {
	t.Parallel()
	s := Spec{Kind: Logistic, Inputs: 3, Classes: classes(2)}
	p := Private{Sample: 0.3, Chance: chance(t, s, 1, 1)}
	if n := len(p.draw(make([][]int, 10_000))); n < 2800 || n > 3200 {
		t.Errorf("%d of 10000 drawn with a chance of 0.3", n)
	}
	few := Config{Rate: 0.1, Private: &Private{Steps: 50, Sample: 1e-6, Clip: 1, Noise: 1, Chance: chance(t, s, 1, 1)}}
	if u, err := Train(t.Context(), s, s.Start(1), blobs(1, 10, 3, 2), few, newPool(t, 1, fastest())); err != nil || u.Steps != 50 {
		t.Errorf("steps without anybody: %+v, %v", u, err)
	}
}
