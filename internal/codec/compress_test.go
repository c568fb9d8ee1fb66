package codec_test

import (
	"math"
	"slices"
	"sort"
	"testing"

	"pgregory.net/rapid"

	"atoll/internal/codec"
	"atoll/internal/core"
)

// Nothing is lost: what a message says and what it leaves add up to the update and the
// old residual, and a message has the largest values, each off by half a step at most.
func TestCompress(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		value := rapid.Custom(func(t *rapid.T) float32 {
			return float32(rapid.IntRange(-9, 9).Draw(t, "v")) * rapid.SampledFrom([]float32{0, 0.1, 1, 1e6, 1e-6}).Draw(t, "unit")
		})
		n := rapid.IntRange(1, 200).Draw(t, "dim")
		update := rapid.SliceOfN(value, n, n).Draw(t, "update")
		residual := rapid.SliceOfN(value, n, n).Draw(t, "residual")
		keep := rapid.IntRange(1, n).Draw(t, "keep")
		whole := make([]float32, n)
		for i := range whole {
			whole[i] = update[i] + residual[i]
		}
		message, rest, err := codec.Compress(update, residual, keep)
		if err != nil {
			t.Fatal(err)
		}
		if most := codec.MaxMessage(n, keep); int64(len(message)) > most {
			t.Errorf("%d of %d values take %d bytes, and at most %d", keep, n, len(message), most)
		}
		got, err := codec.Decompress(message, n)
		if err != nil {
			t.Fatal(err)
		}
		order := make([]int, n)
		for i := range order {
			order[i] = i
		}
		sort.SliceStable(order, func(a, b int) bool {
			return math.Abs(float64(whole[order[a]])) > math.Abs(float64(whole[order[b]]))
		})
		largest := math.Abs(float64(whole[order[0]]))
		for rank, i := range order {
			if off := math.Abs(float64(whole[i] - got[i] - rest[i])); off > 1e-6*largest {
				t.Errorf("value %d: %g + %g is not %g", i, got[i], rest[i], whole[i])
			}
			if rank >= keep && got[i] != 0 {
				t.Errorf("value %d is number %d and was sent, though %d are kept", i, rank, keep)
			}
			if rank < keep && math.Abs(float64(rest[i])) > largest/127/2*1.001 {
				t.Errorf("value %d was sent and is off by %g", i, rest[i])
			}
		}
	})
}

// With error feedback the sum of many sparse messages comes near the sum of updates.
func TestErrorFeedback(t *testing.T) {
	t.Parallel()
	const dim, rounds = 500, 200
	update := noise(dim, 1, 5)
	var residual []float32
	sum := make([]float32, dim)
	for range rounds {
		message, rest, err := codec.Compress(update, residual, dim/10)
		if err != nil {
			t.Fatal(err)
		}
		if want := 3 + dim/10*3 + 8; len(message) > want {
			t.Fatalf("%d bytes, want at most %d", len(message), want)
		}
		got, err := codec.Decompress(message, dim)
		if err != nil {
			t.Fatal(err)
		}
		for i, v := range got {
			sum[i] += v / rounds
		}
		residual = rest
	}
	if d := distance(sum, update); d > 0.1 {
		t.Errorf("the mean of %d rounds is off by %g of 1", rounds, d)
	}
}

func TestCompressRefuses(t *testing.T) {
	t.Parallel()
	nan := float32(math.NaN())
	for name, c := range map[string]struct {
		update, residual []float32
		keep             int
	}{
		"keeps nothing":    {make([]float32, 3), nil, 0},
		"keeps too much":   {make([]float32, 3), nil, 4},
		"another length":   {make([]float32, 3), make([]float32, 2), 1},
		"not a number":     {[]float32{0, nan, 0}, nil, 1},
		"adds to infinity": {[]float32{math.MaxFloat32}, []float32{math.MaxFloat32}, 1},
	} {
		if _, _, err := codec.Compress(c.update, c.residual, c.keep); core.KindOf(err) != core.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	good, _, err := codec.Compress([]float32{0, 0, 3, 0, -4}, nil, 2)
	if err != nil {
		t.Fatal(err)
	}
	if want := []byte{5, 2, 3, 2, 0x04, 0x02, 0x01, 0x3d, 95, 0x81}; !slices.Equal(good, want) {
		t.Fatalf("the message is % x, want % x", good, want)
	}
	for name, bad := range map[string][]byte{
		"empty":         {},
		"other dim":     {6, 2, 3, 2, 0x04, 0x02, 0x01, 0x3d, 95, 0x81},
		"no values":     {5, 0},
		"too many":      {5, 6, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1},
		"long number":   {5, 2, 0x83, 0, 2, 0x04, 0x02, 0x01, 0x3d, 95, 0x81},
		"same index":    {5, 2, 3, 0, 0x04, 0x02, 0x01, 0x3d, 95, 0x81},
		"index too big": {5, 2, 3, 3, 0x04, 0x02, 0x01, 0x3d, 95, 0x81},
		"cut":           good[:9],
		"longer":        append(slices.Clone(good), 0),
		"NaN":           {5, 2, 3, 2, 0, 0, 0xc0, 0x7f, 95, 0x81},
		"overflow":      {5, 2, 3, 2, 0, 0, 0x7f, 0x7f, 95, 0x81},
		"negative":      {5, 2, 3, 2, 0x04, 0x02, 0x01, 0xbd, 95, 0x81},
		"-128":          {5, 2, 3, 2, 0x04, 0x02, 0x01, 0x3d, 95, 0x80},
	} {
		if x, err := codec.Decompress(bad, 5); core.KindOf(err) != core.Invalid {
			t.Errorf("%s: %v, %v", name, x, err)
		}
	}
}

func FuzzDecompress(f *testing.F) {
	good, _, err := codec.Compress([]float32{0, 0, 3, 0, -4}, nil, 2)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good, 5)
	f.Add([]byte{1, 1, 0, 0, 0, 0, 0}, 1)
	f.Fuzz(func(t *testing.T, message []byte, dim int) {
		if dim < 1 || dim > 1000 {
			return
		}
		x, err := codec.Decompress(message, dim)
		if err != nil {
			return
		}
		if _, err := codec.Norm(x); err != nil || len(x) != dim {
			t.Errorf("% x: %v, %v", message, x, err)
		}
	})
}

func BenchmarkCompress(b *testing.B) {
	for _, dim := range []int{100_000, 1_000_000} {
		for _, keep := range []int{dim, dim / 100} {
			b.Run(name(dim, keep), func(b *testing.B) {
				x := noise(dim, 1, 1)
				b.SetBytes(int64(4 * dim))
				for b.Loop() {
					if _, _, err := codec.Compress(x, x, keep); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
