package model

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"atoll/internal/learn"
	"atoll/internal/repro"
)

func newPool(t testing.TB, threads int, isa repro.ISA) *repro.Pool {
	t.Helper()
	p, err := repro.NewPool(threads, isa)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

func fastest() repro.ISA { have := repro.Available(); return have[len(have)-1] }

// normal returns a number that is about normally distributed.
func normal(r *repro.Random) float32 {
	var s float32
	for range 12 {
		s += float32(r.Uint64()>>40) / (1 << 24)
	}
	return s - 6
}

// blobs makes rows of as many classes, each around a point of its own.
func blobs(seed uint64, n, width, classes int) *learn.Examples {
	r := repro.NewRandom(seed)
	e := &learn.Examples{Width: width}
	for range n {
		c := r.Below(classes)
		e.Labels = append(e.Labels, int32(c))
		for k := range width {
			e.X = append(e.X, normal(r)+2*float32(repro.Mix(uint64(c*1000+k))>>40)/(1<<24))
		}
	}
	return e
}

func classes(n int) []string {
	var out []string
	for i := range n {
		out = append(out, fmt.Sprint("class ", i))
	}
	return out
}

// specs are one model of each kind, with rows for it.
func specs() map[string]struct {
	spec Spec
	rows *learn.Examples
} {
	type pair = struct {
		spec Spec
		rows *learn.Examples
	}
	texts := &learn.Examples{
		Texts:  []string{"red rose", "blue sea, blue sky", "", "a rose is a rose", "sky"},
		Labels: []int32{0, 1, 2, 0, 1}, Units: []uint64{1, 2, 1, 3, 2},
	}
	return map[string]pair{
		"logistic":    {Spec{Kind: Logistic, Inputs: 5, Classes: classes(2)}, blobs(1, 7, 5, 2)},
		"multinomial": {Spec{Kind: Logistic, Inputs: 5, Classes: classes(3)}, blobs(2, 70, 5, 3)},
		"mlp":         {Spec{Kind: MLP, Inputs: 6, Hidden: []int{9, 40}, Classes: classes(2)}, blobs(3, 67, 6, 2)},
		"mlp of many": {Spec{Kind: MLP, Inputs: 33, Hidden: []int{5}, Classes: classes(4)}, blobs(4, 9, 33, 4)},
		"text":        {Spec{Kind: Text, Bits: 10, Classes: classes(3)}, texts},
	}
}

func newTraining(t *testing.T, s Spec, params []float32, rows *learn.Examples) *training {
	t.Helper()
	net, err := newNetwork(s, rows, chunkRows, newPool(t, 1, fastest()))
	if err != nil {
		t.Fatal(err)
	}
	net.load(params)
	return &training{net: net, rows: rows, room: chunkRows, params: params, grad: make([]float32, len(params)), labels: make([]int32, chunkRows)}
}

func all(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}

// randomParams are parameters of which none is special.
func randomParams(s Spec) []float32 {
	r := repro.NewRandom(99)
	params := s.Start(5)
	for i := range params {
		params[i] += normal(r) / 8
	}
	return params
}

// The gradient is what the loss does when a parameter moves.
func TestGradientIsTheSlopeOfTheLoss(t *testing.T) {
	t.Parallel()
	for name, c := range specs() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			params := randomParams(c.spec)
			tr := newTraining(t, c.spec, params, c.rows)
			rows := all(c.rows.Len())
			if _, err := tr.gradient(rows); err != nil {
				t.Fatal(err)
			}
			want := slices.Clone(tr.grad)
			loss := func() float64 {
				tr.net.load(params)
				l, err := tr.gradient(rows)
				if err != nil {
					t.Fatal(err)
				}
				return l
			}
			r := repro.NewRandom(3)
			for range 150 {
				i := r.Below(len(params))
				if c.spec.Kind == Text && r.Below(2) == 0 { // most buckets are not met
					for want[i] == 0 {
						i = r.Below(len(params))
					}
				}
				const h = 2e-3 // small, for a ReLU may bend
				was := params[i]
				params[i] = was + h
				up := loss()
				params[i] = was - h
				down := loss()
				params[i] = was
				if got, slope := float64(want[i]), (up-down)/(2*h); math.Abs(got-slope) > 0.02+0.03*math.Abs(slope) {
					t.Errorf("parameter %d: gradient %g, the loss changes by %g", i, got, slope)
				}
			}
		})
	}
}

// The lengths by which rows are clipped are those of their gradients, and scaling the
// slopes scales the gradients.
func TestLengthsOfRowGradients(t *testing.T) {
	t.Parallel()
	for name, c := range specs() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tr := newTraining(t, c.spec, randomParams(c.spec), c.rows)
			n := min(c.rows.Len(), chunkRows)
			got := make([]float64, chunkRows)
			by := make([]float32, chunkRows)
			want := make([]float32, len(tr.grad))
			for i := range n {
				by[i] = float32(i%3) / 2
				if _, err := tr.gradient([]int{i}); err != nil {
					t.Fatal(err)
				}
				tr.net.squares(got)
				if w := square(tr.grad); math.Abs(got[0]-w) > 1e-5*w+1e-12 {
					t.Errorf("row %d: squared length %g, its gradient has %g", i, got[0], w)
				}
				repro.AddScaled(want, by[i], tr.grad)
			}
			if _, err := tr.slopes(all(n)); err != nil {
				t.Fatal(err)
			}
			tr.net.scale(by)
			tr.net.accumulate(tr.grad, true)
			for i := range want {
				if math.Abs(float64(tr.grad[i]-want[i])) > 1e-4 {
					t.Fatalf("parameter %d: %g, want %g", i, tr.grad[i], want[i])
				}
			}
		})
	}
}
