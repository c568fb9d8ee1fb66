package privacy

import (
	"math"

	"atoll/internal/core"
)

// Gaussian is the curve of one sum to which Gaussian noise is added, continuous or
// discrete, of standard deviation noise times the L2 sensitivity, over data of which
// each unit takes part with probability rate, independently and unseen (DP-SGD); a
// rate of 1 is all of it.
func Gaussian(noise, rate float64) (Curve, error) {
	if !(noise > 0) {
		return Curve{}, core.Errorf(core.Invalid, "the noise multiplier must be over 0, not %g", noise).At("noise")
	}
	if err := checkRate(rate); err != nil {
		return Curve{}, err
	}
	half := 0.5 / noise / noise
	if rate == 1 {
		var c Curve
		for i, a := range Orders {
			c[i] = a * half
		}
		return c, nil
	}
	return sampled(rate, func(a float64) float64 { return a * half }), nil
}

// Skellam is the curve of one sum of integer vectors to which symmetric Skellam
// noise of that variance is added in each coordinate, if one unit changes the sum by
// at most l1 and l2 in the L1 and L2 norm (Agarwal, Kairouz, Liu 2021).
// For rate see Gaussian.
func Skellam(l1, l2, variance, rate float64) (Curve, error) {
	switch {
	case !(l2 > 0) || !(l1 >= l2):
		return Curve{}, core.Errorf(core.Invalid, "sensitivities of %g (L1) and %g (L2): both are over 0, and L1 is not the smaller one", l1, l2)
	case !(variance > 0):
		return Curve{}, core.Errorf(core.Invalid, "the noise's variance must be over 0, not %g", variance).At("variance")
	}
	if err := checkRate(rate); err != nil {
		return Curve{}, err
	}
	return sampled(rate, func(a float64) float64 {
		square := l2 * l2
		return a*square/(2*variance) + min(((2*a-1)*square+6*l1)/(4*variance*variance), 3*l1/(2*variance))
	}), nil
}

func checkRate(rate float64) error {
	if !(rate > 0 && rate <= 1) {
		return core.Errorf(core.Invalid, "the share of units that take part must be over 0 and at most 1, not %g", rate).At("rate")
	}
	return nil
}

// sampled makes a curve of a bound that holds at whole orders, of a mechanism whose
// noise is symmetric, under Poisson sampling. Let K(α) = (α−1)·D(α). At whole orders
//
//	exp K(α) ≤ Σ_k binomial(α, k)·(1−q)^(α−k)·q^k·exp((k−1)·bound(k))
//
// (Mironov, Talwar, Zhang 2019, where it is exact for Gaussian noise; that the other
// direction is no worse they prove of any pair of distributions that a reflection
// swaps, as it does with symmetric noise and its shift). K is convex, K(1) = 0, so between whole orders it lies below
// the straight line.
func sampled(rate float64, bound func(order float64) float64) Curve {
	known := map[int]float64{1: 0}
	cumulant := func(a int) float64 {
		if _, ok := known[a]; !ok {
			known[a] = sampledCumulant(a, rate, bound)
		}
		return known[a]
	}
	var c Curve
	for i, a := range Orders {
		low := math.Floor(a)
		k := cumulant(int(low))
		if a > low {
			k += (a - low) * (cumulant(int(low)+1) - k)
		}
		c[i] = k / (a - 1)
	}
	return c
}

func sampledCumulant(order int, rate float64, bound func(order float64) float64) float64 {
	a := float64(order)
	if rate == 1 {
		return (a - 1) * bound(a)
	}
	all, _ := math.Lgamma(a + 1)
	terms, top := make([]float64, order+1), math.Inf(-1)
	for i := range terms {
		k := float64(i)
		chosen, _ := math.Lgamma(k + 1)
		left, _ := math.Lgamma(a - k + 1)
		terms[i] = all - chosen - left + (a-k)*math.Log1p(-rate) + k*math.Log(rate)
		if i > 1 {
			terms[i] += (k - 1) * bound(k)
		}
		top = max(top, terms[i])
	}
	if math.IsInf(top, 1) {
		return top
	}
	sum := 0.0
	for _, t := range terms {
		sum += math.Exp(t - top)
	}
	return max(0, top+math.Log(sum))
}
