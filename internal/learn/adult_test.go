package learn_test

import (
	"bytes"
	"testing"

	"atoll/internal/learn/merge"
	"atoll/internal/learn/model"
	"atoll/internal/table"
)

// adultSchema is the census file of 1994: no header, a space after each comma, "?" for
// what is not known, and lines that end with CR.
const adultSchema = `{"dialect": {"header": false, "skipInitialSpace": true}, "schema": {"missingValues": ["?"], "fields": [
	{"name": "age", "type": "integer"}, {"name": "workclass", "type": "string"}, {"name": "weight", "type": "integer"},
	{"name": "education", "type": "string"}, {"name": "years", "type": "integer"}, {"name": "marital", "type": "string"},
	{"name": "occupation", "type": "string"}, {"name": "relationship", "type": "string"}, {"name": "race", "type": "string"},
	{"name": "sex", "type": "string"}, {"name": "gain", "type": "integer"}, {"name": "loss", "type": "integer"},
	{"name": "hours", "type": "integer"}, {"name": "country", "type": "string"}, {"name": "income", "type": "string"}]}}`

// adultFeatures takes categories by hash, so that nobody need list them, and the means
// and deviations that follow from the sums over all rows.
func adultFeatures(t testing.TB, res *table.Resource, file []byte) *table.Features {
	t.Helper()
	f := &table.Features{Label: table.Label{Column: "income", Classes: []string{"<=50K", ">50K"}}}
	for _, c := range []string{"age", "years", "gain", "loss", "hours"} {
		f.Inputs = append(f.Inputs, table.Input{Column: c, As: table.AsNumber})
	}
	for _, c := range []string{"workclass", "education", "marital", "occupation", "relationship", "race", "sex"} {
		f.Inputs = append(f.Inputs, table.Input{Column: c, As: table.AsHashed, Buckets: 32, Missing: true})
	}
	m, err := f.Moments(res.Schema, res.ReadCSV("adult", bytes.NewReader(file)), nil)
	if err != nil {
		t.Fatal(err)
	}
	if f, err = f.Standardised(m); err != nil {
		t.Fatal(err)
	}
	return f
}

// A census split over 2, 5 and 10 offices, as in Flower's hfedxgboost.
func TestAdult(t *testing.T) {
	t.Parallel()
	file := dataFile(t, "fl-uci-adult/adult.csv.gz", "archive.ics.uci.edu/dataset/2/adult (adult.data)")
	res, err := table.ParseResource([]byte(adultSchema))
	if err != nil {
		t.Fatal(err)
	}
	features := adultFeatures(t, res, file)
	rule, err := table.Holdout{Share: 200_000, Columns: []string{"age", "weight", "occupation"}}.Rule(res.Schema)
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
