package model

import (
	"context"
	"encoding/binary"
	"errors"
	"math"
	"strings"
	"testing"

	"atoll/internal/core"
	"atoll/internal/learn"
	"atoll/internal/repro"
)

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
