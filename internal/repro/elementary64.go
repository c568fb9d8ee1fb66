package repro

import (
	"fmt"
	"math"
)

// The functions of this file are computed in binary64, each operation rounded,
// after Sun's fdlibm: they serve tables and single values, where speed does not
// matter.

const (
	toWhole64 = 6755399441055744 // 1.5·2^52, see toWhole
	// MaxAngle bounds the arguments of SinCos: n·pio2a and n·pio2b are then exact.
	MaxAngle = 1 << 20

	twoOverPi = 6.36619772367581382433e-01
	pio2a     = 1.57079632673412561417e+00 // first 33 bits of π/2
	pio2b     = 6.07710050630396597660e-11 // the next 33
	pio2c     = 2.02226624879595063154e-21 // the rest

	ln2Hi64 = 6.93147180369123816490e-01
	ln2Lo64 = 1.90821492927058770002e-10
)

// SinCos returns sine and cosine of x, |x| ≤ MaxAngle, within about 1 ulp.
func SinCos(x float64) (sin, cos float64, err error) {
	if !(math.Abs(x) <= MaxAngle) {
		return 0, 0, fmt.Errorf("sine of %g: want an argument within ±%d", x, MaxAngle)
	}
	n := float64(float64(float64(x*twoOverPi)+toWhole64) - toWhole64)
	r := float64(x - float64(n*pio2a))
	r = float64(r - float64(n*pio2b))
	r = float64(r - float64(n*pio2c))
	s, c := sinPoly(r), cosPoly(r)
	switch int64(n) & 3 {
	case 1:
		s, c = c, -s
	case 2:
		s, c = -s, -c
	case 3:
		s, c = -c, s
	}
	return s, c, nil
}

// horner evaluates a polynomial, highest coefficient first.
func horner(z float64, coefficients ...float64) float64 {
	var p float64
	for _, c := range coefficients {
		p = float64(float64(p*z) + c)
	}
	return p
}

// sinPoly is sin r for |r| ≤ π/4.
func sinPoly(r float64) float64 {
	z := float64(r * r)
	p := horner(z, 1.58969099521155010221e-10, -2.50507602534068634195e-08, 2.75573137070700676789e-06,
		-1.98412698298579493134e-04, 8.33333333332248946124e-03, -1.66666666666666324348e-01)
	return float64(r + float64(float64(z*r)*p))
}

// cosPoly is cos r for |r| ≤ π/4.
func cosPoly(r float64) float64 {
	z := float64(r * r)
	p := horner(z, -1.13596475577881948265e-11, 2.08757232129817482790e-09, -2.75573143513906633035e-07,
		2.48015872894767294178e-05, -1.38888888888741095749e-03, 4.16666666666666019037e-02)
	h := float64(0.5 * z)
	w := float64(1 - h)
	return float64(w + float64(float64(float64(1-w)-h)+float64(float64(z*z)*p)))
}

// log64 is the natural logarithm of a normal x > 0.
func log64(x float64) float64 {
	b := math.Float64bits(x)
	k := int64(b>>52) - 1023
	f := math.Float64frombits(b&(1<<52-1) | 1023<<52) // 1 ≤ f < 2
	if f > math.Sqrt2 {
		f, k = f/2, k+1
	}
	f--
	s := float64(f / float64(2+f))
	z := float64(s * s)
	r := float64(z * horner(z, 1.479819860511658591e-01, 1.531383769920937332e-01, 1.818357216161805012e-01,
		2.222219843214978396e-01, 2.857142874366239149e-01, 3.999999999940941908e-01, 6.666666666666735130e-01))
	h := float64(0.5 * float64(f*f))
	e := float64(k)
	tail := float64(float64(s*float64(h+r)) + float64(e*ln2Lo64))
	return float64(float64(e*ln2Hi64) - float64(float64(h-tail)-f))
}

// exp64 is e^x for |x| ≤ 700.
func exp64(x float64) float64 {
	n := float64(float64(float64(x*math.Log2E)+toWhole64) - toWhole64)
	hi := float64(x - float64(n*ln2Hi64))
	lo := float64(n * ln2Lo64)
	r := float64(hi - lo)
	z := float64(r * r)
	c := float64(r - float64(z*horner(z, 4.13813679705723846039e-08, -1.65339022054652515390e-06,
		6.61375632143793436117e-05, -2.77777777770155933842e-03, 1.66666666666666019037e-01)))
	y := float64(1 - float64(float64(lo-float64(float64(r*c)/float64(2-c)))-hi))
	return float64(y * math.Float64frombits(uint64(int64(n)+1023)<<52))
}

// Log returns the natural logarithm of x > 0, rounded from binary64.
func Log(x float32) (float32, error) {
	if notFinite(x) || x <= 0 {
		return 0, fmt.Errorf("log(%g): %w", x, ErrNotFinite)
	}
	return float32(log64(float64(x))), nil
}
