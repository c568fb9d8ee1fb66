package learn_test

import (
	"encoding/json"
	"fmt"
	"math"
	"testing"

	"atoll/internal/learn"
	"atoll/internal/learn/merge"
	"atoll/internal/learn/model"
	"atoll/internal/privacy"
	"atoll/internal/table"
)

// creditSchema is FATE's file: an id, the label y, and 23 numbers that are standardised.
func creditSchema() (string, table.Features) {
	type m = map[string]any
	fields := []m{{"name": "id", "type": "integer"}, {"name": "y", "type": "integer", "constraints": m{"enum": []int{0, 1}}}}
	f := table.Features{Label: table.Label{Column: "y", Classes: []string{"0", "1"}}}
	for i := range 23 {
		name := fmt.Sprintf("x%d", i)
		fields = append(fields, m{"name": name, "type": "number"})
		f.Inputs = append(f.Inputs, table.Input{Column: name, As: table.AsNumber})
	}
	b, _ := json.Marshal(m{"fields": fields, "primaryKey": "id"})
	return string(b), f
}

// creditBanks are three banks' credit cards, in the parts that FATE made of them.
func creditBanks(t *testing.T) federation {
	t.Helper()
	schema, features := creditSchema()
	load := func(part string) *learn.Examples {
		return examples(t, schema, features, dataFile(t, "fl-uci-credit-default/default_credit_homo_"+part+".csv.gz", "github.com/FederatedAI/FATE, examples/data"))
	}
	return federation{
		sites: []*learn.Examples{load("guest"), load("host_1"), load("host_2")}, held: load("test"),
		rounds: 10, config: model.Config{Epochs: 1, Batch: 64, Rate: 0.1}, server: merge.Optimizer{Method: merge.FedAvg},
	}
}

func TestCreditDefault(t *testing.T) {
	t.Parallel()
	f := creditBanks(t)
	f.spec = model.Spec{Kind: model.Logistic, Inputs: 23, Classes: []string{"paid", "default"}}
	if _, together, pooled := f.compare(t, auc); together < 0.70 || pooled < 0.70 {
		t.Errorf("logistic AUC: federated %.4f, pooled %.4f, want .70", together, pooled)
	}
	f.spec.Kind, f.spec.Hidden = model.MLP, []int{32, 16}
	f.config.Rate, f.rounds = 0.1, 15
	if _, together, pooled := f.compare(t, auc); together < 0.76 || pooled < 0.76 || math.Abs(together-pooled) > 0.02 {
		t.Errorf("MLP AUC: federated %.4f, pooled %.4f, want .76", together, pooled)
	}
}

// The same banks, each of which hides its records by DP-SGD.
func TestPrivateCreditDefault(t *testing.T) {
	t.Parallel()
	pool := newPool(t)
	f := creditBanks(t)
	f.spec = model.Spec{Kind: model.MLP, Inputs: 23, Hidden: []int{16}, Classes: []string{"paid", "default"}}
	f.rounds = 10
	const steps, sample = 100, 0.02
	for _, c := range []struct{ epsilon, least float64 }{{8, 0.74}, {4, 0.74}, {1, 0.71}} {
		noise, err := privacy.Target{Epsilon: c.epsilon, Delta: 1e-5, Rounds: f.rounds * steps, Rate: sample}.Noise()
		if err != nil {
			t.Fatal(err)
		}
		f.config = model.Config{Rate: 1, Private: &model.Private{Steps: steps, Sample: sample, Clip: 1, Noise: noise}}
		got := auc(f.run(t, pool))
		t.Logf("ε = %g, δ = 1e-5 for each record (noise of %.3f clips): AUC %.4f", c.epsilon, noise, got)
		if got < c.least {
			t.Errorf("ε = %g: AUC %.4f, want %.2f", c.epsilon, got, c.least)
		}
	}
}
