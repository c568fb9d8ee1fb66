package privacy

import (
	"math"
	"math/big"
)

// poisson has the probabilities λ^k·e^−λ/k!.
type poisson struct{ mean float64 }

func (p poisson) mode() int64        { return int64(p.mean) }
func (p poisson) lowest() int64      { return 0 }
func (p poisson) deviation() float64 { return math.Sqrt(p.mean) }

// Below this mean λ^k/k! is computed as it stands; above, the logarithms would cancel
// to nothing, and Loader's form is taken ("Fast and accurate computation of binomial
// probabilities", 2000).
const largeMean = 256

func (p poisson) logRatio(k int64) float64 {
	if k < 0 {
		return math.Inf(-1)
	}
	if p.mean < largeMean || k < 16 { // the latter is under −60 with such a mean
		a, _ := math.Lgamma(float64(k) + 1)
		b, _ := math.Lgamma(float64(p.mode()) + 1)
		return float64(k-p.mode())*math.Log(p.mean) - (a - b)
	}
	return p.loader(p.mode()) - p.loader(k)
}

// loader is −ln(p(k)·√(2πλ)) for large k and λ.
func (p poisson) loader(k int64) float64 {
	f := float64(k)
	x := (f - p.mean) / p.mean
	r := 1 / (f * f)
	stirling := (1./12 - r*(1./360-r*(1./1260-r/1680))) / f
	return p.mean*deviance(x) + stirling + 0.5*math.Log1p(x)
}

// deviance is (1+x)·ln(1+x) − x.
func deviance(x float64) float64 {
	if math.Abs(x) > 0.05 {
		return (1+x)*math.Log1p(x) - x
	}
	sum, power := 0.0, x
	for n := 2.; ; n++ {
		power *= x
		term := power / (n * (n - 1))
		if sum += term; math.Abs(term) <= 0x1p-54*sum {
			break
		}
		power = -power
	}
	return sum
}

// ratio multiplies the factors λ/j, or j/λ, from the mode to k.
func (p poisson) ratio(k int64, precision uint) *big.Float {
	from, to := p.mode(), k
	if k < from {
		from, to = k, from
	}
	factors, j := number(1, precision), new(big.Float)
	for i := from + 1; i <= to; i++ {
		factors.Mul(factors, j.SetInt64(i))
	}
	means, power := number(1, precision), number(p.mean, precision)
	for n := to - from; n > 0; n /= 2 {
		if n%2 == 1 {
			means.Mul(means, power)
		}
		power.Mul(power, power)
	}
	if k < p.mode() {
		return factors.Quo(factors, means)
	}
	return means.Quo(means, factors)
}

// discreteGaussian has probabilities in proportion to exp(−k²/2·variance) (Canonne,
// Kamath, Steinke 2020).
type discreteGaussian struct{ variance float64 }

func (g discreteGaussian) mode() int64        { return 0 }
func (g discreteGaussian) lowest() int64      { return math.MinInt64 }
func (g discreteGaussian) deviation() float64 { return math.Sqrt(g.variance) }

func (g discreteGaussian) logRatio(k int64) float64 {
	return -float64(k) * float64(k) / (2 * g.variance)
}

func (g discreteGaussian) ratio(k int64, precision uint) *big.Float {
	x := number(float64(k), precision)
	x.Mul(x, x)
	x.Quo(x, number(2*g.variance, precision))
	return exp(x.Neg(x), precision)
}

func number(x float64, precision uint) *big.Float {
	return new(big.Float).SetPrec(precision).SetFloat64(x)
}

// exp is e^x for x ≤ 0, by its series for x/2^h, squared h times.
func exp(x *big.Float, precision uint) *big.Float {
	const guard = 64
	h := max(0, x.MantExp(nil)) + 8
	y := new(big.Float).SetPrec(precision+guard).SetMantExp(x, -h)
	sum, term := number(1, precision+guard), number(1, precision+guard)
	for n := 1.; term.Sign() != 0 && term.MantExp(nil) > -int(precision+guard); n++ {
		term.Mul(term, y)
		term.Quo(term, number(n, precision))
		sum.Add(sum, term)
	}
	for range h {
		sum.Mul(sum, sum)
	}
	return sum.SetPrec(precision)
}
