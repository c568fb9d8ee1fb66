package privacy

import (
	"math"
	"testing"
)

// For noise on one integer, δ follows from the definition: the sum over all outcomes of
// max(0, P − e^ε·Q), with P and Q the distributions with and without one unit, and the
// other way round. No claim of the accountant may be below it, with sampling and without, over
// one round and two.
func TestClaimsAreAboveTheTruth(t *testing.T) {
	t.Parallel()
	const shift = 3
	for _, variance := range []float64{4, 20, 60} {
		for _, rate := range []float64{1, 0.2} {
			gaussian, err := Gaussian(math.Sqrt(variance)/shift, rate)
			if err != nil {
				t.Fatal(err)
			}
			skellam, err := Skellam(shift, shift, variance, rate)
			if err != nil {
				t.Fatal(err)
			}
			for name, m := range map[string]struct {
				curve Curve
				p     func(k int) float64
			}{"gaussian": {gaussian, gaussianPMF(variance)}, "skellam": {skellam, skellamPMF(variance)}} {
				without, with := pair(m.p, rate, shift)
				for rounds := 1; rounds <= 2; rounds++ {
					if rounds == 2 {
						without, with = square(without), square(with)
					}
					for _, epsilon := range []float64{0.05, 0.3, 1, 3} {
						claim, _ := m.curve.Times(rounds).Delta(epsilon)
						truth := max(hockeyStick(without, with, epsilon), hockeyStick(with, without, epsilon))
						if claim < truth {
							t.Errorf("%s, variance %g, rate %g, %d rounds, ε %g: δ %g is claimed, %g is true", name, variance, rate, rounds, epsilon, claim, truth)
						}
						if name == "gaussian" && truth > 1e-4 && claim > truth*12 { // Skellam's bound is looser with so little noise
							t.Errorf("%s, variance %g, rate %g, %d rounds, ε %g: δ %g is claimed, %g is true: far off", name, variance, rate, rounds, epsilon, claim, truth)
						}
					}
				}
			}
		}
	}
}

const reach = 100 // outcomes from −reach to reach

// pair is the distributions of the noise alone, and of noise around 0 or shift.
func pair(p func(k int) float64, rate float64, shift int) (without, with []float64) {
	for k := -reach; k <= reach; k++ {
		without = append(without, p(k))
		with = append(with, (1-rate)*p(k)+rate*p(k-shift))
	}
	return without, with
}

// square is the distribution of two independent outcomes.
func square(p []float64) (all []float64) {
	for _, a := range p {
		for _, b := range p {
			all = append(all, a*b)
		}
	}
	return all
}

func hockeyStick(p, q []float64, epsilon float64) (delta float64) {
	for i := range p {
		delta += max(0, p[i]-math.Exp(epsilon)*q[i])
	}
	return delta
}

func gaussianPMF(variance float64) func(k int) float64 {
	law, total := discreteGaussian{variance}, 0.0
	for k := int64(-20 * reach); k <= 20*reach; k++ {
		total += math.Exp(law.logRatio(k))
	}
	return func(k int) float64 { return math.Exp(law.logRatio(int64(k))) / total }
}

// skellamPMF adds up over both Poisson variables.
func skellamPMF(variance float64) func(k int) float64 {
	single := make([]float64, 5*reach)
	for j := range single {
		factorial, _ := math.Lgamma(float64(j) + 1)
		single[j] = math.Exp(float64(j)*math.Log(variance/2) - variance/2 - factorial)
	}
	return func(k int) (sum float64) {
		k = max(k, -k)
		for j := range single[k:] {
			sum += single[j] * single[j+k]
		}
		return sum
	}
}
