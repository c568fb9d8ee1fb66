package repro_test

import (
	"errors"
	"math"
	"testing"

	"atoll/internal/repro"
)

// NaN and infinities end where they come in, with an error that names them.
func TestNotFiniteIsRefused(t *testing.T) {
	t.Parallel()
	for _, isa := range isas(t) {
		pool := newPool(t, 2, isa)
		for _, bad := range []float32{float32(math.NaN()), float32(-math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1))} {
			for _, at := range []int{0, 31, 32, 70, 95} {
				x := normal(repro.NewRandom(1), 96, 1)
				x[at] = bad
				ones := make([]float32, 96)
				for name, f := range map[string]func() error{
					"quantize":         func() error { return repro.Quantize(make([]int8, 96), make([]float32, 3), x) },
					"quantize weights": func() error { return repro.QuantizeWeights(make([]byte, 3*repro.BlockBytes), x) },
					"activations": func() error {
						a, err := repro.NewActivations(96, 1)
						check(t, err)
						err = a.Set(x, pool)
						if _, n := a.Size(); n != 0 {
							t.Errorf("%d vectors are held after an error", n)
						}
						return err
					},
					"rms norm":   func() error { return repro.RMSNorm(make([]float32, 96), x, ones, 1e-5, pool) },
					"in place":   func() error { y := append([]float32(nil), x...); return repro.RMSNorm(y, y, ones, 1e-5, pool) },
					"layer norm": func() error { return repro.LayerNorm(make([]float32, 96), x, ones, nil, 1e-5, pool) },
					"weights": func() error {
						m, err := repro.NewFloatMatrix(1, 96, repro.F16)
						check(t, err)
						return m.SetRow(0, x)
					},
					"log-softmax": func() error { return repro.LogSoftmax(x, x) },
					"attention":   func() error { return attend(t, pool, x) },
					"key":         func() error { return put(t, x, ones) },
					"value":       func() error { return put(t, ones, x) },
				} {
					if err := f(); !errors.Is(err, repro.ErrNotFinite) {
						t.Errorf("%v: %s with %g at %d: %v, want %v", isa, name, bad, at, err, repro.ErrNotFinite)
					}
				}
			}
		}
	}
}

func attend(t *testing.T, pool *repro.Pool, q []float32) error {
	a, err := repro.NewAttention(repro.AttentionConfig{Heads: 3, KVHeads: 1, Dim: 32, Scale: 0.1, Context: 1}, 2)
	check(t, err)
	kv, err := repro.NewKV(1, 32, 1, repro.F32)
	check(t, err)
	one := make([]float32, 32)
	for i := range one {
		one[i] = 1
	}
	check(t, kv.Put(0, 0, one, one))
	return a.Run(make([]float32, 96), q, kv, []repro.Span{{Pages: []int32{0}, N: 1}}, pool)
}

func put(t *testing.T, k, v []float32) error {
	kv, err := repro.NewKV(3, 32, 1, repro.F32)
	check(t, err)
	return kv.Put(0, 0, k, v)
}

// What overflows on the way is refused as well.
func TestOverflowIsRefused(t *testing.T) {
	t.Parallel()
	pool := newPool(t, 1, isas(t)[0])
	huge := scaled(normal(repro.NewRandom(2), 96, 1), 126)
	ones := make([]float32, 96)
	for name, err := range map[string]error{
		"mean square":  repro.RMSNorm(make([]float32, 96), huge, ones, 1e-5, pool),
		"score":        attend(t, pool, scaled(huge, 1)),
		"f16 key":      func() error { kv, _ := repro.NewKV(3, 32, 1, repro.F16); return kv.Put(0, 0, huge, ones) }(),
		"f16 weight":   func() error { m, _ := repro.NewFloatMatrix(1, 96, repro.F16); return m.SetRow(0, huge) }(),
		"weight scale": repro.QuantizeWeights(make([]byte, 3*repro.BlockBytes), huge),
		"q8 scale": func() error {
			m, _ := repro.NewMatrix(1, 32)
			return m.SetRows(0, append([]byte{0, 0x7c}, make([]byte, 32)...))
		}(),
	} {
		if !errors.Is(err, repro.ErrNotFinite) {
			t.Errorf("%s: %v, want %v", name, err, repro.ErrNotFinite)
		}
	}
}

func TestShapesAreChecked(t *testing.T) {
	t.Parallel()
	pool := newPool(t, 1, repro.Portable)
	good := repro.AttentionConfig{Heads: 4, KVHeads: 2, Dim: 8, Scale: 1, Context: 40}
	with := func(f func(*repro.AttentionConfig)) error {
		c := good
		f(&c)
		_, err := repro.NewAttention(c, 1)
		return err
	}
	m, err := repro.NewMatrix(4, 32)
	check(t, err)
	a, err := repro.NewActivations(32, 2)
	check(t, err)
	att, err := repro.NewAttention(good, 1)
	check(t, err)
	kv, err := repro.NewKV(2, 8, 3, repro.F32)
	check(t, err)
	run := func(n int, s ...repro.Span) error {
		return att.Run(make([]float32, n*32), make([]float32, n*32), kv, s, pool)
	}
	second := func(_ any, err error) error { return err }
	for name, err := range map[string]error{
		"matrix of 33 columns":  second(repro.NewMatrix(1, 33)),
		"matrix of 0 columns":   second(repro.NewMatrix(1, 0)),
		"too many columns":      second(repro.NewMatrix(1, repro.MaxColumns+32)),
		"no rows":               second(repro.NewMatrix(0, 32)),
		"half a row":            m.SetRows(0, make([]byte, 33)),
		"a row too many":        m.SetRows(4, make([]byte, 34)),
		"a row before":          m.SetRows(-1, make([]byte, 34)),
		"float matrix 0":        second(repro.NewFloatMatrix(0, 1, repro.F32)),
		"no activations":        second(repro.NewActivations(32, 0)),
		"half a vector":         a.Set(make([]float32, 33), pool),
		"three vectors":         a.Set(make([]float32, 96), pool),
		"quantize 33":           repro.Quantize(make([]int8, 33), make([]float32, 1), make([]float32, 33)),
		"dequantize 33":         repro.Dequantize(make([]float32, 33), make([]int8, 33), make([]float32, 1)),
		"norm of no weights":    repro.RMSNorm(nil, nil, nil, 1, pool),
		"norm of odd rows":      repro.RMSNorm(make([]float32, 5), make([]float32, 5), make([]float32, 3), 1, pool),
		"norm without epsilon":  repro.RMSNorm(make([]float32, 3), make([]float32, 3), make([]float32, 3), 0, pool),
		"short bias":            repro.LayerNorm(make([]float32, 3), make([]float32, 3), make([]float32, 3), make([]float32, 2), 1, pool),
		"3 heads over 2":        with(func(c *repro.AttentionConfig) { c.Heads = 3 }),
		"no key heads":          with(func(c *repro.AttentionConfig) { c.KVHeads = 0 }),
		"no dimension":          with(func(c *repro.AttentionConfig) { c.Dim = 0 }),
		"no scale":              with(func(c *repro.AttentionConfig) { c.Scale = 0 }),
		"no context":            with(func(c *repro.AttentionConfig) { c.Context = 0 }),
		"negative window":       with(func(c *repro.AttentionConfig) { c.Window = -1 }),
		"page that is not":      run(1, repro.Span{Pages: []int32{3}, N: 1}),
		"negative page":         run(1, repro.Span{Pages: []int32{-1}, N: 1}),
		"too few pages":         run(1, repro.Span{Pages: []int32{1}, First: 32, N: 1}),
		"beyond the context":    run(2, repro.Span{Pages: []int32{1, 2}, First: 39, N: 2}),
		"no query":              run(0, repro.Span{Pages: []int32{1}}),
		"results too short":     run(2, repro.Span{Pages: []int32{1}, N: 1}),
		"slot 32":               kv.Put(0, repro.PagePositions, make([]float32, 16), make([]float32, 16)),
		"page 3":                kv.Put(3, 0, make([]float32, 16), make([]float32, 16)),
		"short key":             kv.Put(0, 0, make([]float32, 15), make([]float32, 16)),
		"odd rope":              second(repro.RopeFrequencies(7, 10000)),
		"rope base 0":           second(repro.RopeFrequencies(8, 0)),
		"rope of nothing":       second(repro.NewRope(nil, repro.Pairs)),
		"rope frequency 2":      second(repro.NewRope([]float64{2}, repro.Pairs)),
		"negative temperature":  second(repro.NewSampler(repro.Sampling{Temperature: -1}, repro.Portable)),
		"top-p 2":               second(repro.NewSampler(repro.Sampling{TopP: 2}, repro.Portable)),
		"min-p NaN":             second(repro.NewSampler(repro.Sampling{MinP: float32(math.NaN())}, repro.Portable)),
		"negative top-k":        second(repro.NewSampler(repro.Sampling{TopK: -1}, repro.Portable)),
		"temperature infinite":  second(repro.NewSampler(repro.Sampling{Temperature: float32(math.Inf(1))}, repro.Portable)),
		"log-softmax of none":   repro.LogSoftmax(nil, nil),
		"cache without pages":   second(repro.NewKV(1, 1, 0, repro.F32)),
		"cache in format 7":     second(repro.NewKV(1, 1, 1, 7)),
		"float matrix format 7": second(repro.NewFloatMatrix(1, 1, 7)),
	} {
		if err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
	for name, f := range map[string]func(){
		"product too short":       func() { m.Mul(make([]float32, 7), a, pool) },
		"activations of 64":       func() { b, _ := repro.NewActivations(64, 1); m.Mul(nil, b, pool) },
		"SwiGLU of 2 and 3":       func() { repro.SwiGLU(make([]float32, 2), make([]float32, 2), make([]float32, 3), pool) },
		"a matrix from too few":   func() { f, _ := repro.NewFloatMatrix(4, 8, repro.F32); f.Set(make([]float32, 31)) },
		"f16 from columns":        func() { f, _ := repro.NewFloatMatrix(1, 1, repro.F16); f.SetColumns(make([]float32, 1)) },
		"float product too short": func() { f, _ := repro.NewFloatMatrix(4, 8, repro.F32); f.Mul(nil, make([]float32, 8), pool) },
	} {
		check(t, a.Set(make([]float32, 64), pool))
		if !panics(f) {
			t.Errorf("%s was accepted", name)
		}
	}
}

func panics(f func()) (yes bool) {
	defer func() { yes = recover() != nil }()
	f()
	return false
}

// What was quantised elsewhere is the same as what is quantised here, and what is no
// quantisation is refused.
func TestSetQuantized(t *testing.T) {
	t.Parallel()
	for _, isa := range isas(t) {
		pool := newPool(t, 2, isa)
		for n := 1; n <= 33; n += 8 {
			x := normal(repro.NewRandom(uint64(n)), n*96, 1)
			a, err := repro.NewActivations(96, 40)
			check(t, err)
			m := randomMatrix(t, repro.NewRandom(3), 50, 96)
			got, want := make([]float32, n*50), make([]float32, n*50)
			check(t, a.Set(x, pool))
			m.Mul(want, a, pool)
			q, d := make([]int8, n*96), make([]float32, n*3)
			check(t, repro.Quantize(q, d, x))
			check(t, a.SetQuantized(q, d))
			m.Mul(got, a, pool)
			sameBits(t, isa.String(), got, want)
		}
	}
	a, err := repro.NewActivations(96, 2)
	check(t, err)
	for name, spoil := range map[string]func(q []int8, d []float32){
		"an integer of −128":      func(q []int8, _ []float32) { q[95] = -128 },
		"a scale below zero":      func(_ []int8, d []float32) { d[5] = -1 },
		"a scale that is none":    func(_ []int8, d []float32) { d[3] = float32(math.NaN()) },
		"a scale that is endless": func(_ []int8, d []float32) { d[0] = float32(math.Inf(1)) },
	} {
		q, d := make([]int8, 192), make([]float32, 6)
		check(t, a.SetQuantized(q, d))
		spoil(q, d)
		if err := a.SetQuantized(q, d); err == nil {
			t.Errorf("%s: accepted", name)
		}
		if _, n := a.Size(); n != 0 {
			t.Errorf("%s: %d vectors are held after an error", name, n)
		}
	}
	for _, size := range [][2]int{{95, 3}, {96, 2}, {288, 9}} {
		if a.SetQuantized(make([]int8, size[0]), make([]float32, size[1])) == nil {
			t.Errorf("%v: accepted", size)
		}
	}
}
