package repro_test

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math"
	"testing"

	"pgregory.net/rapid"

	"atoll/internal/repro"
)

// bitsHash collects results bit by bit.
type bitsHash struct{ b []byte }

func (h *bitsHash) add(v float32) { h.b = binary.LittleEndian.AppendUint32(h.b, math.Float32bits(v)) }
func (h *bitsHash) String() string {
	s := sha256.Sum256(h.b)
	return hex.EncodeToString(s[:8])
}

// normal returns roughly normal values, exactly: a sum of four 16-bit integers
// scaled by a power of two.
func normal(r *repro.Random, n int, scale float32) []float32 {
	x := make([]float32, n)
	for i := range x {
		z := r.Uint64()
		s := int32(z&0xffff) + int32(z>>16&0xffff) + int32(z>>32&0xffff) + int32(z>>48) - 131070
		x[i] = scale * (float32(s) / 65536)
	}
	return x
}

// The golden hashes were made on amd64. A machine, compiler or change that
// gives one other bit anywhere fails here.
func TestGolden(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		want string
		fill func(*testing.T, *bitsHash)
	}{
		"exp":     {"dc223e48337f33af", hashExp},
		"sqrt":    {"9d9b6ec826572255", hashSqrt},
		"dot":     {"78cf2252abf0e9d7", hashDot},
		"sum":     {"afc6a21d20434536", hashSum},
		"softmax": {"fa6976a894fd3775", hashSoftmax},
		"random":  {"520aae80aa052bc6", hashRandom},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var h bitsHash
			c.fill(t, &h)
			if got := h.String(); got != c.want {
				t.Errorf("hash of %d results is %s, want %s", len(h.b)/4, got, c.want)
			}
		})
	}
}

func must(t *testing.T) func(float32, error) float32 {
	return func(v float32, err error) float32 {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func hashExp(t *testing.T, h *bitsHash) {
	// Every 4,093rd bit pattern of finite arguments, then a dense stretch.
	for b := uint32(0); b < math.MaxUint32-4093; b += 4093 {
		if y, err := repro.Exp(math.Float32frombits(b)); err == nil {
			h.add(y)
		}
	}
	for i := range 1 << 18 {
		h.add(must(t)(repro.Exp(float32(i-1<<17) / 2048)))
	}
}

func hashSqrt(t *testing.T, h *bitsHash) {
	for b := uint32(0); b < 0x7f800000; b += 4093 {
		h.add(must(t)(repro.Sqrt(math.Float32frombits(b))))
	}
}

func hashDot(t *testing.T, h *bitsHash) {
	r := repro.NewRandom(1)
	for n := range 200 {
		a, b := normal(r, n, 3), normal(r, n, 0.1)
		h.add(must(t)(repro.Dot(a, b)))
		repro.AddScaled(a, 0.37, b)
		for _, v := range a {
			h.add(v)
		}
	}
}

func hashSum(t *testing.T, h *bitsHash) {
	r := repro.NewRandom(2)
	for n := range 300 {
		h.add(must(t)(repro.Sum(normal(r, n, 7))))
	}
}

func hashSoftmax(t *testing.T, h *bitsHash) {
	r := repro.NewRandom(3)
	for n := 1; n < 200; n++ {
		x := normal(r, n, float32(n))
		if err := repro.Softmax(x, x); err != nil {
			t.Fatal(err)
		}
		for _, v := range x {
			h.add(v)
		}
	}
}

func hashRandom(_ *testing.T, h *bitsHash) {
	r := repro.NewRandom(4)
	x := make([]int, 1000)
	for i := range x {
		x[i] = r.Below(i + 1)
	}
	repro.Shuffle(r, x)
	for _, v := range x {
		h.add(float32(v))
	}
}

func TestExpIsAccurate(t *testing.T) {
	t.Parallel()
	var worst float64
	for i := range 1 << 21 {
		x := -87.3 + float32(i)*(176.0/(1<<21))
		got, err := repro.Exp(x)
		if err != nil {
			t.Fatal(err)
		}
		want := math.Exp(float64(x))
		ulp := float64(math.Nextafter32(float32(want), math.MaxFloat32)) - float64(float32(want))
		worst = max(worst, math.Abs(float64(got)-want)/ulp)
	}
	t.Logf("worst error of exp: %.3f ulp", worst)
	if worst > 1 {
		t.Errorf("exp is off by %.3f ulp, want at most 1", worst)
	}
}

func TestExpEdges(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ x, want float32 }{
		{0, 1}, {float32(math.Copysign(0, -1)), 1}, {-87.4, 0}, {-math.MaxFloat32, 0}, {-1e-30, 1},
	} {
		if got, err := repro.Exp(c.x); err != nil || got != c.want {
			t.Errorf("exp(%g) = %g, %v, want %g", c.x, got, err, c.want)
		}
	}
	for _, x := range []float32{-87.33654, 88.72283} {
		y, err := repro.Exp(x)
		if err != nil || y < 0x1p-126 || math.IsInf(float64(y), 0) {
			t.Errorf("exp(%g) = %g, %v, want a normal number", x, y, err)
		}
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	for name, f := range map[string]func() error{
		"exp nan":       func() error { _, err := repro.Exp(nan); return err },
		"exp inf":       func() error { _, err := repro.Exp(inf); return err },
		"exp -inf":      func() error { _, err := repro.Exp(-inf); return err },
		"exp 89":        func() error { _, err := repro.Exp(89); return err },
		"sqrt -1":       func() error { _, err := repro.Sqrt(-1); return err },
		"sqrt nan":      func() error { _, err := repro.Sqrt(nan); return err },
		"dot nan":       func() error { _, err := repro.Dot([]float32{nan, 1}, []float32{0, 1}); return err },
		"dot inf·0":     func() error { _, err := repro.Dot([]float32{inf, 1}, []float32{0, 1}); return err },
		"dot inf-inf":   func() error { _, err := repro.Dot([]float32{3e38, -3e38}, []float32{3, 3}); return err },
		"sum inf":       func() error { _, err := repro.Sum([]float32{1, inf, 3}); return err },
		"sum overflow":  func() error { _, err := repro.Sum([]float32{3e38, 3e38}); return err },
		"softmax nan":   func() error { return repro.Softmax(make([]float32, 2), []float32{1, nan}) },
		"softmax inf":   func() error { return repro.Softmax(make([]float32, 2), []float32{1, -inf}) },
		"finite of inf": func() error { return repro.Finite([]float32{0, -inf}) },
	} {
		if err := f(); !errors.Is(err, repro.ErrNotFinite) {
			t.Errorf("%s: error %v, want %v", name, err, repro.ErrNotFinite)
		}
	}
	if _, err := repro.Dot([]float32{1}, nil); err == nil {
		t.Error("dot of unequal lengths was accepted")
	}
	if err := repro.Softmax(nil, nil); err == nil {
		t.Error("softmax of nothing was accepted")
	}
}

func TestSoftmaxExtremes(t *testing.T) {
	t.Parallel()
	x := []float32{math.MaxFloat32, -math.MaxFloat32, 0}
	if err := repro.Softmax(x, x); err != nil {
		t.Fatal(err)
	}
	if x[0] != 1 || x[1] != 0 || x[2] != 0 {
		t.Errorf("softmax = %v, want [1 0 0]", x)
	}
}

// The order of the sum is stated, so it can be followed by hand.
func TestSumOrder(t *testing.T) {
	t.Parallel()
	const big = 1 << 24 // big + 1 rounds to big
	x := make([]float32, 17)
	x[0], x[8], x[16] = big, 1, 1 // lane 0: big + 1 = big; then + lane 8
	if got, _ := repro.Sum(x); got != big {
		t.Errorf("sum = %.0f, want %d: element 16 belongs to lane 0", got, big)
	}
	x = make([]float32, 16)
	x[0], x[4], x[8] = 1, big, 1 // lanes 0 and 8 meet first and make 2
	if got, _ := repro.Sum(x); got != big+2 {
		t.Errorf("sum = %.0f, want %d: stride 8 comes before stride 4", got, big+2)
	}
}

// A product must be rounded before it is added. 1 + 2^-12 squared is
// 1 + 2^-11 + 2^-24, whose last term a fused operation would keep.
func TestDotIsNotFused(t *testing.T) {
	t.Parallel()
	a := float32(1 + 0x1p-12)
	got, err := repro.Dot([]float32{-1 - 0x1p-11, a}, []float32{1, a})
	if err != nil || got != 0 {
		t.Errorf("dot = %g, %v, want 0: the product was not rounded", got, err)
	}
	dst := []float32{-1 - 0x1p-11}
	repro.AddScaled(dst, a, []float32{a})
	if dst[0] != 0 {
		t.Errorf("addScaled = %g, want 0: the product was not rounded", dst[0])
	}
}

func TestSumMatchesExactIntegers(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		v := rapid.SliceOf(rapid.IntRange(-1000, 1000)).Draw(t, "values")
		want, x := 0, make([]float32, len(v))
		for i, n := range v {
			want += n
			x[i] = float32(n)
		}
		if got, err := repro.Sum(x); err != nil || got != float32(want) {
			t.Fatalf("sum = %g, %v, want %d", got, err, want)
		}
	})
}

func TestShuffleKeepsAll(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 50).Draw(t, "n")
		x := make([]int, n)
		for i := range x {
			x[i] = i
		}
		repro.Shuffle(repro.NewRandom(rapid.Uint64().Draw(t, "seed")), x)
		seen := make([]bool, n)
		for _, v := range x {
			if seen[v] {
				t.Fatalf("%d twice", v)
			}
			seen[v] = true
		}
	})
}

func BenchmarkExp(b *testing.B) {
	var s float32
	for i := range b.N {
		y, _ := repro.Exp(float32(i&1023) / -64)
		s += y
	}
	_ = s
}
