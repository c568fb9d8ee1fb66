package weights

import (
	"fmt"
	"math"
	"math/big"
)

// Style says which elements of a head are turned together.
type Style int

// The styles.
const (
	Interleaved Style = iota // 2i and 2i+1 ("NORM" in llama.cpp)
	Halves                   // i and i + Dim/2 ("NEOX")
)

func (s Style) String() string {
	if s == Halves {
		return "halves"
	}
	return "interleaved"
}

// Scaling says how positions beyond the training's are reached.
type Scaling string

// The ways. Llama 3's is told by Factors.
const (
	NoScaling Scaling = ""
	Linear    Scaling = "linear" // all angles divided by Factor
	YaRN      Scaling = "yarn"   // arXiv 2309.00071
)

// RoPE describes rotary positions. Numbers are binary32, as files hold them.
type RoPE struct {
	Style   Style
	Dim     int // elements of a head that turn, the first ones; even
	Base    float32
	Scaling Scaling
	Factor  float32 // of Linear and YaRN
	// OriginalContext is the context length that YaRN stretches.
	OriginalContext int
	// Factors divide the angle of each pair; nil means all 1. Llama 3.1's scaling
	// is given so.
	Factors []float32
}

// YaRN's bounds: pairs that turn more than 32 times over the original context are
// left alone, those that turn less than once are stretched in full.
const yarnFast, yarnSlow = 32, 1

func (r *RoPE) check(headDim int) error {
	switch {
	case r.Dim < 2 || r.Dim%2 != 0 || r.Dim > headDim:
		return fmt.Errorf("%w: rotary positions turn %d elements of a head of %d, want an even number", errMalformed, r.Dim, headDim)
	case !(r.Base > 1 && r.Base <= 1e12):
		return fmt.Errorf("%w: the rotary base is %g, want over 1 and at most 1e12", errMalformed, r.Base)
	case r.Factors != nil && len(r.Factors) != r.Dim/2:
		return fmt.Errorf("%w: %d rotary factors for %d pairs", errMalformed, len(r.Factors), r.Dim/2)
	}
	for i, f := range r.Factors {
		if !(f > 0 && f < 1e9) {
			return fmt.Errorf("%w: rotary factor %d is %g", errMalformed, i, f)
		}
	}
	switch r.Scaling {
	case NoScaling:
		return nil
	case Linear, YaRN:
		if !(r.Factor >= 1 && r.Factor < 1e6) {
			return fmt.Errorf("%w: the rotary scaling factor is %g, want at least 1", errMalformed, r.Factor)
		}
		if r.Scaling == YaRN && (r.OriginalContext < 1 || r.OriginalContext > maxContext) {
			return fmt.Errorf("%w: YaRN stretches a context of %d", errMalformed, r.OriginalContext)
		}
		return nil
	}
	return fmt.Errorf("%w: rotary scaling %.40q (linear, llama3 and yarn are understood)", errUnsupported, r.Scaling)
}

// Frequencies returns, for each pair i, the angle in radians by which one position
// turns it, and the number that cosine and sine are both to be multiplied with (1
// but for YaRN).
//
//	plain   base^(−2i/Dim)
//	linear  divided by Factor
//	YaRN    a blend of plain and linear that goes over from pair ⌊c(32)⌋ to pair
//	        ⌈c(1)⌉, where c(b) is the pair that turns b times in OriginalContext
//	        positions; magnitude 1 + ln(Factor)/10
//	all     divided by Factors[i]
//
// They are computed with 160 bits and rounded once to binary64, to nearest, so
// that they have the same bits on every machine; math.Pow does not.
func (r *RoPE) Frequencies() (freq []float64, magnitude float64) {
	n := r.Dim / 2
	step := root(wide(float64(r.Base)), n) // base^(2/Dim)
	slow := make([]*big.Float, n)          // base^(2i/Dim)
	slow[0] = wide(1)
	for i := 1; i < n; i++ {
		slow[i] = mul(slow[i-1], step)
	}
	magnitude = 1
	share := func(int) *big.Float { return wide(0) } // how much of pair i is stretched
	switch r.Scaling {
	case Linear:
		share = func(int) *big.Float { return wide(1) }
	case YaRN:
		low, high := r.yarnRange(slow)
		share = func(i int) *big.Float { return ramp(i, low, high) }
		m := new(big.Float).Quo(logarithm(wide(float64(r.Factor))), wide(10))
		magnitude, _ = m.Add(m, wide(1)).Float64()
	}
	freq = make([]float64, n)
	for i := range freq {
		// (1 − s) + s/Factor of the plain angle
		s := share(i)
		blend := new(big.Float).Sub(wide(1), s)
		if r.Scaling != NoScaling {
			blend.Add(blend, quo(s, wide(float64(r.Factor))))
		}
		if r.Factors != nil {
			blend.Quo(blend, wide(float64(r.Factors[i])))
		}
		freq[i], _ = quo(blend, slow[i]).Float64()
	}
	return freq, magnitude
}

// yarnRange returns the pairs between which YaRN goes over. slow ascends, so the
// turns over the original context descend from pair to pair.
func (r *RoPE) yarnRange(slow []*big.Float) (low, high int) {
	turns := func(i int) *big.Float {
		// OriginalContext / (2π · base^(2i/Dim))
		return quo(wide(float64(r.OriginalContext)), mul(twoPi(), slow[i]))
	}
	n := len(slow)
	high = n
	for i := n - 1; i >= 0; i-- {
		if turns(i).Cmp(wide(yarnSlow)) <= 0 {
			high = i // the least pair that turns at most once
		}
	}
	for i := range n {
		if turns(i).Cmp(wide(yarnFast)) >= 0 {
			low = i // the last pair that turns at least 32 times
		}
	}
	return low, high
}

// ramp is 0 up to pair low, 1 from pair high on, and straight between.
func ramp(i, low, high int) *big.Float {
	switch {
	case i <= low:
		return wide(0)
	case i >= high:
		return wide(1)
	}
	return quo(wide(float64(i-low)), wide(float64(high-low)))
}

// llama3Factors are Llama 3.1's: pairs with a short wavelength keep their angle,
// those with a long one are divided by factor, and between lies a blend. lowFreq
// and highFreq are the turns over the original context that bound it.
func llama3Factors(dim int, base, factor, lowFreq, highFreq float32, original int) []float32 {
	n := dim / 2
	step, slow := root(wide(float64(base)), n), wide(1)
	out := make([]float32, n)
	one, low, high := wide(1), wide(float64(lowFreq)), wide(float64(highFreq))
	for i := range out {
		turns := quo(wide(float64(original)), mul(twoPi(), slow))
		switch {
		case turns.Cmp(high) > 0:
			out[i] = 1
		case turns.Cmp(low) < 0:
			out[i] = factor
		default:
			// 1 / ((1 − s)/factor + s), s = (turns − low) / (high − low)
			s := quo(new(big.Float).Sub(turns, low), new(big.Float).Sub(high, low))
			f := quo(new(big.Float).Sub(one, s), wide(float64(factor)))
			out[i], _ = quo(one, f.Add(f, s)).Float32()
		}
		slow = mul(slow, step)
	}
	return out
}

const precision = 160 // bits

func wide(v float64) *big.Float      { return new(big.Float).SetPrec(precision).SetFloat64(v) }
func mul(a, b *big.Float) *big.Float { return new(big.Float).SetPrec(precision).Mul(a, b) }
func quo(a, b *big.Float) *big.Float { return new(big.Float).SetPrec(precision).Quo(a, b) }
func power(a *big.Float, n int) *big.Float {
	out := wide(1)
	for ; n > 0; n >>= 1 {
		if n&1 == 1 {
			out = mul(out, a)
		}
		a = mul(a, a)
	}
	return out
}

// root returns the nth root of a > 1 by Newton's method from above, which falls
// until it has converged.
func root(a *big.Float, n int) *big.Float {
	x := wide(math.Ldexp(1, a.MantExp(nil)/n+1))
	for {
		// x − (x − a/x^(n−1))/n
		step := quo(new(big.Float).Sub(x, quo(a, power(x, n-1))), wide(float64(n)))
		if step.Sign() <= 0 || step.MantExp(nil) < x.MantExp(nil)-precision+8 {
			return x
		}
		x = new(big.Float).Sub(x, step)
	}
}

// logarithm returns ln x for x ≥ 1: the artanh series of the mantissa, and ln 2
// for each binary place.
func logarithm(x *big.Float) *big.Float {
	m := new(big.Float).SetPrec(precision)
	places := x.MantExp(m) // x = m · 2^places, ½ ≤ m < 1
	out := mul(artanh(wide(1), wide(3)), wide(float64(2*places)))
	return out.Add(out, mul(artanh(new(big.Float).Sub(m, wide(1)), new(big.Float).Add(m, wide(1))), wide(2)))
}

// artanh returns artanh(a/b) for |a/b| ≤ 1/3, by its series.
func artanh(a, b *big.Float) *big.Float {
	z := quo(a, b)
	square, term, sum := mul(z, z), z, wide(0)
	for k := 1; k <= precision; k += 2 {
		sum.Add(sum, quo(term, wide(float64(k))))
		term = mul(term, square)
	}
	return sum
}

// twoPi returns 2π with 160 bits.
func twoPi() *big.Float {
	const digits = "6.283185307179586476925286766559005768394338798750211641949889"
	v, _, err := big.ParseFloat(digits, 10, precision, big.ToNearestEven)
	if err != nil {
		panic(err) // the constant above does not parse
	}
	return v
}
