package learn_test

import (
	"bytes"
	"strings"
	"testing"

	"atoll/internal/learn"
	"atoll/internal/learn/merge"
	"atoll/internal/learn/model"
	"atoll/internal/table"
)

// skewedDigits are ten clients that each know few of the ten digits well.
func skewedDigits(t *testing.T) federation {
	t.Helper()
	load := func(part string) *learn.Examples {
		const origin = "yann.lecun.com/exdb/mnist"
		e, err := table.ReadIDX(bytes.NewReader(dataFile(t, "fl-mnist/"+part+"-images-idx3-ubyte.gz", origin)), bytes.NewReader(dataFile(t, "fl-mnist/"+part+"-labels-idx1-ubyte.gz", origin)))
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	rows := load("train")
	f := federation{
		held: load("t10k"), rounds: 15, config: model.Config{Epochs: 1, Batch: 32, Rate: 0.1}, server: merge.Optimizer{Method: merge.FedAvg},
		spec: model.Spec{Kind: model.MLP, Inputs: rows.Width, Hidden: []int{128}, Classes: strings.Split("0123456789", "")},
	}
	assigned, err := table.Partition{Sites: 10, Column: "label", Alpha: 0.3, Seed: 1}.AssignValues(rows.Labels)
	if err != nil {
		t.Fatal(err)
	}
	for s := range 10 {
		var own []int
		for i, site := range assigned {
			if site == int32(s) && i%8 == 0 { // an eighth is enough, and quick
				own = append(own, i)
			}
		}
		f.sites = append(f.sites, rows.Pick(own))
	}
	return f
}

func TestMNISTOfSkewedClients(t *testing.T) {
	t.Parallel()
	f := skewedDigits(t)
	alone, together, pooled := f.compare(t, accuracy)
	if alone > 0.8 || together < 0.84 || pooled < 0.92 {
		t.Errorf("accuracy alone %.4f, federated %.4f, pooled %.4f, want under .8, .84, .92", alone, together, pooled)
	}
}

// What the other methods make of the same clients in half as many rounds.
func TestMethodsOnSkewedClients(t *testing.T) {
	t.Parallel()
	f := skewedDigits(t)
	f.rounds = 10
	pool := newPool(t)
	for _, c := range []struct {
		name     string
		server   merge.Optimizer
		proximal float32
		least    float64
	}{
		{"FedAvg", merge.Optimizer{Method: merge.FedAvg}, 0, 0.80},
		{"FedProx", merge.Optimizer{Method: merge.FedAvg}, 0.1, 0.80},
		{"FedAdam", merge.Optimizer{Method: merge.FedAdam}, 0, 0.80},
		{"momentum", merge.Optimizer{Method: merge.Momentum, Momentum: 0.7}, 0, 0.80},
		{"DiLoCo", merge.Optimizer{Method: merge.Nesterov}, 0, 0.80},
	} {
		f.server, f.config.Proximal = c.server, c.proximal
		got := accuracy(f.run(t, pool))
		t.Logf("%s: %.4f after %d rounds", c.name, got, f.rounds)
		if got < c.least {
			t.Errorf("%s: accuracy %.4f, want %.2f", c.name, got, c.least)
		}
	}
}
