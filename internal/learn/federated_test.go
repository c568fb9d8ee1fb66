package learn_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"atoll/internal/keystream"
	"atoll/internal/learn"
	"atoll/internal/learn/merge"
	"atoll/internal/learn/model"
	"atoll/internal/privacy"
	"atoll/internal/repro"
	"atoll/internal/table"
)

// dataFile reads a file of the published data sets, or skips the test, saying where
// the file is from.
func dataFile(t testing.TB, name, origin string) []byte {
	t.Helper()
	if underRace || testing.Short() {
		t.Skip("training takes too long under the race detector, and for -short")
	}
	dir := os.Getenv("ATOLL_DATA")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared", "data")
	}
	f, err := os.Open(filepath.Join(dir, name))
	if err != nil {
		t.Skipf("the published data is absent (%v); get it from %s, gzip it, and name the folder in ATOLL_DATA", err, origin)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if _, err := io.Copy(&b, z); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func newPool(t testing.TB) *repro.Pool {
	t.Helper()
	isa, err := repro.SelectISA(os.Getenv(repro.Variable))
	if err != nil {
		t.Fatal(err)
	}
	p, err := repro.NewPool(1, isa)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// federation is rounds of training in memory, without any protection.
type federation struct {
	spec   model.Spec
	sites  []*learn.Examples
	held   *learn.Examples
	rounds int
	config model.Config
	server merge.Optimizer
}

func (f federation) run(t testing.TB, pool *repro.Pool) model.Report {
	t.Helper()
	params := f.spec.Start(1)
	var state merge.State
	for round := range f.rounds {
		var updates [][]float32
		var weights []int
		for i, rows := range f.sites {
			c := f.config
			c.Seed = model.SeedOf(t.Name(), round, fmt.Sprint(i))
			if c.Private != nil {
				c.Private = f.private(t, round, i)
			}
			u, err := model.Train(t.Context(), f.spec, params, rows, c, pool)
			if err != nil {
				t.Fatalf("round %d, site %d: %v", round, i, err)
			}
			updates, weights = append(updates, u.Delta), append(weights, u.Rows)
		}
		mean, err := merge.Mean(updates, weights)
		if err != nil {
			t.Fatal(err)
		}
		if params, state, err = f.server.Step(params, mean, state); err != nil {
			t.Fatal(err)
		}
	}
	rep, err := model.Evaluate(t.Context(), f.spec, params, f.held, pool)
	if err != nil {
		t.Fatal(err)
	}
	return rep
}

// private is the site's private training of a round. Its chance can be had again: this
// is a test.
func (f federation) private(t testing.TB, round, site int) *model.Private {
	t.Helper()
	p := *f.config.Private
	stream := keystream.Public(keystream.Seed{byte(round), byte(site)}, t.Name())
	var err error
	if p.Chance, err = privacy.NewCentral(f.spec.Size(), p.Clip, p.Noise, stream); err != nil {
		t.Fatal(err)
	}
	return &p
}

// compare logs each site alone, all together, and the rows pooled, and returns the
// mean of the first, and the others.
func (f federation) compare(t testing.TB, show func(model.Report) float64) (alone, together, pooled float64) {
	t.Helper()
	pool := newPool(t)
	all := &learn.Examples{}
	var each []string
	for _, s := range f.sites {
		one := f
		one.sites = []*learn.Examples{s}
		a := show(one.run(t, pool))
		alone += a / float64(len(f.sites))
		each = append(each, fmt.Sprintf("%.4f", a))
		if err := all.Append(s); err != nil {
			t.Fatal(err)
		}
	}
	rep := f.run(t, pool)
	together = show(rep)
	f.sites = []*learn.Examples{all}
	pooled = show(f.run(t, pool))
	t.Logf("%d sites, %d parameters, %d rounds: alone %s (mean %.4f), federated %.4f, pooled %.4f", len(each), f.spec.Size(), f.rounds, strings.Join(each, " "), alone, together, pooled)
	return alone, together, pooled
}

func auc(r model.Report) float64      { return float64(r.AUC) / 1e6 }
func accuracy(r model.Report) float64 { return float64(r.Accuracy) / 1e6 }

// examples reads a CSV file.
func examples(t testing.TB, schema string, f table.Features, csv []byte) *learn.Examples {
	t.Helper()
	res, err := table.ParseResource([]byte(schema))
	if err != nil {
		t.Fatal(err)
	}
	e, err := f.Examples(res.Schema, res.ReadCSV("data", bytes.NewReader(csv)), nil)
	if err != nil {
		t.Fatal(err)
	}
	return e
}
