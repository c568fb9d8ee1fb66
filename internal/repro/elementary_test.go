package repro_test

import (
	"math"
	"testing"

	"atoll/internal/repro"
)

// worstULP returns the largest error of f against want in units of the last place
// of binary32, over 2^20 arguments from lo to hi.
func worstULP(t *testing.T, lo, hi float64, f func(float32) (float32, error), want func(float64) float64) float64 {
	t.Helper()
	var worst float64
	for i := range 1 << 20 {
		x := float32(lo + (hi-lo)*float64(i)/(1<<20))
		got, err := f(x)
		if err != nil {
			t.Fatal(err)
		}
		exact := want(float64(x))
		ulp := math.Ldexp(1, max(math.Ilogb(exact), -126)-23)
		worst = max(worst, math.Abs(float64(got)-exact)/ulp)
	}
	return worst
}

func TestElementaryIsAccurate(t *testing.T) {
	t.Parallel()
	sigmoid := func(x float64) float64 { return 1 / (1 + math.Exp(-x)) }
	for _, c := range []struct {
		name   string
		lo, hi float64
		f      func(float32) (float32, error)
		want   func(float64) float64
		limit  float64
	}{
		{"sigmoid", -87, 20, repro.Sigmoid, sigmoid, 3},
		{"tanh", -10, 10, repro.Tanh, math.Tanh, 2},
		{"tanh near 0", -1e-3, 1e-3, repro.Tanh, math.Tanh, 1},
		{"log", 1e-3, 1000, repro.Log, math.Log, 0.51},
		{"log near 1", 0.99, 1.01, repro.Log, math.Log, 0.51},
		{"rsqrt", 1e-3, 1000, repro.Rsqrt, func(x float64) float64 { return 1 / math.Sqrt(x) }, 1.5},
	} {
		got := worstULP(t, c.lo, c.hi, c.f, c.want)
		t.Logf("%s: %.3f ulp", c.name, got)
		if got > c.limit {
			t.Errorf("%s is off by %.3f ulp, want at most %g", c.name, got, c.limit)
		}
	}
}

func TestSinCosIsAccurate(t *testing.T) {
	t.Parallel()
	var worst float64
	for i := range 1 << 19 {
		x := float64(i)*2.0000123 - repro.MaxAngle/2
		s, c, err := repro.SinCos(x)
		if err != nil {
			t.Fatal(err)
		}
		ws, wc := math.Sincos(x)
		worst = max(worst, math.Abs(s-ws), math.Abs(c-wc))
	}
	t.Logf("worst error of sine and cosine: %.3g", worst)
	if worst > 3e-16 {
		t.Errorf("sine or cosine is off by %.3g, want at most 3e-16", worst)
	}
	for _, x := range []float64{math.NaN(), math.Inf(1), repro.MaxAngle + 1, -repro.MaxAngle - 1} {
		if _, _, err := repro.SinCos(x); err == nil {
			t.Errorf("sine of %g was given", x)
		}
	}
}

func TestGELUAndSiLU(t *testing.T) {
	t.Parallel()
	r := repro.NewRandom(1)
	x := normal(r, 4096, 4)
	x[0], x[1], x[2], x[3] = 0, float32(math.Copysign(0, -1)), 1e30, -1e30
	for _, isa := range isas(t) {
		pool := newPool(t, 1, isa)
		g, s := make([]float32, len(x)), make([]float32, len(x))
		repro.GELU(g, x, pool)
		repro.SiLU(s, x, pool)
		for i, v := range x {
			v := float64(v)
			gelu := 0.5 * v * (1 + math.Tanh(math.Sqrt(2/math.Pi)*(v+0.044715*v*v*v)))
			silu := v / (1 + math.Exp(-v))
			if math.Abs(float64(g[i])-gelu) > 1e-6*max(1, math.Abs(v)) || math.Abs(float64(s[i])-silu) > 1e-6*max(1, math.Abs(v)) {
				t.Fatalf("%v: GELU and SiLU of %g are %g and %g, want %g and %g", isa, v, g[i], s[i], gelu, silu)
			}
		}
	}
}

func TestFloat16(t *testing.T) {
	t.Parallel()
	for i := range 1 << 16 {
		h := repro.Float16(i)
		f := h.Float32()
		if back := repro.ToFloat16(f); back != h && !math.IsNaN(float64(f)) {
			t.Fatalf("%#04x is %g, and that %#04x", i, f, back)
		}
		if h&0x8000 != 0 || !h.IsFinite() || !(h + 1).IsFinite() {
			continue
		}
		// Between neighbours: to the nearer, and to the even one from the middle.
		next := (h + 1).Float32()
		middle := (f + next) / 2
		even := h + h&1
		if got := repro.ToFloat16(middle); got != even {
			t.Fatalf("%g, between %g and %g, becomes %#04x, want %#04x", middle, f, next, got, even)
		}
		if got := repro.ToFloat16(math.Nextafter32(middle, 0)); got != h {
			t.Fatalf("just below %g becomes %#04x, want %#04x", middle, got, h)
		}
		if got := repro.ToFloat16(math.Nextafter32(middle, 1e9)); got != h+1 {
			t.Fatalf("just above %g becomes %#04x, want %#04x", middle, got, h+1)
		}
	}
	for _, c := range []struct {
		x    float32
		want repro.Float16
	}{{65504, 0x7bff}, {65519.996, 0x7bff}, {65520, 0x7c00}, {-1e10, 0xfc00}, {1e-10, 0}, {float32(math.Inf(1)), 0x7c00}, {float32(math.NaN()), 0x7e00}} {
		if got := repro.ToFloat16(c.x); got != c.want {
			t.Errorf("%g becomes %#04x, want %#04x", c.x, got, c.want)
		}
	}
}
