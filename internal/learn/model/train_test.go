package model

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"atoll/internal/core"
	"atoll/internal/keystream"
	"atoll/internal/learn"
	"atoll/internal/privacy"
	"atoll/internal/repro"
)

// chance makes noise of a stream that can be had again, for tests alone.
func chance(t testing.TB, s Spec, clip, noise float64) Chance {
	t.Helper()
	c, err := privacy.NewCentral(s.Size(), clip, noise, keystream.Public(keystream.Seed{1}, "test"))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func digest(x []float32) string {
	var b []byte
	for _, v := range x {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
	}
	return core.DigestOf(b).Short()
}

// Training has the same bits with any number of threads and instruction set, and from
// one version of this package to the next.
func TestTrainingIsReproducible(t *testing.T) {
	t.Parallel()
	golden := map[string]string{
		"logistic":    "548ad3dd57b8",
		"multinomial": "19354254f504",
		"mlp":         "f5f2cda79646",
		"mlp of many": "7b39fc3b77b4",
		"text":        "5d8bb8eb2681",
	}
	for name, c := range specs() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var noisy string
			for _, isa := range repro.Available() {
				for _, threads := range []int{1, 3} {
					pool := newPool(t, threads, isa)
					plain := Config{Epochs: 3, Batch: 66, Rate: 0.2, Decay: 0.01, Proximal: 0.1, Seed: SeedOf("f", 2, "site")}
					u, err := Train(t.Context(), c.spec, c.spec.Start(1), c.rows, plain, pool)
					if err != nil {
						t.Fatal(err)
					}
					if got := digest(u.Delta); got != golden[name] {
						t.Errorf("%v, %d threads: the update is now %q", isa, threads, got)
					}
					private := Config{Rate: 0.2, Private: &Private{Steps: 5, Sample: 0.7, Clip: 0.5, Noise: 1, Customers: c.rows.Units != nil, Chance: chance(t, c.spec, 0.5, 1)}}
					u, err = Train(t.Context(), c.spec, c.spec.Start(1), c.rows, private, pool)
					if err != nil {
						t.Fatal(err)
					}
					if got := digest(u.Delta); noisy != "" && got != noisy {
						t.Errorf("%v, %d threads: the private update is %q here and %q there", isa, threads, got, noisy)
					} else {
						noisy = got
					}
				}
			}
		})
	}
}

func TestTrainingLearns(t *testing.T) {
	t.Parallel()
	pool := newPool(t, 1, fastest())
	for _, s := range []Spec{
		{Kind: Logistic, Inputs: 20, Classes: classes(2)},
		{Kind: Logistic, Inputs: 20, Classes: classes(5)},
		{Kind: MLP, Inputs: 20, Hidden: []int{16}, Classes: classes(5)},
	} {
		k := len(s.Classes)
		rows, held := blobs(1, 500, 20, k), blobs(2, 500, 20, k)
		start := s.Start(1)
		u, err := Train(t.Context(), s, start, rows, Config{Epochs: 10, Batch: 32, Rate: 0.1, Seed: 1}, pool)
		if err != nil {
			t.Fatal(err)
		}
		repro.AddScaled(start, 1, u.Delta)
		rep, err := Evaluate(t.Context(), s, start, held, pool)
		if err != nil {
			t.Fatal(err)
		}
		if rep.Accuracy < 850_000 || rep.F1 < 850_000 || k == 2 && rep.AUC < 930_000 || u.Rows != 500 || u.Steps != 160 || !(u.Loss > 0 && u.Loss < 0.5) {
			t.Errorf("%s of %d: %+v, loss %g over %d steps", s.Kind, k, rep, u.Loss, u.Steps)
		}
	}
}

// A text model finds the words that matter.
func TestTextsAreLearned(t *testing.T) {
	t.Parallel()
	pool := newPool(t, 1, fastest())
	c := specs()["text"]
	params := c.spec.Start(1)
	u, err := Train(t.Context(), c.spec, params, c.rows, Config{Epochs: 30, Batch: 2, Rate: 2, Seed: 1}, pool)
	if err != nil {
		t.Fatal(err)
	}
	repro.AddScaled(params, 1, u.Delta)
	held := &learn.Examples{Texts: []string{"a red rose", "the blue sky", ""}, Labels: []int32{0, 1, 2}}
	if rep, err := Evaluate(t.Context(), c.spec, params, held, pool); err != nil || rep.Accuracy != 1_000_000 {
		t.Errorf("%+v, %v", rep, err)
	}
}

// FedProx's pull keeps the update short, and decay the parameters small.
func TestPulls(t *testing.T) {
	t.Parallel()
	pool := newPool(t, 1, fastest())
	s := Spec{Kind: Logistic, Inputs: 8, Classes: classes(3)}
	rows := blobs(1, 200, 8, 3)
	length := func(c Config, of func(start, delta []float32)) float64 {
		c.Epochs, c.Batch, c.Rate = 20, 20, 0.1
		start := randomParams(s)
		u, err := Train(t.Context(), s, start, rows, c, pool)
		if err != nil {
			t.Fatal(err)
		}
		of(start, u.Delta)
		return square(u.Delta)
	}
	same := func(_, _ []float32) {}
	sum := func(start, delta []float32) { repro.AddScaled(delta, 1, start) }
	if free, held := length(Config{}, same), length(Config{Proximal: 1}, same); held > free/2 {
		t.Errorf("squared length of the update: %g without pull, %g with it", free, held)
	}
	if free, small := length(Config{}, sum), length(Config{Decay: 1}, sum); small > free/2 {
		t.Errorf("squared length of the parameters: %g without decay, %g with it", free, small)
	}
}

// One unit, whatever its rows, moves the sum by no more than the clip, and the chance
// decides who takes part.
func TestPrivateSumsAreBounded(t *testing.T) {
	t.Parallel()
	s := Spec{Kind: MLP, Inputs: 6, Hidden: []int{7}, Classes: classes(2)}
	rows := blobs(3, 60, 6, 2)
	for i := range rows.X {
		rows.X[i] *= 1000
	}
	rows.Units = make([]uint64, 60)
	for i := range rows.Units {
		rows.Units[i] = uint64(i / 20)
	}
	for customers, want := range map[bool]int{false: 60, true: 3} {
		for _, clip := range []float64{0.125, 1e-3, 3} {
			tr := newTraining(t, s, randomParams(s), rows)
			tr.Private = &Private{Clip: clip, Customers: customers}
			units, err := tr.units()
			if err != nil || len(units) != want {
				t.Fatalf("%d units, want %d: %v", len(units), want, err)
			}
			var longest float64
			sum := make([]float64, len(tr.grad))
			for _, u := range units {
				clear(sum)
				if err := tr.addClipped(sum, [][]int{u}); err != nil {
					t.Fatal(err)
				}
				var square float64
				for _, v := range sum {
					square += v * v
				}
				longest = max(longest, math.Sqrt(square))
			}
			if longest > clip || longest < clip*0.99 {
				t.Fatalf("customers %t: the longest gradient clipped to %g has length %g", customers, clip, longest)
			}
		}
	}
}

// A gradient a little longer than the clip is shortened, one a little shorter is not.
func TestClipping(t *testing.T) {
	t.Parallel()
	p := Private{Clip: 2}
	for _, length := range []float64{0, 1e-9, 1.99, 2.001, 2.1, 4, 1e30} {
		got := float64(p.factor(length*length)) * length
		if got > 2 || length < 2 && got != length || length > 2 && got < 1.999 {
			t.Errorf("a gradient of length %g becomes one of %g", length, got)
		}
	}
}

// With hardly any noise, a clip that nothing reaches and all rows in each step, private
// training is gradient descent.
func TestPrivateTrainingWithoutPrivacy(t *testing.T) {
	t.Parallel()
	pool := newPool(t, 1, fastest())
	s := Spec{Kind: MLP, Inputs: 6, Hidden: []int{7}, Classes: classes(3)}
	rows := blobs(3, 60, 6, 3)
	for i := range rows.Len() {
		rows.Units = append(rows.Units, uint64(i/20))
	}
	plain, err := Train(t.Context(), s, s.Start(1), rows, Config{Epochs: 10, Batch: 60, Rate: 0.1}, pool)
	if err != nil {
		t.Fatal(err)
	}
	for customers, units := range map[bool]float32{false: 60, true: 3} {
		p := &Private{Steps: 10, Sample: 1, Clip: 100, Noise: 1e-6, Customers: customers, Chance: chance(t, s, 100, 1e-6)}
		private, err := Train(t.Context(), s, s.Start(1), rows, Config{Rate: 0.1 / 60 * units, Private: p}, pool)
		if err != nil {
			t.Fatal(err)
		}
		for i, v := range plain.Delta {
			// The noise lies on a grid, to which the sum is rounded.
			if math.Abs(float64(private.Delta[i]-v)) > 2e-3 {
				t.Fatalf("customers %t: parameter %d moves by %g, without privacy by %g", customers, i, private.Delta[i], v)
			}
		}
		if private.Loss != 0 {
			t.Error("the loss of private training is told")
		}
	}
}

// The noise of a step is as large as was asked for.
func TestNoise(t *testing.T) {
	t.Parallel()
	s := Spec{Kind: MLP, Inputs: 20, Hidden: []int{50}, Classes: classes(2)}
	p := &Private{Steps: 1, Sample: 0.5, Clip: 0.01, Noise: 3, Chance: chance(t, s, 0.01, 3)}
	u, err := Train(t.Context(), s, s.Start(1), blobs(1, 40, 20, 2), Config{Rate: 1, Private: p}, newPool(t, 1, fastest()))
	if err != nil {
		t.Fatal(err)
	}
	want := 3 * 0.01 / 20 // noise times clip, over the rows expected in a step
	if got := math.Sqrt(square(u.Delta) / float64(len(u.Delta))); math.Abs(got-want) > 0.05*want {
		t.Errorf("the step's deviation is %g, want %g", got, want)
	}
}

// A step takes each unit by chance, and may take none.
func TestPoissonSampling(t *testing.T) {
	t.Parallel()
	s := Spec{Kind: Logistic, Inputs: 3, Classes: classes(2)}
	p := Private{Sample: 0.3, Chance: chance(t, s, 1, 1)}
	if n := len(p.draw(make([][]int, 10_000))); n < 2800 || n > 3200 {
		t.Errorf("%d of 10000 drawn with a chance of 0.3", n)
	}
	few := Config{Rate: 0.1, Private: &Private{Steps: 50, Sample: 1e-6, Clip: 1, Noise: 1, Chance: chance(t, s, 1, 1)}}
	if u, err := Train(t.Context(), s, s.Start(1), blobs(1, 10, 3, 2), few, newPool(t, 1, fastest())); err != nil || u.Steps != 50 {
		t.Errorf("steps without anybody: %+v, %v", u, err)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	pool := newPool(t, 1, fastest())
	s := Spec{Kind: Logistic, Inputs: 3, Classes: classes(2)}
	ok := Config{Epochs: 1, Batch: 4, Rate: 0.1}
	luck := chance(t, s, 1, 1)
	type change func(s *Spec, params *[]float32, rows *learn.Examples, c *Config)
	for _, c := range []struct {
		change change
		is     error
		want   string
	}{
		{func(_ *Spec, _ *[]float32, e *learn.Examples, _ *Config) { *e = learn.Examples{} }, learn.ErrExamples, "there are none"},
		{func(_ *Spec, _ *[]float32, e *learn.Examples, _ *Config) { e.X[7] = float32(math.NaN()) }, learn.ErrExamples, "row 2: element 1 is NaN"},
		{func(_ *Spec, _ *[]float32, e *learn.Examples, _ *Config) { e.X[0] = float32(math.Inf(1)) }, learn.ErrExamples, "row 0: element 0 is +Inf"},
		{func(_ *Spec, _ *[]float32, e *learn.Examples, _ *Config) { clear(e.Labels) }, learn.ErrExamples, "all 10 have the same label"},
		{func(_ *Spec, _ *[]float32, e *learn.Examples, _ *Config) { e.Labels[3] = 2 }, learn.ErrExamples, "row 3 has class 2, there are classes 0 to 1"},
		{func(_ *Spec, _ *[]float32, e *learn.Examples, _ *Config) { e.Labels = append(e.Labels, 0) }, learn.ErrExamples, "11 labels beside 30 numbers"},
		{func(_ *Spec, _ *[]float32, e *learn.Examples, _ *Config) { e.Units = []uint64{1} }, learn.ErrExamples, "1 units"},
		{func(s *Spec, p *[]float32, _ *learn.Examples, _ *Config) { s.Inputs = 2; *p = s.Start(1) }, learn.ErrExamples, "3 numbers a row, the model takes 2"},
		{func(s *Spec, p *[]float32, _ *learn.Examples, _ *Config) {
			*s = Spec{Kind: Text, Bits: 10, Classes: s.Classes}
			*p = s.Start(1)
		}, learn.ErrExamples, "wants a text"},
		{func(_ *Spec, p *[]float32, _ *learn.Examples, _ *Config) { *p = (*p)[1:] }, ErrSpec, "3 parameters, the model has 4"},
		{func(_ *Spec, p *[]float32, _ *learn.Examples, _ *Config) { (*p)[0] = float32(math.NaN()) }, repro.ErrNotFinite, "parameters: element 0"},
		{func(_ *Spec, p *[]float32, e *learn.Examples, _ *Config) { (*p)[0], e.X[0] = 3e38, 3e38 }, ErrDiverged, "a lower learning rate helps"},
		{func(_ *Spec, _ *[]float32, e *learn.Examples, c *Config) { e.X[0], c.Batch, c.Rate = 3e38, 10, 100 }, ErrDiverged, "after 1 steps: element 0"},
		{func(_ *Spec, _ *[]float32, _ *learn.Examples, c *Config) { c.Epochs = 0 }, ErrConfig, "epochs"},
		{func(_ *Spec, _ *[]float32, _ *learn.Examples, c *Config) { c.Batch = 0 }, ErrConfig, "batch"},
		{func(_ *Spec, _ *[]float32, _ *learn.Examples, c *Config) { c.Rate = float32(math.NaN()) }, ErrConfig, "learning rate"},
		{func(_ *Spec, _ *[]float32, _ *learn.Examples, c *Config) { c.Decay = -1 }, ErrConfig, "decay"},
		{func(_ *Spec, _ *[]float32, _ *learn.Examples, c *Config) { c.Proximal = 10 }, ErrConfig, "proximal"},
		{func(_ *Spec, _ *[]float32, _ *learn.Examples, c *Config) {
			c.Private = &Private{1, .1, 1, 1, false, luck}
		}, ErrConfig, "instead of epochs"},
		{func(_ *Spec, _ *[]float32, _ *learn.Examples, c *Config) {
			*c = Config{Rate: 1, Private: &Private{1, .1, 1, 0, false, luck}}
		}, ErrConfig, "noise over 0"},
		{func(_ *Spec, _ *[]float32, _ *learn.Examples, c *Config) {
			*c = Config{Rate: 1, Private: &Private{1, .1, 0, 1, false, luck}}
		}, ErrConfig, "a clip over 0"},
		{func(_ *Spec, _ *[]float32, _ *learn.Examples, c *Config) {
			*c = Config{Rate: 1, Private: &Private{1, .1, 1, 1, false, nil}}
		}, ErrConfig, "source of chance"},
		{func(_ *Spec, _ *[]float32, _ *learn.Examples, c *Config) {
			*c = Config{Rate: 1, Private: &Private{1, .1, 1, 1, true, luck}}
		}, learn.ErrExamples, "which customer"},
	} {
		s, params, rows, conf := s, s.Start(1), blobs(1, 10, 3, 2), ok
		c.change(&s, &params, rows, &conf)
		if _, err := Train(t.Context(), s, params, rows, conf, pool); !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, want %s", err, c.want)
		}
	}
	done, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Train(done, s, s.Start(1), blobs(1, 10, 3, 2), ok, pool); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled training: %v", err)
	}
}

func TestWrongSpecs(t *testing.T) {
	t.Parallel()
	for want, s := range map[string]Spec{
		"1 classes":            {Kind: Logistic, Inputs: 1, Classes: classes(1)},
		"named twice":          {Kind: Logistic, Inputs: 1, Classes: []string{"a", "a"}},
		"label":                {Kind: Logistic, Inputs: 1, Classes: []string{"a", ""}},
		"kind \"tree\"":        {Kind: "tree", Inputs: 1, Classes: classes(2)},
		"0 inputs":             {Kind: Logistic, Classes: classes(2)},
		"an mlp has 1 to 8":    {Kind: MLP, Inputs: 1, Classes: classes(2)},
		"others none":          {Kind: Logistic, Inputs: 1, Hidden: []int{1}, Classes: classes(2)},
		"hidden layer of 0":    {Kind: MLP, Inputs: 1, Hidden: []int{0}, Classes: classes(2)},
		"9 bits":               {Kind: Text, Bits: 9, Classes: classes(2)},
		"parameters, at most ": {Kind: MLP, Inputs: MaxInputs, Hidden: []int{MaxHidden}, Classes: classes(2)},
	} {
		if err := s.Check(); !errors.Is(err, ErrSpec) || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %s", s, err, want)
		}
	}
}

// The measures of four rows, by hand.
func TestReport(t *testing.T) {
	t.Parallel()
	s := Spec{Kind: Logistic, Inputs: 1, Classes: classes(2)}
	rows := &learn.Examples{Width: 1, X: []float32{3, 2, 1, -1, -1}, Labels: []int32{1, 0, 1, 0, 1}}
	rep, err := Evaluate(t.Context(), s, []float32{1, 0}, rows, newPool(t, 1, fastest()))
	if err != nil {
		t.Fatal(err)
	}
	// Ranks: 1 0 1 {0 1}. Pairs of 3·2 in order: 2 + 1 + ½ = 3½. Precisions: 1, 2/3, 3/5.
	if rep.AUC != 583_333 || rep.Precision != 755_556 || rep.Accuracy != 600_000 || rep.F1 != 666_666 ||
		!slices.Equal(rep.Confusion[0], []int{1, 1}) || !slices.Equal(rep.Confusion[1], []int{1, 2}) {
		t.Errorf("%+v", rep)
	}
	var want float64
	for _, z := range []float64{3, -2, 1, 1, -1} {
		want += math.Log1p(math.Exp(-z)) / 5
	}
	if math.Abs(float64(rep.Loss)/1e6-want) > 1e-5 {
		t.Errorf("loss %v, want %g", rep.Loss, want)
	}
}

// longer returns a file with more in its header.
func longer(file []byte, more string) []byte {
	n := binary.LittleEndian.Uint32(file[8:])
	out := slices.Insert(slices.Clone(file), 12+int(n), []byte(more)...)
	binary.LittleEndian.PutUint32(out[8:], n+uint32(len(more)))
	return out
}

func TestFile(t *testing.T) {
	t.Parallel()
	for name, c := range specs() {
		f := File{Spec: c.spec, Params: randomParams(c.spec), Input: []byte(`{"inputs":[]}`), About: []byte(`{"rounds":3}`)}
		b, err := Save(f)
		if err != nil {
			t.Fatal(err)
		}
		g, err := Load(b)
		if err != nil || !slices.Equal(f.Params, g.Params) || !bytes.Equal(f.Input, g.Input) || !bytes.Equal(f.About, g.About) || g.Spec.Size() != f.Spec.Size() {
			t.Errorf("%s: %v", name, err)
		}
		for want, bad := range map[string][]byte{
			"start":               b[1:],
			"ends before":         b[:10],
			"bytes of parameters": b[:len(b)-4],
			"version 2":           bytes.Replace(b, []byte(`{"version":1`), []byte(`{"version":2`), 1),
			"nothing behind":      longer(b, " {}"),
			"unknown field":       bytes.Replace(b, []byte(`"about"`), []byte(`"aboot"`), 1),
			"kind":                bytes.Replace(b, []byte(`"kind":"`), []byte(`"kind":"x`), 1)[:len(b)],
			"parameters: ":        append(slices.Clone(b[:len(b)-4]), 0, 0, 0xc0, 0x7f),
		} {
			if want == "kind" { // one byte more in the header
				n := binary.LittleEndian.Uint32(bad[8:])
				binary.LittleEndian.PutUint32(bad[8:], n+1)
			}
			if _, err := Load(bad); !errors.Is(err, ErrFormat) || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %s", name, err, want)
			}
		}
	}
}

func FuzzLoad(f *testing.F) {
	for _, c := range specs() {
		b, err := Save(File{Spec: c.spec, Params: c.spec.Start(1)})
		if err != nil {
			f.Fatal(err)
		}
		if len(b) < 1<<12 {
			f.Add(b)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		file, err := Load(b)
		if err != nil {
			if !errors.Is(err, ErrFormat) {
				t.Fatal(err)
			}
			return
		}
		again, err := Save(file)
		if err != nil {
			t.Fatal(err)
		}
		if other, err := Load(again); err != nil || !slices.Equal(other.Params, file.Params) {
			t.Fatalf("saved again: %v", err)
		}
	})
}
