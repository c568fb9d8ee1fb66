package learn_test

import (
	"bytes"
	"encoding/json"
	"os"
	"testing"

	"sigs.k8s.io/yaml"

	"atoll/internal/learn/merge"
	"atoll/internal/learn/model"
	"atoll/internal/table"
)

// A census split over 2, 5 and 10 offices, as in Flower's hfedxgboost.
func TestAdult(t *testing.T) {
	t.Parallel()
	file := dataFile(t, "fl-uci-adult/adult.csv.gz", "archive.ics.uci.edu/dataset/2/adult (adult.data)")
	text, err := os.ReadFile("../fed/simulate/testdata/adult.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var spec struct {
		Schema   json.RawMessage `json:"schema"`
		Features table.Features  `json:"features"`
		Holdout  table.Holdout   `json:"holdout"`
	}
	if err := yaml.Unmarshal(text, &spec); err != nil {
		t.Fatal(err)
	}
	res, err := table.ParseResource(spec.Schema)
	if err != nil {
		t.Fatal(err)
	}
	sums, err := spec.Features.Moments(res.Schema, res.ReadCSV("adult", bytes.NewReader(file)), nil)
	if err != nil {
		t.Fatal(err)
	}
	features, err := spec.Features.Standardised(sums)
	if err != nil {
		t.Fatal(err)
	}
	rule, err := spec.Holdout.Rule(res.Schema)
	if err != nil {
		t.Fatal(err)
	}
	held, err := features.Examples(res.Schema, res.ReadCSV("adult", bytes.NewReader(file)), rule)
	if err != nil {
		t.Fatal(err)
	}
	for _, sites := range []int{2, 5, 10} {
		assigned, err := table.Partition{Sites: sites, Seed: 1}.Assign(res.Schema, res.ReadCSV("adult", bytes.NewReader(file)))
		if err != nil {
			t.Fatal(err)
		}
		f := federation{
			held: held, rounds: 10, config: model.Config{Epochs: 1, Batch: 32, Rate: 0.1}, server: merge.Optimizer{Method: merge.FedAvg},
			spec: model.Spec{Kind: model.MLP, Inputs: features.Width(), Hidden: []int{32}, Classes: features.Label.Classes},
		}
		f.sites, err = features.Divide(res.Schema, res.ReadCSV("adult", bytes.NewReader(file)), sites, func(row table.Row) int {
			if rule(row) {
				return -1
			}
			return int(assigned[row.Number-1])
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, together, pooled := f.compare(t, accuracy); together < 0.835 || pooled < 0.84 {
			t.Errorf("%d sites: accuracy federated %.4f, pooled %.4f, want .835 and .84", sites, together, pooled)
		}
	}
}
