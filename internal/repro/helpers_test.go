package repro_test

import (
	"encoding/binary"
	"math"
	"testing"

	"atoll/internal/repro"
)

func fromBits(b uint32) float32 { return math.Float32frombits(b) }

func (h *bitsHash) add64(v float64) { h.b = binary.LittleEndian.AppendUint64(h.b, math.Float64bits(v)) }

// scaled returns x·2^e, rounded to binary32 once.
func scaled(x []float32, e int) []float32 {
	for i, v := range x {
		x[i] = float32(math.Ldexp(float64(v), e))
	}
	return x
}

// randomBlocks returns rows of GGUF Q8_0 blocks with all int8, −128 included.
func randomBlocks(r *repro.Random, rows, cols int) []byte {
	b := make([]byte, rows*repro.RowBytes(cols))
	for i := range b {
		b[i] = byte(r.Uint64() >> 40)
	}
	for i := 0; i < len(b); i += repro.BlockBytes {
		d := repro.ToFloat16(normal(r, 1, 0.02)[0])
		binary.LittleEndian.PutUint16(b[i:], uint16(d))
	}
	return b
}

func randomMatrix(t testing.TB, r *repro.Random, rows, cols int) *repro.Matrix {
	t.Helper()
	m, err := repro.NewMatrix(rows, cols)
	check(t, err)
	check(t, m.SetRows(0, randomBlocks(r, rows, cols)))
	return m
}

func randomFloatMatrix(t testing.TB, r *repro.Random, rows, cols int, f repro.Format) *repro.FloatMatrix {
	t.Helper()
	m, err := repro.NewFloatMatrix(rows, cols, f)
	check(t, err)
	for i := range rows {
		check(t, m.SetRow(i, normal(r, cols, 1)))
	}
	return m
}

// attentionRun is a sequence of n positions in a cache whose pages are out of
// order and hold leftovers.
type attentionRun struct {
	*repro.Attention
	c     repro.AttentionConfig
	kv    *repro.KV
	pages []int32
	q     []float32
	n     int
}

func newAttentionRun(t testing.TB, c repro.AttentionConfig, f repro.Format, n int, seed uint64) *attentionRun {
	t.Helper()
	r := repro.NewRandom(seed)
	a, err := repro.NewAttention(c, 4)
	check(t, err)
	count := (n + repro.PagePositions - 1) / repro.PagePositions
	kv, err := repro.NewKV(c.KVHeads, c.Dim, count+2, f)
	check(t, err)
	run := &attentionRun{Attention: a, c: c, kv: kv, n: n, q: normal(r, n*c.Heads*c.Dim, 1)}
	for i := range count + 2 {
		run.pages = append(run.pages, int32(i))
	}
	repro.Shuffle(r, run.pages)
	width := c.KVHeads * c.Dim
	leftover := repro.NewRandom(seed + 1)
	for p := range count + 2 {
		for s := range repro.PagePositions {
			check(t, kv.Put(p, s, normal(leftover, width, 9), normal(leftover, width, 9)))
		}
	}
	for p := range n {
		check(t, kv.Put(int(run.pages[p/repro.PagePositions]), p%repro.PagePositions, normal(r, width, 1), normal(r, width, 1)))
	}
	return run
}

// all asks the queries of all positions at once.
func (r *attentionRun) all(pool *repro.Pool, dst []float32) error {
	return r.Run(dst, r.q, r.kv, []repro.Span{{Pages: r.pages, N: r.n}}, pool)
}

func sameBits(t testing.TB, what string, got, want []float32) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d results, want %d", what, len(got), len(want))
	}
	for i := range got {
		if math.Float32bits(got[i]) != math.Float32bits(want[i]) {
			t.Fatalf("%s: result %d of %d is %g (%#x), want %g (%#x)", what, i, len(got), got[i], math.Float32bits(got[i]), want[i], math.Float32bits(want[i]))
		}
	}
}
