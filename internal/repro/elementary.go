package repro

import "math"

// sigmoid is 1/(1+e^−x). e^−|x| lies in (0, 1], so nothing overflows.
func sigmoid(x float32) float32 {
	e := exp(-abs(x))
	num := float32(1)
	if x < 0 {
		num = e
	}
	return num / float32(1+e)
}

// Coefficients of Cephes' tanhf: tanh x ≈ x + x·z·P(z), z = x², below tanhSmall.
const (
	tanhSmall = 0.625
	tanhOne   = 9.5 // from here on tanh x rounds to 1

	tanhP0 = -5.70498872745e-3
	tanhP1 = 2.06390887954e-2
	tanhP2 = -5.37397155531e-2
	tanhP3 = 1.33314422036e-1
	tanhP4 = -3.33332819422e-1
)

// tanh takes infinities too: they give ±1.
func tanh(x float32) float32 {
	a := min(abs(x), tanhOne)
	if a < tanhSmall {
		z := float32(x * x)
		p := float32(tanhP0)
		for _, c := range [...]float32{tanhP1, tanhP2, tanhP3, tanhP4} {
			p = float32(float32(p*z) + c)
		}
		return float32(float32(float32(p*z)*x) + x)
	}
	y := float32(1 - float32(2/float32(exp(float32(2*a))+1)))
	return math.Float32frombits(math.Float32bits(y) | math.Float32bits(x)&signBit)
}

const signBit = 1 << 31

func abs(x float32) float32 { return math.Float32frombits(math.Float32bits(x) &^ signBit) }

// rsqrt is 1/√x with two roundings, for x > 0.
func rsqrt(x float32) float32 { return 1 / float32(math.Sqrt(float64(x))) }

// Sigmoid returns 1/(1+e^−x).
func Sigmoid(x float32) (float32, error) {
	if err := finite("argument of sigmoid", x); err != nil {
		return 0, err
	}
	return sigmoid(x), nil
}

// Tanh returns the hyperbolic tangent of x.
func Tanh(x float32) (float32, error) {
	if err := finite("argument of tanh", x); err != nil {
		return 0, err
	}
	return tanh(x), nil
}

// Rsqrt returns RN(1/RN(√x)) for x > 0.
func Rsqrt(x float32) (float32, error) {
	r, err := Sqrt(x)
	if err != nil {
		return 0, err
	}
	r = 1 / r
	return r, finite("rsqrt of zero", r)
}

const (
	geluCubic = 0.044715
	geluScale = 0.7978845608 // √(2/π)
)

// silu is x·sigmoid(x).
func silu(x float32) float32 { return float32(x * sigmoid(x)) }

// gelu is the tanh form of GELU. Where x² overflows, tanh gives ±1 all the same.
func gelu(x float32) float32 {
	t := float32(1 + float32(geluCubic*float32(x*x)))
	u := float32(geluScale * float32(x*t))
	return float32(float32(0.5*x) * float32(1+tanh(u)))
}
