package codec_test

import (
	"bytes"
	"math"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"atoll/internal/codec"
	"atoll/internal/core"
	"atoll/internal/keystream"
)

func stream(t testing.TB, n byte) *keystream.Stream {
	t.Helper()
	s, err := keystream.Secret(bytes.NewReader(bytes.Repeat([]byte{n}, keystream.KeySize)))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func grid(t testing.TB, s codec.Shape) *codec.Grid {
	t.Helper()
	g, err := codec.NewGrid(s)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// noise is a vector of that length and norm, in a direction given by the seed.
func noise(dim int, norm float64, seed byte) []float32 {
	s := keystream.Public(keystream.Seed{seed}, "test")
	x := make([]float32, dim)
	square := 0.0
	for i := range x {
		v := 0.0
		for range 4 {
			v += float64(s.Uint64()>>11)*0x1p-53 - 0.5
		}
		x[i] = float32(v)
		square += v * v
	}
	for i := range x {
		x[i] = float32(float64(x[i]) * norm / math.Sqrt(square))
	}
	return x
}

func distance(a, b []float32) float64 {
	sum := 0.0
	for i := range a {
		d := float64(a[i]) - float64(b[i])
		sum += d * d
	}
	return math.Sqrt(sum)
}

// What clients send adds up to the sum of their updates, to within the rounding:
// each coordinate of each client is off by less than a step, whatever the direction
// of the update, and integers keep the norm that noise is sized for.
func TestSum(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := codec.Shape{
			Dim:  rapid.OneOf(rapid.IntRange(1, 40), rapid.IntRange(1, 5000)).Draw(t, "dim"),
			Clip: rapid.SampledFrom([]float64{1e-6, 0.5, 1, 3e5}).Draw(t, "clip"),
			Bits: rapid.IntRange(2, 16).Draw(t, "bits"),
		}
		n := rapid.IntRange(1, 9).Draw(t, "clients")
		g, err := codec.NewGrid(s)
		if err != nil {
			t.Fatal(err)
		}
		words, err := g.Words(n, 0, 1e-9)
		if err != nil || words.Wrap != 0 {
			t.Fatal(words, err)
		}
		seed := keystream.Seed{1, byte(n)}
		sum, want := make([]uint32, g.Len()), make([]float32, s.Dim)
		clamped := 0
		for i := range n {
			x := noise(s.Dim, s.Clip*0.999, byte(i))
			if rapid.Bool().Draw(t, "spike") {
				clear(x)
				x[rapid.IntRange(0, s.Dim-1).Draw(t, "at")] = float32(s.Clip * 0.999)
			}
			secret, _ := keystream.Secret(bytes.NewReader(bytes.Repeat([]byte{byte(i)}, 32)))
			y, report, err := g.Encode(x, seed, secret)
			if err != nil {
				t.Fatal(err)
			}
			clamped += report.Clamped
			checkNorms(t, g, y)
			words.Modulus.Reduce(y)
			for j := range y {
				sum[j] += y[j]
				want[j] += x[j]
			}
		}
		words.Modulus.Reduce(sum)
		got, err := g.Decode(sum, words.Modulus, seed)
		if err != nil {
			t.Fatal(err)
		}
		if bound := float64(n)*g.Step()*math.Sqrt(float64(s.Dim)) + 1e-5*float64(n)*s.Clip; distance(got, want) > bound || clamped > 0 {
			t.Errorf("%v, %d clients: off by %g, at most %g; %d clamped", s, n, distance(got, want), bound, clamped)
		}
	})
}

func checkNorms(t *rapid.T, g *codec.Grid, words []uint32) {
	l1, square := 0.0, 0.0
	for _, w := range words {
		v := float64(int32(w))
		if math.Abs(v) > float64(g.Level()) {
			t.Errorf("%g is beyond the level of %d", v, g.Level())
		}
		l1 += math.Abs(v)
		square += v * v
	}
	if math.Sqrt(square) > g.L2() || l1 > g.L1() {
		t.Errorf("norms %g and %g, the noise is for %g and %g", l1, math.Sqrt(square), g.L1(), g.L2())
	}
}

// Rounding is unbiased: over many draws the mean comes close to the update, much
// closer than a step, and with other coordinates each time as well.
func TestUnbiased(t *testing.T) {
	t.Parallel()
	for _, s := range []codec.Shape{{Dim: 300, Clip: 1, Bits: 4}, {Dim: 300, Clip: 1, Bits: 8, Keep: 100}} {
		const rounds = 4000
		g, x, secret := grid(t, s), noise(s.Dim, 0.9, 1), stream(t, 1)
		mean, square := make([]float64, s.Dim), 0.0
		for r := range rounds {
			seed := keystream.Seed{byte(r), byte(r >> 8)}
			y, _, err := g.Encode(x, seed, secret)
			if err != nil {
				t.Fatal(err)
			}
			codec.Modulus(12).Reduce(y)
			got, err := g.Decode(y, 12, seed)
			if err != nil {
				t.Fatal(err)
			}
			for i, v := range got {
				mean[i] += float64(v) / rounds
			}
			square += math.Pow(distance(got, x), 2) / rounds
		}
		off := 0.0
		for i, v := range mean {
			off += math.Pow(v-float64(x[i]), 2)
		}
		// The mean's squared error is that of one draw, divided by the draws.
		if ratio := off / (square / rounds); ratio > 1.4 || ratio < 0.6 {
			t.Errorf("%+v: the mean of %d is off by %.2f times what chance explains", s, rounds, math.Sqrt(ratio))
		}
	}
}

func TestLongUpdatesAreClipped(t *testing.T) {
	t.Parallel()
	g := grid(t, codec.Shape{Dim: 1000, Clip: 2, Bits: 16})
	x := noise(1000, 50, 3)
	y, report, err := g.Encode(x, keystream.Seed{}, stream(t, 1))
	if err != nil || !report.Clipped || math.Abs(report.Norm-50) > 1e-4 {
		t.Fatal(report, err)
	}
	codec.Modulus(20).Reduce(y)
	got, err := g.Decode(y, 20, keystream.Seed{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range x {
		x[i] /= 25
	}
	if d := distance(got, x); d > 0.01 {
		t.Errorf("off by %g from the update at norm 2", d)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	good := codec.Shape{Dim: 10, Clip: 1, Bits: 8}
	for field, change := range map[string]func(*codec.Shape){
		"dim":  func(s *codec.Shape) { s.Dim = 0 },
		"clip": func(s *codec.Shape) { s.Clip = math.NaN() },
		"bits": func(s *codec.Shape) { s.Bits = 1 },
		"keep": func(s *codec.Shape) { s.Keep = 11 },
	} {
		s := good
		change(&s)
		if _, err := codec.NewGrid(s); core.KindOf(err) != core.Invalid || !strings.HasPrefix(err.Error(), field+":") {
			t.Errorf("%+v: %v", s, err)
		}
	}
	g := grid(t, good)
	for _, v := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		x := make([]float32, 10)
		x[7] = float32(v)
		if _, _, err := g.Encode(x, keystream.Seed{}, stream(t, 1)); err == nil || !strings.Contains(err.Error(), "value 7") {
			t.Errorf("%v: %v", v, err)
		}
	}
	if _, _, err := g.Encode(make([]float32, 9), keystream.Seed{}, stream(t, 1)); err == nil {
		t.Error("an update of another length was taken")
	}
	for name, sum := range map[string][]uint32{"short": make([]uint32, 9), "not reduced": {0, 0, 0, 1 << 8, 0, 0, 0, 0, 0, 0}} {
		if _, err := g.Decode(sum, 8, keystream.Seed{}); core.KindOf(err) != core.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := g.Words(1<<24, 0, 1e-9); err != nil {
		t.Error(err)
	}
	if _, err := g.Words(10, 1e20, 1e-9); core.KindOf(err) != core.Invalid {
		t.Errorf("noise of 10^10 fits into 32 bits: %v", err)
	}
}

// Words without noise have b + ⌈log2 n⌉ bits, or fewer.
func TestWordBits(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ dim, clients, bits, words int }{
		{100_000, 500, 8, 17}, {100_000, 512, 8, 17}, {100_000, 516, 8, 17}, {100_000, 517, 8, 18}, {1_000_000, 1000, 16, 26}, {3, 1, 4, 4},
	} {
		g := grid(t, codec.Shape{Dim: c.dim, Clip: 1, Bits: c.bits})
		w, err := g.Words(c.clients, 0, 1e-9)
		if err != nil || int(w.Modulus) != c.words {
			t.Errorf("%+v: %v, %v", c, w, err)
		}
	}
}

func BenchmarkEncode(b *testing.B) {
	for _, dim := range []int{100_000, 1_000_000} {
		for _, keep := range []int{0, dim / 10} {
			b.Run(name(dim, keep), func(b *testing.B) {
				g, x, secret := grid(b, codec.Shape{Dim: dim, Clip: 1, Bits: 8, Keep: keep}), noise(dim, 1, 1), stream(b, 1)
				b.SetBytes(int64(4 * dim))
				for b.Loop() {
					if _, _, err := g.Encode(x, keystream.Seed{}, secret); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	for _, dim := range []int{100_000, 1_000_000} {
		b.Run(name(dim, 0), func(b *testing.B) {
			g, sum := grid(b, codec.Shape{Dim: dim, Clip: 1, Bits: 8}), make([]uint32, dim)
			b.SetBytes(int64(4 * dim))
			for b.Loop() {
				if _, err := g.Decode(sum, 8, keystream.Seed{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func name(dim, keep int) string {
	if keep > 0 {
		return "m=" + strconv.Itoa(dim) + "/k=" + strconv.Itoa(keep)
	}
	return "m=" + strconv.Itoa(dim)
}
