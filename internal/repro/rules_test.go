package repro_test

import (
	"encoding/binary"
	"math"
	"testing"

	"pgregory.net/rapid"

	"atoll/internal/repro"
)

// The rules again, as literally as they are written and as slowly as it takes: on
// rows as they come, one element at a time, rounding through binary64, in which
// products of two binary32 are exact.

func rn(x float64) float32 { return float32(x) }

func ruleQuantize(q []int8, d []float32, x []float32) {
	for b := range d {
		am := float32(0)
		for _, v := range x[b*32 : b*32+32] {
			am = max(am, float32(math.Abs(float64(v))))
		}
		if am < 0x1p-96 {
			d[b] = 0
			continue
		}
		d[b] = am / 127
		id := 127 / am
		for i, v := range x[b*32 : b*32+32] {
			q[b*32+i] = int8(math.RoundToEven(float64(rn(float64(v) * float64(id)))))
		}
	}
}

func ruleQ8(blocks []byte, q []int8, d []float32) float32 {
	var acc float32
	for b := range d {
		w := blocks[b*repro.BlockBytes:]
		sum := 0
		for i := range 32 {
			sum += int(int8(w[2+i])) * int(q[b*32+i])
		}
		dw := repro.Float16(binary.LittleEndian.Uint16(w)).Float32()
		f := rn(float64(dw) * float64(d[b]))
		acc = rn(float64(acc) + float64(rn(float64(sum)*float64(f))))
	}
	return acc
}

func ruleDot(a, b []float32) float32 {
	var acc float32
	for i, x := range a {
		acc = rn(float64(acc) + float64(rn(float64(x)*float64(b[i]))))
	}
	return acc
}

func ruleSum(x []float32) float32 {
	for len(x)%16 != 0 || len(x) == 0 {
		x = append(x[:len(x):len(x)], 0)
	}
	lane := make([]float32, 16)
	for i, v := range x {
		lane[i%16] = rn(float64(lane[i%16]) + float64(v))
	}
	for n := 8; n > 0; n /= 2 {
		for i := range n {
			lane[i] = rn(float64(lane[i]) + float64(lane[i+n]))
		}
	}
	return lane[0]
}

func ruleSoftmax(t testing.TB, s []float32) {
	top := s[0]
	for _, v := range s {
		top = max(top, v)
	}
	for i, v := range s {
		e, err := repro.Exp(rn(float64(v) - float64(top)))
		check(t, err)
		s[i] = e
	}
	sum := ruleSum(s)
	for i := range s {
		s[i] /= sum
	}
}

// ruleAttention answers one head of one query; keys and values are its positions'.
func ruleAttention(t testing.TB, q []float32, keys, values [][]float32, scale float32, first int) []float32 {
	s := make([]float32, len(keys))
	for p, k := range keys {
		s[p] = rn(float64(ruleDot(q, k)) * float64(scale))
	}
	// Element p of the sum belongs to lane p mod 16, p counted from the sequence's
	// beginning: what is before the window is as good as zero.
	hidden := make([]float32, first)
	for i := range hidden {
		hidden[i] = -math.MaxFloat32 / 4
	}
	s = append(hidden, s...)
	ruleSoftmax(t, s)
	out := make([]float32, len(q))
	for i := range out {
		column := make([]float32, len(values))
		for p, v := range values {
			column[p] = v[i]
		}
		out[i] = ruleDot(s[first:], column)
	}
	return out
}

func TestQuantizeFollowsRule(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n := 32 * rapid.IntRange(1, 4).Draw(t, "blocks")
		x := scaled(normal(repro.NewRandom(rapid.Uint64().Draw(t, "seed")), n, 1), rapid.IntRange(-150, 125).Draw(t, "exponent"))
		q, d, wantQ, wantD := make([]int8, n), make([]float32, n/32), make([]int8, n), make([]float32, n/32)
		if err := repro.Quantize(q, d, x); err != nil {
			t.Fatal(err)
		}
		ruleQuantize(wantQ, wantD, x)
		for i := range q {
			if q[i] != wantQ[i] || d[i/32] != wantD[i/32] {
				t.Fatalf("element %d of %g is %d·%g, want %d·%g", i, x[i], q[i], d[i/32], wantQ[i], wantD[i/32])
			}
		}
	})
}

// q8Case compares one product of any shape with rule 2, on every instruction set
// and on one and several threads.
func q8Case(t testing.TB, seed uint64, rows, blocks, n int) {
	cols := 32 * blocks
	r := repro.NewRandom(seed)
	weights := randomBlocks(r, rows, cols)
	m, err := repro.NewMatrix(rows, cols)
	check(t, err)
	check(t, m.SetRows(0, weights))
	x := normal(r, n*cols, 3)
	clear(x[:min(len(x), 40)]) // a block of zeros
	want := make([]float32, n*rows)
	for c := range n {
		q, d := make([]int8, cols), make([]float32, blocks)
		ruleQuantize(q, d, x[c*cols:(c+1)*cols])
		for i := range rows {
			want[c*rows+i] = ruleQ8(weights[i*repro.RowBytes(cols):], q, d)
		}
	}
	forPools(t, func(what string, pool *repro.Pool) {
		a, err := repro.NewActivations(cols, n+1)
		check(t, err)
		check(t, a.Set(x, pool))
		got := guarded(n * rows)
		m.Mul(got.in, a, pool)
		sameBits(t, what, got.in, want)
		got.check(t, what)
	})
}

// forPools runs f on each instruction set, with one and with three threads.
func forPools(t testing.TB, f func(what string, pool *repro.Pool)) {
	t.Helper()
	for _, isa := range isas(t) {
		for _, threads := range []int{1, 3} {
			pool, err := repro.NewPool(threads, isa)
			check(t, err)
			f(isa.String(), pool)
			pool.Close()
		}
	}
}

// guard is room for results with sentinels on both sides: assembly has no bounds
// checks.
type guard struct{ all, in []float32 }

func guarded(n int) guard {
	all := make([]float32, n+64)
	for i := range all {
		all[i] = 12345
	}
	return guard{all, all[32 : 32+n : 32+n]}
}

func (g guard) check(t testing.TB, what string) {
	t.Helper()
	for i, v := range g.all {
		if (i < 32 || i >= len(g.all)-32) && v != 12345 {
			t.Fatalf("%s: wrote %g at %d, outside its %d results", what, v, i-32, len(g.in))
		}
	}
}

func TestQ8FollowsRule(t *testing.T) {
	t.Parallel()
	for i, s := range [][3]int{{1, 1, 1}, {16, 2, 1}, {17, 3, 2}, {15, 1, 4}, {31, 5, 7}, {64, 4, 16}, {33, 2, 31}, {300, 6, 1}, {250, 3, 40}} {
		q8Case(t, uint64(i), s[0], s[1], s[2])
	}
}

func FuzzQ8Shapes(f *testing.F) {
	f.Add(uint64(1), uint8(17), uint8(3), uint8(5))
	f.Fuzz(func(t *testing.T, seed uint64, rows, blocks, n uint8) {
		q8Case(t, seed, 1+int(rows)%100, 1+int(blocks)%9, 1+int(n)%40)
	})
}

// A matrix that is set as a whole, from its rows or its columns, holds what it holds
// when set row by row, also where the last panel is not full.
func TestSetWholeMatrix(t *testing.T) {
	t.Parallel()
	for _, s := range [][2]int{{1, 1}, {31, 17}, {32, 16}, {33, 15}, {70, 40}} {
		rows, cols := s[0], s[1]
		w := normal(repro.NewRandom(1), rows*cols, 1)
		turned := make([]float32, len(w))
		for i, v := range w {
			turned[i%cols*rows+i/cols] = v
		}
		byRows, err := repro.NewFloatMatrix(rows, cols, repro.F32)
		check(t, err)
		byColumns, err := repro.NewFloatMatrix(rows, cols, repro.F32)
		check(t, err)
		byRows.Set(w)
		byColumns.SetColumns(turned)
		row := make([]float32, cols)
		for r := range rows {
			for name, m := range map[string]*repro.FloatMatrix{"from rows": byRows, "from columns": byColumns} {
				m.Row(row, r)
				sameBits(t, name, row, w[r*cols:(r+1)*cols])
			}
		}
	}
}

func floatCase(t testing.TB, seed uint64, rows, cols, n int, format repro.Format) {
	r := repro.NewRandom(seed)
	m, err := repro.NewFloatMatrix(rows, cols, format)
	check(t, err)
	weights := make([][]float32, rows)
	for i := range weights {
		w := normal(r, cols, 1)
		check(t, m.SetRow(i, w))
		if format == repro.F16 {
			for k := range w {
				w[k] = repro.ToFloat16(w[k]).Float32()
			}
		}
		weights[i] = w
		row := make([]float32, cols)
		m.Row(row, i)
		sameBits(t, "row", row, w)
	}
	x := normal(r, n*cols, 3)
	want := make([]float32, n*rows)
	for c := range n {
		for i, w := range weights {
			want[c*rows+i] = ruleDot(x[c*cols:(c+1)*cols], w)
		}
	}
	forPools(t, func(what string, pool *repro.Pool) {
		got := guarded(n * rows)
		m.Mul(got.in, x, pool)
		sameBits(t, what, got.in, want)
		got.check(t, what)
	})
}

func TestFloatProductFollowsRule(t *testing.T) {
	t.Parallel()
	for i, s := range [][3]int{{1, 1, 1}, {40, 2, 9}, {32, 8, 1}, {33, 7, 2}, {31, 300, 3}, {64, 256, 8}, {65, 257, 15}, {600, 20, 4}, {40, 513, 9}} {
		floatCase(t, uint64(i), s[0], s[1], s[2], repro.F32)
		floatCase(t, uint64(i), s[0], s[1], s[2], repro.F16)
	}
}

func FuzzFloatShapes(f *testing.F) {
	f.Add(uint64(1), uint8(33), uint16(300), uint8(5), false)
	f.Fuzz(func(t *testing.T, seed uint64, rows uint8, cols uint16, n uint8, half bool) {
		format := repro.F32
		if half {
			format = repro.F16
		}
		floatCase(t, seed, 1+int(rows)%100, 1+int(cols)%600, 1+int(n)%20, format)
	})
}

func attentionCase(t testing.TB, seed uint64, kvHeads, group, dim, n, window int, format repro.Format) {
	c := repro.AttentionConfig{Heads: kvHeads * group, KVHeads: kvHeads, Dim: dim, Scale: 0.25, Window: window, Context: n + 3}
	run := newAttentionRun(t, c, format, n, seed)
	want := ruleAttentionRun(t, run, seed, format)
	forPools(t, func(what string, pool *repro.Pool) {
		got := guarded(len(run.q))
		check(t, run.all(pool, got.in))
		sameBits(t, what+" at once", got.in, want)
		got.check(t, what)
		// And the same in single steps.
		width := c.Heads * c.Dim
		for p := range n {
			dst := make([]float32, width)
			check(t, run.Run(dst, run.q[p*width:(p+1)*width], run.kv, []repro.Span{{Pages: run.pages, First: p, N: 1}}, pool))
			sameBits(t, what+" one by one", dst, want[p*width:(p+1)*width])
		}
	})
}

// ruleAttentionRun makes the keys and values of newAttentionRun again.
func ruleAttentionRun(t testing.TB, run *attentionRun, seed uint64, format repro.Format) []float32 {
	c := run.c
	r := repro.NewRandom(seed)
	normal(r, run.n*c.Heads*c.Dim, 1)
	repro.Shuffle(r, make([]int32, len(run.pages)))
	var keys, values [][]float32
	for range run.n {
		for _, list := range []*[][]float32{&keys, &values} {
			x := normal(r, c.KVHeads*c.Dim, 1)
			if format == repro.F16 {
				for i := range x {
					x[i] = repro.ToFloat16(x[i]).Float32()
				}
			}
			*list = append(*list, x)
		}
	}
	head := func(all [][]float32, h, from, to int) [][]float32 {
		var out [][]float32
		for _, x := range all[from:to] {
			out = append(out, x[h*c.Dim:(h+1)*c.Dim])
		}
		return out
	}
	var want []float32
	for p := range run.n {
		first := 0
		if c.Window > 0 {
			first = max(0, p+1-c.Window)
		}
		for h := range c.Heads {
			q := run.q[(p*c.Heads+h)*c.Dim:][:c.Dim]
			kv := h / (c.Heads / c.KVHeads)
			want = append(want, ruleAttention(t, q, head(keys, kv, first, p+1), head(values, kv, first, p+1), c.Scale, first)...)
		}
	}
	return want
}

func TestAttentionFollowsRule(t *testing.T) {
	t.Parallel()
	for i, s := range [][5]int{{1, 1, 1, 1, 0}, {2, 1, 8, 40, 0}, {1, 3, 33, 35, 0}, {2, 4, 64, 65, 0}, {1, 8, 80, 33, 7}, {3, 5, 20, 70, 33}} {
		attentionCase(t, uint64(i), s[0], s[1], s[2], s[3], s[4], repro.F32)
		attentionCase(t, uint64(i), s[0], s[1], s[2], s[3], s[4], repro.F16)
	}
}

func FuzzAttentionShapes(f *testing.F) {
	f.Add(uint64(1), uint8(1), uint8(3), uint8(33), uint8(40), uint8(0), true)
	f.Fuzz(func(t *testing.T, seed uint64, kvHeads, group, dim, n, window uint8, half bool) {
		format := repro.F32
		if half {
			format = repro.F16
		}
		attentionCase(t, seed, 1+int(kvHeads)%3, 1+int(group)%9, 1+int(dim)%70, 1+int(n)%70, int(window)%80, format)
	})
}
