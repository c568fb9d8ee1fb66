package codec

import (
	"math"
	"math/bits"
	"testing"

	"atoll/internal/keystream"
)

// Against the definition: H[i][j] = (−1)^(number of common bits of i and j).
func TestHadamard(t *testing.T) {
	t.Parallel()
	for n := 1; n <= 256; n *= 2 {
		x, want := make([]float32, n), make([]float32, n)
		for i := range x {
			x[i] = float32((i*37)%11 - 5)
		}
		for i := range want {
			for j, v := range x {
				if bits.OnesCount(uint(i&j))%2 == 1 {
					v = -v
				}
				want[i] += v
			}
		}
		hadamard(x)
		for i := range x {
			if x[i] != want[i] {
				t.Fatalf("size %d, value %d: %g, want %g", n, i, x[i], want[i])
			}
		}
	}
}

// Two levels at once give the bits of one after the other: the order of additions is
// part of the format.
func TestHadamardOrder(t *testing.T) {
	t.Parallel()
	s := keystream.Public(keystream.Seed{}, "test")
	for _, n := range []int{512, 1024} {
		x := make([]float32, n)
		for i := range x {
			x[i] = math.Float32frombits(uint32(s.Uint64())&0x80ffffff | 0x3e000000)
		}
		want := append([]float32(nil), x...)
		for h := 1; h < n; h *= 2 {
			for i := range want {
				if i&h == 0 {
					want[i], want[i+h] = want[i]+want[i+h], want[i]-want[i+h]
				}
			}
		}
		hadamard(x)
		for i := range x {
			if x[i] != want[i] {
				t.Fatalf("size %d, value %d: %g, want %g", n, i, x[i], want[i])
			}
		}
	}
}

// Whatever the dimension, rotating keeps the norm, is undone by invert, and spreads a
// vector that stands in one coordinate: at the start, in the middle, at the end.
func TestRotation(t *testing.T) {
	t.Parallel()
	for _, dim := range []int{1, 2, 3, 5, 64, 65, 127, 1000, 5000, 8192, 10_000} {
		g, err := NewGrid(Shape{Dim: dim, Clip: 1, Bits: 8})
		if err != nil {
			t.Fatal(err)
		}
		r := g.rotation(keystream.Seed{byte(dim)})
		for _, at := range []int{0, dim / 2, dim - 1} {
			x := make([]float32, dim)
			x[at] = 1
			r.apply(x)
			square, top := 0.0, 0.0
			for _, v := range x {
				square += float64(v) * float64(v)
				top = max(top, math.Abs(float64(v)))
			}
			if math.Abs(square-1) > 1e-5 {
				t.Errorf("dim %d: norm² %g", dim, square)
			}
			if top > g.limit {
				t.Errorf("dim %d: a value of %g, beyond %g", dim, top, g.limit)
			}
			r.invert(x)
			x[at]--
			for i, v := range x {
				if math.Abs(float64(v)) > 1e-5 {
					t.Fatalf("dim %d: value %d is off by %g after going back", dim, i, v)
				}
			}
		}
	}
}
