package privacy

import (
	_ "embed"
	"encoding/json"
	"math"
	"testing"

	"pgregory.net/rapid"

	"atoll/internal/core"
)

//go:embed testdata/vectors.json
var vectorsJSON []byte

// vectors are what others compute; testdata/vectors.py made them.
type vectors struct {
	Runs []struct {
		Rate, Noise, Delta, RDP, PLD float64
		Rounds                       int
	}
	Divergences []struct {
		Rate, Noise float64
		Orders, RDP []float64
	}
	Targets []struct {
		Epsilon, Delta, Rate, Noise float64
		Rounds                      int
	}
	Skellam []struct {
		Variance, Shift float64
		Orders, RDP     []float64
	}
}

func load(t *testing.T) (v vectors) {
	t.Helper()
	if err := json.Unmarshal(vectorsJSON, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func at(c Curve, order float64) float64 {
	for i, a := range Orders {
		if a == order {
			return c[i]
		}
	}
	return math.NaN()
}

// At whole orders our divergences of Gaussian noise, sampled or not, are dp-accounting's.
func TestDivergencesOfOthers(t *testing.T) {
	t.Parallel()
	for _, v := range load(t).Divergences {
		c, err := Gaussian(v.Noise, v.Rate)
		if err != nil {
			t.Fatal(err)
		}
		for i, order := range v.Orders {
			if got := at(c, order); !(math.Abs(got-v.RDP[i]) <= 1e-9*v.RDP[i]+1e-13) {
				t.Errorf("rate %g, noise %g, order %g: %.12g, dp-accounting says %.12g", v.Rate, v.Noise, order, got, v.RDP[i])
			}
		}
	}
}

// ε over whole runs is at most 1.5 percent above dp-accounting's by the same method
// (below it where our orders are denser), and above what privacy loss distributions
// give, but not far above.
func TestEpsilonOfOthers(t *testing.T) {
	t.Parallel()
	for _, v := range load(t).Runs {
		c, err := Gaussian(v.Noise, v.Rate)
		if err != nil {
			t.Fatal(err)
		}
		got, order := c.Times(v.Rounds).Epsilon(v.Delta)
		t.Logf("rate %g, noise %g, %d rounds, δ %g: ε %.4f at order %g; dp-accounting %.4f (%+.2f %%), PLD %.4f (%+.1f %%)",
			v.Rate, v.Noise, v.Rounds, v.Delta, got, order, v.RDP, 100*(got/v.RDP-1), v.PLD, 100*(got/v.PLD-1))
		if got < v.RDP*0.9 || got > v.RDP*1.015 {
			t.Errorf("ε %g, dp-accounting has %g", got, v.RDP)
		}
		if got < v.PLD || got > v.PLD*1.35 {
			t.Errorf("ε %g, its PLD accountant has %g", got, v.PLD)
		}
	}
}

func TestNoiseOfOthers(t *testing.T) {
	t.Parallel()
	for _, v := range load(t).Targets {
		got, err := Target{Epsilon: v.Epsilon, Delta: v.Delta, Rounds: v.Rounds, Rate: v.Rate}.Noise()
		if err != nil || math.Abs(got/v.Noise-1) > 0.01 {
			t.Errorf("%+v: noise %g (%v)", v, got, err)
		}
	}
}

// The bound for Skellam noise is above the divergence itself and, with noise worth
// the name, close to it.
func TestSkellamBoundsTheTruth(t *testing.T) {
	t.Parallel()
	for _, v := range load(t).Skellam {
		c, err := Skellam(v.Shift, v.Shift, v.Variance, 1)
		if err != nil {
			t.Fatal(err)
		}
		for i, order := range v.Orders {
			got, truth := at(c, order), v.RDP[i]
			if got < truth*(1-1e-12) {
				t.Errorf("variance %g, shift %g, order %g: bound %g is under the truth, %g", v.Variance, v.Shift, order, got, truth)
			}
			if v.Variance >= 100 && got > truth*1.35 {
				t.Errorf("variance %g, shift %g, order %g: bound %g, truth %g", v.Variance, v.Shift, order, got, truth)
			}
		}
	}
}

// By hand, once with either of the two terms.
func TestSkellamByHand(t *testing.T) {
	t.Parallel()
	c, err := Skellam(3, 2, 10, 1)
	if err != nil {
		t.Fatal(err)
	}
	for order, want := range map[float64]float64{2: 0.4 + 0.075, 64: 12.8 + 0.45} {
		if got := at(c, order); math.Abs(got-want) > 1e-12 {
			t.Errorf("order %g: %g, want %g", order, got, want)
		}
	}
}

// With noise that is large against the grid Skellam costs what Gaussian noise does.
func TestSkellamNearsGaussian(t *testing.T) {
	t.Parallel()
	const l2 = 5000.0
	want, err := Target{Epsilon: 2, Delta: 1e-6, Rounds: 30}.Noise()
	if err != nil {
		t.Fatal(err)
	}
	variance, err := Target{Epsilon: 2, Delta: 1e-6, Rounds: 30}.SkellamVariance(l2*300, l2)
	if err != nil {
		t.Fatal(err)
	}
	if ratio := math.Sqrt(variance) / l2 / want; ratio < 1 || ratio > 1.001 {
		t.Errorf("%g times the standard deviation of Gaussian noise", ratio)
	}
}

// Whatever is asked for: the noise found keeps the target, a thousandth less does not,
// ε and δ invert each other, and sampling, fewer rounds or more noise never cost more.
func TestTargets(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		target := Target{
			Epsilon: math.Exp(rapid.Float64Range(-2, 3).Draw(t, "ln ε")),
			Delta:   math.Exp(rapid.Float64Range(-25, -4).Draw(t, "ln δ")),
			Rounds:  rapid.IntRange(1, 500).Draw(t, "rounds"),
			Rate:    rapid.SampledFrom([]float64{0, 0.001, 0.03, 0.5, 1}).Draw(t, "rate"),
		}
		noise, err := target.Noise()
		if err != nil {
			t.Fatal(err)
		}
		spend := func(noise float64, rounds int) Curve {
			c, err := Gaussian(noise, target.rate())
			if err != nil {
				t.Fatal(err)
			}
			return c.Times(rounds)
		}
		e, _ := spend(noise, target.Rounds).Epsilon(target.Delta)
		less, _ := spend(noise*0.999, target.Rounds).Epsilon(target.Delta)
		if e > target.Epsilon || less <= target.Epsilon {
			t.Errorf("%+v: noise %g gives ε %g, a little less gives %g", target, noise, e, less)
		}
		if d, _ := spend(noise, target.Rounds).Delta(e); math.Abs(d/target.Delta-1) > 1e-6 {
			t.Errorf("%+v: ε %g gives δ %g", target, e, d)
		}
		if more, _ := spend(noise, target.Rounds+1).Epsilon(target.Delta); more < e {
			t.Errorf("%+v: one round more costs less", target)
		}
	})
}

func TestNothingCostsNothing(t *testing.T) {
	t.Parallel()
	if e, _ := (Curve{}).Epsilon(1e-9); e != 0 {
		t.Errorf("ε %g", e)
	}
	if d, _ := (Curve{}).Delta(0); d != 0 {
		t.Errorf("δ %g", d)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	good := Target{Epsilon: 1, Delta: 1e-5, Rounds: 1}
	for name, change := range map[string]func(*Target){
		"ε 0":       func(t *Target) { t.Epsilon = 0 },
		"ε < 0":     func(t *Target) { t.Epsilon = -1 },
		"ε NaN":     func(t *Target) { t.Epsilon = math.NaN() },
		"ε ∞":       func(t *Target) { t.Epsilon = math.Inf(1) },
		"ε tiny":    func(t *Target) { t.Epsilon = 1e-3 },
		"δ 0":       func(t *Target) { t.Delta = 0 },
		"δ 1":       func(t *Target) { t.Delta = 1 },
		"no rounds": func(t *Target) { t.Rounds = 0 },
		"rate < 0":  func(t *Target) { t.Rate = -0.1 },
		"rate > 1":  func(t *Target) { t.Rate = 1.1 },
	} {
		target := good
		change(&target)
		if n, err := target.Noise(); core.KindOf(err) != core.Invalid {
			t.Errorf("%s: noise %g, %v", name, n, err)
		}
	}
	for _, s := range [][4]float64{{0, 0, 1, 1}, {1, 2, 1, 1}, {2, 1, 0, 1}, {2, 1, 1, 0}, {math.NaN(), 1, 1, 1}} {
		if _, err := Skellam(s[0], s[1], s[2], s[3]); core.KindOf(err) != core.Invalid {
			t.Errorf("Skellam%v: %v", s, err)
		}
	}
	if _, err := Gaussian(0, 1); core.KindOf(err) != core.Invalid {
		t.Error(err)
	}
}

func TestShares(t *testing.T) {
	t.Parallel()
	share, err := Cohort{Clients: 10, Least: 7, Corrupt: 3}.Share(100)
	if err != nil || share != 25 {
		t.Errorf("%g, %v: four honest survivors must add up to 100", share, err)
	}
	for _, c := range []Cohort{{10, 11, 0}, {10, 0, 0}, {10, 3, 3}, {10, 3, -1}, {}} {
		if _, err := c.Share(100); core.KindOf(err) != core.Invalid {
			t.Errorf("%+v: %v", c, err)
		}
	}
}
