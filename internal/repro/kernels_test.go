package repro

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// The kernels that are not exported by themselves, against the portable code, on
// arguments that products of ordinary values do not reach.

func forKernels(t *testing.T, f func(t *rapid.T, isa ISA)) {
	t.Parallel()
	for _, isa := range Available() {
		t.Run(isa.String(), func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(t *rapid.T) { f(t, isa) })
		})
	}
}

// anyValues returns n values of about 2^e for one e between lo and hi, with zeros
// and, if asked, what is not finite.
func anyValues(t *rapid.T, n, lo, hi int, notFinite bool) []float32 {
	e := rapid.IntRange(lo, hi).Draw(t, "exponent")
	r := NewRandom(rapid.Uint64().Draw(t, "seed"))
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(math.Ldexp(float64(int64(r.Uint64()))*0x1p-63, e))
		if r.Below(20) == 0 {
			x[i] = 0
		}
	}
	if notFinite && n > 0 && rapid.Bool().Draw(t, "not finite") {
		bad := []float32{float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1))}
		x[r.Below(n)] = bad[r.Below(3)]
	}
	return x
}

func bitsOf(x []float32) []uint32 {
	b := make([]uint32, len(x))
	for i, v := range x {
		b[i] = math.Float32bits(v)
	}
	return b
}

func wantSame(t *rapid.T, what string, got, want []float32) {
	if !slices.Equal(bitsOf(got), bitsOf(want)) {
		t.Fatalf("%s: %v, want %v", what, got, want)
	}
}

func TestQuantizeKernel(t *testing.T) {
	forKernels(t, func(t *rapid.T, isa ISA) {
		blocks, width := rapid.IntRange(1, 5).Draw(t, "blocks"), rapid.IntRange(1, 16).Draw(t, "width")
		c := rapid.IntRange(0, width-1).Draw(t, "column")
		var x []float32
		for range blocks { // each of another size, around the limit too
			x = append(x, anyValues(t, BlockSize, -149, 127, true)...)
		}
		room := func() tile {
			return tile{width: width, q: make([]int8, blocks*width*BlockSize), d: make([]float32, blocks*width), bias: make([]int32, blocks*width)}
		}
		got, want := room(), room()
		top, wantTop := quantizeColumn(isa, got, c, x), quantizeColumnPortable(want, c, x)
		if top != wantTop {
			t.Fatalf("largest magnitude %#x, want %#x", top, wantTop)
		}
		if top >= notFiniteBits {
			return // the rest means nothing
		}
		wantSame(t, "scales", got.d, want.d)
		if !slices.Equal(got.q, want.q) || !slices.Equal(got.bias, want.bias) {
			t.Fatalf("integers %v, %v, want %v, %v", got.q, got.bias, want.q, want.bias)
		}
	})
}

func TestSoftmaxKernels(t *testing.T) {
	forKernels(t, func(t *rapid.T, isa ISA) {
		x := anyValues(t, rapid.IntRange(1, 200).Draw(t, "n"), -20, 10, false)
		f := rapid.Float32Range(0.01, 2).Draw(t, "scale")
		y := slices.Clone(x)
		top, ok := scale(isa, x, f)
		wantTop, wantOK := scalePortable(y, f)
		wantSame(t, "scaled", append(x, top), append(y, wantTop))
		if !ok || !wantOK {
			t.Fatalf("%v, %v for finite values", ok, wantOK)
		}
		x[len(x)/2] = float32(math.Inf(-1)) // a position that is not looked at
		copy(y, x)
		softmax(isa, x, top)
		softmax(Portable, y, top)
		wantSame(t, "softmax", x, y)
	})
}

func TestScaleKernelRefuses(t *testing.T) {
	forKernels(t, func(t *rapid.T, isa ISA) {
		x := anyValues(t, rapid.IntRange(1, 50).Draw(t, "n"), 120, 127, true)
		y := slices.Clone(x)
		_, ok := scale(isa, x, 2)
		if _, want := scalePortable(y, 2); ok != want {
			t.Fatalf("finite: %v, want %v, for %v", ok, want, x)
		}
	})
}

func TestSquaresKernel(t *testing.T) {
	forKernels(t, func(t *rapid.T, isa ISA) {
		x := anyValues(t, rapid.IntRange(1, 200).Draw(t, "n"), -80, 60, false)
		m := anyValues(t, 1, -80, 60, false)
		wantSame(t, "sum of squares", []float32{sumSquares(isa, x, m[0])}, []float32{sumSquares(Portable, x, m[0])})
	})
}

func TestPackKernel(t *testing.T) {
	forKernels(t, func(t *rapid.T, isa ISA) {
		rows, n := rapid.IntRange(1, tileRows).Draw(t, "rows"), rapid.IntRange(1, 100).Draw(t, "n")
		ld := n + rapid.IntRange(0, 9).Draw(t, "gap")
		x := anyValues(t, rows*ld, 0, 3, false)
		got, want := make([]float32, n*tileRows+1), make([]float32, n*tileRows+1)
		packTile(isa, got, x, ld, rows, n)
		packTilePortable(want, x, ld, rows, n)
		wantSame(t, "packed", got, want)
	})
}

func TestActivationKernels(t *testing.T) {
	forKernels(t, func(t *rapid.T, isa ISA) {
		x := anyValues(t, rapid.IntRange(1, 50).Draw(t, "n"), -149, 127, false)
		got, want := make([]float32, len(x)), make([]float32, len(x))
		siluSlice(isa, got, x)
		siluPortable(want, x)
		wantSame(t, "SiLU", got, want)
		geluSlice(isa, got, x)
		geluPortable(want, x)
		wantSame(t, "GELU", got, want)
		// What is not finite must stay so: somebody further on refuses it.
		for _, bad := range []float32{float32(math.NaN()), float32(math.Inf(-1))} {
			for i := range x {
				x[i] = bad
			}
			siluSlice(isa, got, x)
			geluSlice(isa, want, x)
			if !notFinite(got[0]) || !notFinite(want[0]) {
				t.Fatalf("SiLU and GELU of %g are %g and %g", bad, got[0], want[0])
			}
		}
	})
}

// BenchmarkExponentials is the sum of exponentials in softmax.
func BenchmarkExponentials(b *testing.B) {
	const n = 4096
	x := make([]float32, n)
	for _, isa := range Available() {
		b.Run(isa.String(), func(b *testing.B) {
			for b.Loop() {
				for i := range x {
					x[i] = float32(i&1023) / -64
				}
				var l laneSum
				expSum(isa, &l, x, 0)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/element")
		})
	}
}
