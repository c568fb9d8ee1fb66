package codec_test

import (
	"math"
	"testing"

	"atoll/internal/codec"
	"atoll/internal/keystream"
	"atoll/internal/privacy"
)

// Sums under noise wrap around no more often than Words says; with one bit less they
// would all the time.
func TestWrapAround(t *testing.T) {
	t.Parallel()
	const clients, variance, allowed, rounds = 3, 700.0, 0.05, 3000
	g := grid(t, codec.Shape{Dim: 50, Clip: 1, Bits: 4})
	w, err := g.Words(clients, variance, allowed)
	if err != nil {
		t.Fatal(err)
	}
	noise, err := privacy.NewSkellam(variance)
	if err != nil {
		t.Fatal(err)
	}
	most := clients * g.Level() // what clients can add up to, at worst
	secret := stream(t, 2)
	wraps := func(m codec.Modulus) (n int) {
		for range rounds {
			for range g.Len() {
				sum := int64(most) + noise.Draw(secret)
				if int64(m.Centre(uint32(sum)&(1<<m-1))) != sum {
					n++
					break
				}
			}
		}
		return n
	}
	if n := wraps(w.Modulus); float64(n) > w.Wrap*rounds*1.5 {
		t.Errorf("%d of %d sums wrapped around, with a chance of %g", n, rounds, w.Wrap)
	}
	if n := wraps(w.Modulus - 1); n < rounds/10 {
		t.Errorf("with one bit less %d of %d wrap around: the words are too wide", n, rounds)
	}
}

// What rounding costs where there is noise: with 6 bits at most 2 percent more of it
// than Gaussian noise without any rounding, with 8 bits half a percent.
func TestBitsCostLittleNoise(t *testing.T) {
	t.Parallel()
	target := privacy.Target{Epsilon: 4, Delta: 1e-6, Rounds: 50}
	gaussian, err := target.Noise()
	if err != nil {
		t.Fatal(err)
	}
	for _, dim := range []int{1000, 100_000, 1_000_000} {
		for bits, most := range map[int]float64{6: 1.02, 8: 1.005} {
			g := grid(t, codec.Shape{Dim: dim, Clip: 1, Bits: bits})
			variance, err := target.SkellamVariance(g.L1(), g.L2())
			if err != nil {
				t.Fatal(err)
			}
			if ratio := math.Sqrt(variance) * g.Step() / gaussian; ratio < 1 || ratio > most {
				t.Errorf("%d values of %d bits: %.4f times the noise", dim, bits, ratio)
			}
		}
	}
}

// Whatever the words, a decoded sum is finite, or there is an error.
func FuzzDecode(f *testing.F) {
	f.Add([]byte{1, 2, 3, 4}, uint8(2), uint8(8))
	f.Fuzz(func(t *testing.T, data []byte, keep, bits uint8) {
		g, err := codec.NewGrid(codec.Shape{Dim: 5, Clip: 1, Bits: 8, Keep: int(keep) % 6})
		if err != nil {
			t.Fatal(err)
		}
		sum := make([]uint32, len(data)/4)
		for i := range sum {
			sum[i] = uint32(data[4*i]) | uint32(data[4*i+1])<<8 | uint32(data[4*i+2])<<16 | uint32(data[4*i+3])<<24
		}
		x, err := g.Decode(sum, codec.Modulus(bits), keystream.Seed{})
		if err != nil {
			return
		}
		if _, err := codec.Norm(x); err != nil || len(x) != 5 {
			t.Errorf("%v: %v, %v", sum, x, err)
		}
	})
}
