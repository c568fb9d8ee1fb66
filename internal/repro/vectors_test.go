package repro_test

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"testing"

	"atoll/internal/repro"
)

var update = flag.Bool("update", false, "write testdata/vectors.txt anew, from the portable code")

const vectorsFile = "testdata/vectors.txt"

// vectors are computations whose results' hash is fixed in testdata. The inputs
// come from the package's own generator, so that another implementation of the
// norm can make them too.
var vectors = []struct {
	name string
	fill func(testing.TB, *repro.Pool, *bitsHash)
}{
	{"float16", hashFloat16},
	{"quantize", hashQuantize},
	{"quantize-weights", hashQuantizeWeights},
	{"q8-product", hashQ8},
	{"f32-product", func(t testing.TB, p *repro.Pool, h *bitsHash) { hashFloat(t, p, h, repro.F32) }},
	{"f16-product", func(t testing.TB, p *repro.Pool, h *bitsHash) { hashFloat(t, p, h, repro.F16) }},
	{"elementary", hashElementary},
	{"activation", hashActivation},
	{"sincos", hashSinCos},
	{"norms", hashNorms},
	{"rope", hashRope},
	{"attention-f32", func(t testing.TB, p *repro.Pool, h *bitsHash) { hashAttention(t, p, h, repro.F32) }},
	{"attention-f16", func(t testing.TB, p *repro.Pool, h *bitsHash) { hashAttention(t, p, h, repro.F16) }},
	{"sampling", hashSampling},
}

// TestVectors is what any machine and any implementation must reproduce.
func TestVectors(t *testing.T) {
	if *update {
		writeVectors(t)
	}
	want := readVectors(t)
	for _, isa := range isas(t) {
		for _, threads := range []int{1, 3} {
			pool := newPool(t, threads, isa)
			for _, v := range vectors {
				t.Run(fmt.Sprintf("%v/%d/%s", isa, threads, v.name), func(t *testing.T) {
					var h bitsHash
					v.fill(t, pool, &h)
					if got := h.String(); got != want[v.name] {
						t.Errorf("hash of %d results is %s, want %s", len(h.b)/4, got, want[v.name])
					}
				})
			}
		}
	}
}

// isas returns the instruction sets to test: the one that the environment forces,
// or all that this machine has.
func isas(t testing.TB) []repro.ISA {
	t.Helper()
	name := os.Getenv(repro.Variable)
	if name == "" {
		return repro.Available()
	}
	isa, err := repro.SelectISA(name)
	if err != nil {
		t.Fatal(err)
	}
	return []repro.ISA{isa}
}

func newPool(t testing.TB, threads int, isa repro.ISA) *repro.Pool {
	t.Helper()
	p, err := repro.NewPool(threads, isa)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

func writeVectors(t *testing.T) {
	var b strings.Builder
	b.WriteString("# The first 8 bytes of SHA-256 over the results as little-endian binary32,\n# made by vectors_test.go with the portable code.\n")
	pool := newPool(t, 1, repro.Portable)
	for _, v := range vectors {
		var h bitsHash
		v.fill(t, pool, &h)
		fmt.Fprintf(&b, "%s %s\n", v.name, &h)
	}
	if err := os.WriteFile(vectorsFile, []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

func readVectors(t *testing.T) map[string]string {
	f, err := os.Open(vectorsFile)
	if errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("%v: the tests run in the package's directory", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	want := map[string]string{}
	for s := bufio.NewScanner(f); s.Scan(); {
		if name, hash, ok := strings.Cut(s.Text(), " "); ok && name != "#" {
			want[name] = hash
		}
	}
	return want
}

func (h *bitsHash) addAll(x []float32) {
	for _, v := range x {
		h.add(v)
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func hashFloat16(t testing.TB, _ *repro.Pool, h *bitsHash) {
	for i := range 1 << 16 {
		if f := repro.Float16(i); f.IsFinite() {
			h.add(f.Float32())
		}
	}
	for b := uint32(0); b < 0x7f800000; b += 4093 {
		h.add(float32(repro.ToFloat16(fromBits(b))))
		h.add(float32(repro.ToFloat16(fromBits(b | 1<<31))))
	}
}

func hashQuantize(t testing.TB, _ *repro.Pool, h *bitsHash) {
	r := repro.NewRandom(11)
	for e := -140; e < 120; e++ {
		x := scaled(normal(r, 64, 1), e)
		q, d := make([]int8, 64), make([]float32, 2)
		check(t, repro.Quantize(q, d, x))
		for _, v := range q {
			h.add(float32(v))
		}
		h.addAll(d)
		check(t, repro.Dequantize(x, q, d))
		h.addAll(x)
	}
}

func hashQuantizeWeights(t testing.TB, _ *repro.Pool, h *bitsHash) {
	r := repro.NewRandom(12)
	for e := -40; e < 20; e++ {
		out := make([]byte, 2*repro.BlockBytes)
		check(t, repro.QuantizeWeights(out, scaled(normal(r, 64, 1), e)))
		for _, v := range out {
			h.add(float32(v))
		}
	}
}

func hashQ8(t testing.TB, pool *repro.Pool, h *bitsHash) {
	r := repro.NewRandom(13)
	for _, s := range []struct{ rows, cols, n int }{
		{1, 32, 1}, {15, 64, 2}, {16, 96, 3}, {17, 32, 16}, {33, 160, 17}, {48, 256, 33}, {64, 1024, 5}, {200, 64, 1}, {7, 4096, 1},
	} {
		m := randomMatrix(t, r, s.rows, s.cols)
		a, err := repro.NewActivations(s.cols, s.n)
		check(t, err)
		check(t, a.Set(normal(r, s.cols*s.n, 2), pool))
		dst := make([]float32, s.rows*s.n)
		m.Mul(dst, a, pool)
		h.addAll(dst)
	}
}

func hashFloat(t testing.TB, pool *repro.Pool, h *bitsHash, f repro.Format) {
	r := repro.NewRandom(14)
	for _, s := range []struct{ rows, cols, n int }{
		{1, 1, 1}, {31, 5, 2}, {32, 64, 8}, {33, 257, 9}, {70, 600, 7}, {128, 100, 17}, {5, 2048, 1},
	} {
		m := randomFloatMatrix(t, r, s.rows, s.cols, f)
		dst := make([]float32, s.rows*s.n)
		m.Mul(dst, normal(r, s.cols*s.n, 2), pool)
		h.addAll(dst)
	}
}

func hashElementary(t testing.TB, _ *repro.Pool, h *bitsHash) {
	for b := uint32(0); b < 0x7f800000; b += 8191 {
		x := fromBits(b)
		for _, f := range []func(float32) (float32, error){repro.Sigmoid, repro.Tanh} {
			for _, x := range []float32{x, -x} {
				y, err := f(x)
				check(t, err)
				h.add(y)
			}
		}
		if x < 0x1p-126 {
			continue // the logarithm of subnormals is exact enough, and tested below
		}
		for _, f := range []func(float32) (float32, error){repro.Log, repro.Rsqrt} {
			y, err := f(x)
			check(t, err)
			h.add(y)
		}
	}
}

func hashActivation(t testing.TB, pool *repro.Pool, h *bitsHash) {
	r := repro.NewRandom(15)
	for n := range 70 {
		for _, e := range []int{-20, 0, 3, 6, 90} {
			x, up := scaled(normal(r, n, 1), e), normal(r, n, 1)
			dst := make([]float32, n)
			repro.SiLU(dst, x, pool)
			h.addAll(dst)
			repro.GELU(dst, x, pool)
			h.addAll(dst)
			repro.SwiGLU(dst, x, up, pool)
			h.addAll(dst)
			repro.GeGLU(dst, x, up, pool)
			h.addAll(dst)
		}
	}
}

func hashSinCos(t testing.TB, _ *repro.Pool, h *bitsHash) {
	r := repro.NewRandom(16)
	for e := -30; e <= 19; e++ {
		for range 200 {
			x := float64(int64(r.Uint64())>>11) * 0x1p-52
			for range e {
				x *= 2
			}
			for range -e {
				x /= 2
			}
			s, c, err := repro.SinCos(x)
			check(t, err)
			h.add64(s)
			h.add64(c)
		}
	}
}

func hashNorms(t testing.TB, pool *repro.Pool, h *bitsHash) {
	r := repro.NewRandom(17)
	for n := 1; n < 100; n += 3 {
		x, w, b := normal(r, 5*n, 3), normal(r, n, 1), normal(r, n, 1)
		dst := make([]float32, len(x))
		check(t, repro.RMSNorm(dst, x, w, 1e-5, pool))
		h.addAll(dst)
		check(t, repro.LayerNorm(dst, x, w, b, 1e-5, pool))
		h.addAll(dst)
		check(t, repro.LayerNorm(dst, x, w, nil, 1e-5, pool))
		h.addAll(dst)
		check(t, repro.LogSoftmax(x, x))
		h.addAll(x)
	}
}

func hashRope(t testing.TB, _ *repro.Pool, h *bitsHash) {
	r := repro.NewRandom(18)
	for _, base := range []float64{10000, 500000, 1e6} {
		for _, style := range []repro.RopeStyle{repro.Halves, repro.Pairs} {
			freq, err := repro.RopeFrequencies(64, base)
			check(t, err)
			rope, err := repro.NewRope(freq, style)
			check(t, err)
			angles := make([]float32, rope.Dims())
			for _, pos := range []int{0, 1, 2, 77, 4095, 131071, 1 << 20} {
				check(t, rope.Angles(angles, pos))
				h.addAll(angles)
				x := normal(r, 3*80, 1)
				rope.Rotate(x, 80, angles)
				h.addAll(x)
			}
		}
	}
}

func hashAttention(t testing.TB, pool *repro.Pool, h *bitsHash, f repro.Format) {
	for _, c := range []repro.AttentionConfig{
		{Heads: 4, KVHeads: 4, Dim: 8, Scale: 0.35, Context: 70},
		{Heads: 6, KVHeads: 2, Dim: 64, Scale: 0.125, Context: 100},
		{Heads: 8, KVHeads: 1, Dim: 80, Scale: 0.11, Context: 50, Window: 20},
	} {
		run := newAttentionRun(t, c, f, c.Context, 19)
		dst := make([]float32, len(run.q))
		check(t, run.all(pool, dst))
		h.addAll(dst)
	}
}

func hashSampling(t testing.TB, pool *repro.Pool, h *bitsHash) {
	r := repro.NewRandom(20)
	for _, s := range []repro.Sampling{
		{}, {Temperature: 0.7, Seed: 1}, {Temperature: 1, TopK: 5, Seed: 2}, {Temperature: 1.5, TopP: 0.9, Seed: 3},
		{Temperature: 1, MinP: 0.05, Seed: 4}, {Temperature: 0.9, TopK: 40, TopP: 0.5, MinP: 0.01, Seed: 5},
	} {
		sampler, err := repro.NewSampler(s, pool.ISA())
		check(t, err)
		for pos := range 200 {
			logits := normal(r, 300, 4)
			token, err := sampler.Draw(logits, pos)
			check(t, err)
			h.add(float32(token))
		}
	}
}
