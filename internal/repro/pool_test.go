package repro_test

import (
	"slices"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"atoll/internal/repro"
)

func TestSelectISA(t *testing.T) {
	t.Parallel()
	have := repro.Available()
	if best, err := repro.SelectISA(""); err != nil || best != have[len(have)-1] {
		t.Errorf("default is %v, %v, want the last of %v", best, err, have)
	}
	for _, isa := range []repro.ISA{repro.Portable, repro.AVX2, repro.AVXVNNI, repro.AVX512, repro.NEON} {
		got, err := repro.SelectISA(strings.ToUpper(isa.String()))
		if slices.Contains(have, isa) {
			if err != nil || got != isa {
				t.Errorf("%v: %v, %v", isa, got, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), "this processor cannot run it") {
			t.Errorf("%v on a machine with %v: %v, %v, want an error that says so", isa, have, got, err)
		}
		if p, err := repro.NewPool(1, isa); err == nil {
			p.Close()
			t.Errorf("a pool was made for %v on a machine with %v", isa, have)
		}
	}
	if _, err := repro.SelectISA("sse9"); err == nil {
		t.Error("sse9 was accepted")
	}
}

func TestPoolRefusals(t *testing.T) {
	t.Parallel()
	for _, threads := range []int{-1, 0, 1025} {
		if p, err := repro.NewPool(threads, repro.Portable); err == nil {
			p.Close()
			t.Errorf("a pool of %d threads was made", threads)
		}
	}
}

// Several goroutines may use one pool; each gets its own product, whatever the
// number of threads and however often workers have slept in between.
func TestPoolIsShared(t *testing.T) {
	t.Parallel()
	r := repro.NewRandom(1)
	m := randomMatrix(t, r, 500, 256)
	x := normal(r, 256*20, 1)
	want := make([]float32, 500*20)
	product := func(t testing.TB, pool *repro.Pool, dst []float32, n int) {
		a, err := repro.NewActivations(256, n)
		check(t, err)
		check(t, a.Set(x[:n*256], pool))
		m.Mul(dst, a, pool)
	}
	product(t, newPool(t, 1, repro.Portable), want, 20)
	pool := newPool(t, 5, repro.Available()[len(repro.Available())-1])
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for i := range 200 {
				n := 1 + i%20
				dst := make([]float32, 500*n)
				product(t, pool, dst, n)
				sameBits(t, "shared pool", dst, want[:500*n])
			}
		})
	}
	group.Wait()
}

// A worker that has gone to sleep comes back for the next run.
func TestPoolWakes(t *testing.T) {
	t.Parallel()
	pool := newPool(t, 4, repro.Portable)
	x, y := make([]float32, 1<<16), make([]float32, 1<<20)
	for i := range x {
		x[i] = 1
	}
	for range 20 {
		repro.Add(x, x, pool)
		// Work of this goroutine alone, long enough for workers to go to sleep.
		if _, err := repro.Sum(y); err != nil {
			t.Fatal(err)
		}
	}
	for i, v := range x {
		if v != 1<<20 {
			t.Fatalf("element %d is %g, want %d", i, v, 1<<20)
		}
	}
}

// A vector's product is the same alone and in any batch, in any order.
func TestBatchInvariance(t *testing.T) {
	t.Parallel()
	pools := []*repro.Pool{}
	for _, isa := range isas(t) {
		pools = append(pools, newPool(t, 2, isa))
	}
	rapid.Check(t, func(t *rapid.T) {
		r := repro.NewRandom(rapid.Uint64().Draw(t, "seed"))
		rows, cols, n := rapid.IntRange(1, 70).Draw(t, "rows"), 32*rapid.IntRange(1, 5).Draw(t, "blocks"), rapid.IntRange(1, 40).Draw(t, "n")
		m, err := repro.NewMatrix(rows, cols)
		if err == nil {
			err = m.SetRows(0, randomBlocks(r, rows, cols))
		}
		if err != nil {
			t.Fatal(err)
		}
		f, err := repro.NewFloatMatrix(rows, cols, repro.F16)
		if err != nil {
			t.Fatal(err)
		}
		for i := range rows {
			if err := f.SetRow(i, normal(r, cols, 1)); err != nil {
				t.Fatal(err)
			}
		}
		x := normal(r, n*cols, 1)
		a, err := repro.NewActivations(cols, n)
		if err != nil {
			t.Fatal(err)
		}
		pool := rapid.SampledFrom(pools).Draw(t, "pool")
		batch, batchF := make([]float32, n*rows), make([]float32, n*rows)
		if err := a.Set(x, pool); err != nil {
			t.Fatal(err)
		}
		m.Mul(batch, a, pool)
		f.Mul(batchF, x, pool)
		c := rapid.IntRange(0, n-1).Draw(t, "column")
		alone := make([]float32, rows)
		if err := a.Set(x[c*cols:(c+1)*cols], pool); err != nil {
			t.Fatal(err)
		}
		m.Mul(alone, a, pool)
		same(t, alone, batch[c*rows:(c+1)*rows])
		f.Mul(alone, x[c*cols:(c+1)*cols], pool)
		same(t, alone, batchF[c*rows:(c+1)*rows])
	})
}

func same(t *rapid.T, got, want []float32) {
	for i := range got {
		if got[i] != want[i] {
			t.Fatalf("row %d is %g alone and %g in the batch", i, got[i], want[i])
		}
	}
}

// Any range of a matrix's rows gives the same results as the whole.
func TestRowRange(t *testing.T) {
	t.Parallel()
	const rows, cols, first, last = 77, 96, 13, 54
	r := repro.NewRandom(3)
	blocks := randomBlocks(r, rows, cols)
	pool := newPool(t, 1, repro.Portable)
	a, err := repro.NewActivations(cols, 1)
	check(t, err)
	check(t, a.Set(normal(r, cols, 1), pool))
	product := func(from, to int) []float32 {
		m, err := repro.NewMatrix(to-from, cols)
		check(t, err)
		for i := from; i < to; i += 7 { // in pieces
			check(t, m.SetRows(i-from, blocks[i*repro.RowBytes(cols):min(to, i+7)*repro.RowBytes(cols)]))
		}
		dst := make([]float32, to-from)
		m.Mul(dst, a, pool)
		return dst
	}
	sameBits(t, "range", product(first, last), product(0, rows)[first:last])
}

func TestHotPathDoesNotAllocate(t *testing.T) {
	r := repro.NewRandom(4)
	m := randomMatrix(t, r, 100, 64)
	f := randomFloatMatrix(t, r, 100, 64, repro.F16)
	c := repro.AttentionConfig{Heads: 6, KVHeads: 2, Dim: 32, Scale: 0.2, Context: 40}
	run := newAttentionRun(t, c, repro.F16, 40, 5)
	x, dst, out := normal(r, 9*64, 1), make([]float32, 900), make([]float32, len(run.q))
	w := normal(r, 64, 1)
	spans := []repro.Span{{Pages: run.pages, N: 40}}
	for _, isa := range isas(t) {
		for _, threads := range []int{1, 2} {
			pool := newPool(t, threads, isa)
			a, err := repro.NewActivations(64, 9)
			check(t, err)
			got := testing.AllocsPerRun(20, func() {
				check(t, repro.RMSNorm(x, x, w, 1e-5, pool))
				check(t, a.Set(x, pool))
				m.Mul(dst, a, pool)
				f.Mul(dst, x, pool)
				repro.SwiGLU(dst, dst, dst, pool)
				check(t, run.Run(out, run.q, run.kv, spans, pool))
			})
			if got != 0 {
				t.Errorf("%v, %d threads: %v allocations", isa, threads, got)
			}
		}
	}
}
