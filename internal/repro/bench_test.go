package repro_test

import (
	"fmt"
	"testing"

	"atoll/internal/repro"
)

// Each benchmark runs every instruction set that this machine has, on one thread,
// so that each is the anchor of the others.

func forISAs(b *testing.B, f func(b *testing.B, pool *repro.Pool)) {
	for _, isa := range isas(b) {
		b.Run(isa.String(), func(b *testing.B) { f(b, newPool(b, 1, isa)) })
	}
}

func BenchmarkQ8(b *testing.B) {
	for _, s := range []struct{ rows, cols, n int }{
		{576, 576, 1}, {1536, 576, 1}, {2048, 2048, 1}, {5632, 2048, 1}, {32000, 2048, 1}, {65536, 4096, 1},
		{2048, 2048, 4}, {2048, 2048, 16}, {2048, 2048, 128}, {5632, 2048, 128},
	} {
		b.Run(fmt.Sprintf("%dx%dx%d", s.rows, s.cols, s.n), func(b *testing.B) {
			r := repro.NewRandom(1)
			m, err := repro.NewMatrix(s.rows, s.cols)
			check(b, err)
			rows := randomBlocks(r, 16, s.cols)
			for i := 0; i+16 <= s.rows; i += 16 {
				check(b, m.SetRows(i, rows))
			}
			x, dst := normal(r, s.n*s.cols, 1), make([]float32, s.n*s.rows)
			forISAs(b, func(b *testing.B, pool *repro.Pool) {
				a, err := repro.NewActivations(s.cols, s.n)
				check(b, err)
				check(b, a.Set(x, pool))
				b.ReportAllocs()
				for b.Loop() {
					m.Mul(dst, a, pool)
				}
				each := float64(b.Elapsed().Nanoseconds()) / float64(b.N)
				if s.n == 1 {
					b.ReportMetric(float64(s.rows*repro.RowBytes(s.cols))/each, "GB/s")
				} else {
					b.ReportMetric(2*float64(s.rows*s.cols*s.n)/each, "GOP/s")
				}
			})
		})
	}
}

// BenchmarkThreads is a product on the fastest instruction set with one and more
// threads; the small ones show what sharing out the work costs.
func BenchmarkThreads(b *testing.B) {
	for _, s := range []struct{ rows, cols, n int }{{576, 576, 1}, {1536, 576, 1}, {2048, 2048, 1}, {32000, 2048, 1}, {2048, 2048, 128}} {
		r := repro.NewRandom(1)
		m := randomMatrix(b, r, s.rows, s.cols)
		x, dst := normal(r, s.n*s.cols, 1), make([]float32, s.n*s.rows)
		for _, threads := range []int{1, 2, 4} {
			b.Run(fmt.Sprintf("%dx%dx%d/%d", s.rows, s.cols, s.n, threads), func(b *testing.B) {
				have := isas(b)
				pool := newPool(b, threads, have[len(have)-1])
				a, err := repro.NewActivations(s.cols, s.n)
				check(b, err)
				check(b, a.Set(x, pool))
				for b.Loop() {
					m.Mul(dst, a, pool)
				}
				b.ReportMetric(2*float64(s.rows*s.cols*s.n)*float64(b.N)/float64(b.Elapsed().Nanoseconds()), "GOP/s")
			})
		}
	}
}

// BenchmarkRead is the anchor for products that stream from memory: a sum over the
// same number of bytes, in Go.
func BenchmarkRead(b *testing.B) {
	x := make([]uint64, 65536*repro.RowBytes(4096)/8)
	for i := range x {
		x[i] = uint64(i)
	}
	var sum uint64
	for b.Loop() {
		var s0, s1, s2, s3 uint64
		for i := 0; i+4 <= len(x); i += 4 {
			v := (*[4]uint64)(x[i:])
			s0, s1, s2, s3 = s0+v[0], s1+v[1], s2+v[2], s3+v[3]
		}
		sum += s0 + s1 + s2 + s3
	}
	if sum == 1 {
		b.Log(sum)
	}
	b.ReportMetric(8*float64(len(x))*float64(b.N)/float64(b.Elapsed().Nanoseconds()), "GB/s")
}

func BenchmarkFloat(b *testing.B) {
	for _, s := range []struct {
		rows, cols, n int
		format        repro.Format
	}{{1024, 1024, 1024, repro.F32}, {2048, 2048, 1, repro.F32}, {2048, 2048, 1, repro.F16}, {1024, 1024, 128, repro.F16}} {
		b.Run(fmt.Sprintf("%dx%dx%d-%v", s.rows, s.cols, s.n, s.format), func(b *testing.B) {
			r := repro.NewRandom(1)
			m := randomFloatMatrix(b, r, s.rows, s.cols, s.format)
			x, dst := normal(r, s.n*s.cols, 1), make([]float32, s.n*s.rows)
			forISAs(b, func(b *testing.B, pool *repro.Pool) {
				b.ReportAllocs()
				for b.Loop() {
					m.Mul(dst, x, pool)
				}
				b.ReportMetric(2*float64(s.rows*s.cols*s.n)*float64(b.N)/float64(b.Elapsed().Nanoseconds()), "GFLOP/s")
			})
		})
	}
}

func BenchmarkElements(b *testing.B) {
	const n = 4096
	r := repro.NewRandom(1)
	x, up, dst := normal(r, n, 3), normal(r, n, 1), make([]float32, n)
	a, err := repro.NewActivations(n, 1)
	check(b, err)
	for name, f := range map[string]func(*repro.Pool) error{
		"swiglu":   func(p *repro.Pool) error { repro.SwiGLU(dst, x, up, p); return nil },
		"gelu":     func(p *repro.Pool) error { repro.GELU(dst, x, p); return nil },
		"rmsnorm":  func(p *repro.Pool) error { return repro.RMSNorm(dst, x, up, 1e-5, p) },
		"quantize": func(p *repro.Pool) error { return a.Set(x, p) },
	} {
		b.Run(name, func(b *testing.B) {
			forISAs(b, func(b *testing.B, pool *repro.Pool) {
				b.ReportAllocs()
				for b.Loop() {
					check(b, f(pool))
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/element")
			})
		})
	}
}

// BenchmarkAttention answers the last query of a sequence, and all 128 last ones.
func BenchmarkAttention(b *testing.B) {
	c := repro.AttentionConfig{Heads: 32, KVHeads: 4, Dim: 64, Scale: 0.125, Context: 1024}
	for _, format := range []repro.Format{repro.F32, repro.F16} {
		for _, n := range []int{1, 128} {
			b.Run(fmt.Sprintf("%v/%d-of-%d", format, n, c.Context), func(b *testing.B) {
				run := newAttentionRun(b, c, format, c.Context, 1)
				width := c.Heads * c.Dim
				first := c.Context - n
				dst := make([]float32, n*width)
				spans := []repro.Span{{Pages: run.pages, First: first, N: n}}
				forISAs(b, func(b *testing.B, pool *repro.Pool) {
					b.ReportAllocs()
					for b.Loop() {
						check(b, run.Run(dst, run.q[first*width:], run.kv, spans, pool))
					}
					b.ReportMetric(4*float64(n*width*c.Context)*float64(b.N)/float64(b.Elapsed().Nanoseconds()), "GFLOP/s")
				})
			})
		}
	}
}
