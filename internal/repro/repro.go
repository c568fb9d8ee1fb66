package repro

import (
	"errors"
	"fmt"
	"math"
	"slices"
)

// ErrNotFinite means that an argument or a result is NaN or infinite.
var ErrNotFinite = errors.New("not a finite number")

const (
	expMax = 88.72283  // above, e^x exceeds the largest float32
	expMin = -87.33654 // below, e^x is under 2^-126, the least normal float32

	log2e   = 1.44269504
	ln2Hi   = 0.693145751953125 // 15 significant bits: n·ln2Hi is exact for |n| < 2^9
	ln2Lo   = 1.42860677e-06    // ln 2 − ln2Hi
	toWhole = 12582912          // 1.5·2^23: adding it leaves no bits for a fraction
)

// lanes is the number of partial sums of rule 4: an AVX-512 register of float32.
const lanes = 16

// Exp returns e^x within 1 ulp of the exact value.
func Exp(x float32) (float32, error) {
	if notFinite(x) || x > expMax {
		return 0, fmt.Errorf("exp(%g): %w", x, ErrNotFinite)
	}
	return exp(x), nil
}

// exp is Exp for x that is known to be finite and at most expMax.
func exp(x float32) float32 {
	if x < expMin {
		return 0
	}
	n := float32(float32(float32(x*log2e)+toWhole) - toWhole)
	r := float32(x - float32(n*ln2Hi))
	r = float32(r - float32(n*ln2Lo))
	// A polynomial for (e^r − 1 − r)/r² on |r| ≤ ln2/2, as in Cephes' expf.
	p := float32(1.9875691500e-4)
	p = float32(float32(p*r) + 1.3981999507e-3)
	p = float32(float32(p*r) + 8.3334519073e-3)
	p = float32(float32(p*r) + 4.1665795894e-2)
	p = float32(float32(p*r) + 1.6666665459e-1)
	p = float32(float32(p*r) + 5.0000001201e-1)
	y := float32(float32(float32(p*float32(r*r))+r) + 1)
	// 2^n itself may be out of range where e^x is not, so scale in two steps.
	i := int32(n)
	h := i >> 1
	return float32(float32(y*pow2(h)) * pow2(i-h))
}

// pow2 returns 2^n for −126 ≤ n ≤ 127.
func pow2(n int32) float32 { return math.Float32frombits(uint32(n+127) << 23) }

// Sqrt returns the square root of x, correctly rounded.
func Sqrt(x float32) (float32, error) {
	if notFinite(x) || x < 0 {
		return 0, fmt.Errorf("sqrt(%g): %w", x, ErrNotFinite)
	}
	// Rounding √x first to binary64 and then to binary32 gives RN(√x):
	// 53 ≥ 2·24 + 2 bits suffice (Figueroa, "When is double rounding innocuous?").
	return float32(math.Sqrt(float64(x))), nil
}

// Dot returns the inner product of a and b, which must be equally long.
func Dot(a, b []float32) (float32, error) {
	if len(a) != len(b) {
		return 0, fmt.Errorf("dot: %d and %d elements", len(a), len(b))
	}
	var acc float32
	for i, x := range a {
		acc = float32(acc + float32(x*b[i]))
	}
	// A sum that has once left the finite numbers never returns to them, so one
	// look at the end covers all arguments.
	return acc, finite("dot", acc)
}

// AddScaled adds f·x to dst, element by element: dst[i] = RN(dst[i] +
// RN(f·x[i])). It is the column form of Dot: adding rows one after another gives
// the bits of one Dot per column. dst and x must be equally long. To keep loops
// over many rows fast it does not look for NaN; check the final dst with
// [Finite].
func AddScaled(dst []float32, f float32, x []float32) {
	x = x[:len(dst)]
	for i, v := range x {
		dst[i] = float32(dst[i] + float32(f*v))
	}
}

// AddScaledInt8 is AddScaled for a row of small integers, each of which is
// exact as a float32.
func AddScaledInt8(dst []float32, f float32, q []int8) {
	q = q[:len(dst)]
	for i, v := range q {
		dst[i] = float32(dst[i] + float32(f*float32(v)))
	}
}

// Decay is AddScaled after a shrinking of dst: dst[i] = RN(RN(g·dst[i]) +
// RN(f·x[i])), the step of a descent with weight decay.
func Decay(dst []float32, g, f float32, x []float32) {
	x = x[:len(dst)]
	for i, v := range x {
		dst[i] = float32(float32(g*dst[i]) + float32(f*v))
	}
}

// Sum returns the sum of x in the order of rule 4.
func Sum(x []float32) (float32, error) {
	s := sum(x)
	return s, finite("sum", s)
}

// Softmax sets dst[i] to e^x[i] divided by the sum of all e^x[j]. dst and x must
// be equally long and may be the same slice. The results lie in [0, 1]; their sum
// is 1 only up to rounding.
func Softmax(dst, x []float32) error {
	if len(x) == 0 || len(dst) != len(x) {
		return fmt.Errorf("softmax: %d results for %d values", len(dst), len(x))
	}
	if err := Finite(x); err != nil {
		return fmt.Errorf("softmax: %w", err)
	}
	top := slices.Max(x)
	copy(dst, x)
	softmax(Portable, dst, top)
	return nil
}

// Finite refuses x if an element is NaN or infinite, and names the first.
func Finite(x []float32) error {
	for i, v := range x {
		if notFinite(v) {
			return fmt.Errorf("element %d is %g: %w", i, v, ErrNotFinite)
		}
	}
	return nil
}

// notFinite looks at the bits: all ones in the exponent are NaN or an infinity.
func notFinite(v float32) bool { return math.Float32bits(v)&0x7f800000 == 0x7f800000 }

func finite(what string, v float32) error {
	if notFinite(v) {
		return fmt.Errorf("%s is %g: %w", what, v, ErrNotFinite)
	}
	return nil
}
