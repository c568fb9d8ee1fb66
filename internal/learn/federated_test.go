package learn_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"atoll/internal/learn"
	"atoll/internal/learn/merge"
	"atoll/internal/learn/model"
	"atoll/internal/repro"
	"atoll/internal/table"
)

// dataFile reads a file of the published data sets, or skips the test, saying where
// the file is from.
func dataFile(t testing.TB, name, origin string) []byte {
	t.Helper()
	if underRace {
		t.Skip("training takes too long under the race detector; run without -race")
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

const credit = "github.com/FederatedAI/FATE, examples/data"

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

// Three banks' credit cards, in the parts that FATE made of them.
func TestCreditDefault(t *testing.T) {
	t.Parallel()
	schema, features := creditSchema()
	load := func(part string) *learn.Examples {
		return examples(t, schema, features, dataFile(t, "fl-uci-credit-default/default_credit_homo_"+part+".csv.gz", credit))
	}
	f := federation{
		sites: []*learn.Examples{load("guest"), load("host_1"), load("host_2")}, held: load("test"),
		rounds: 10, config: model.Config{Epochs: 1, Batch: 64, Rate: 0.1}, server: merge.Optimizer{Method: merge.FedAvg},
	}
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
		for s := range sites {
			e, err := features.Examples(res.Schema, res.ReadCSV("adult", bytes.NewReader(file)), func(row table.Row) bool {
				return assigned[row.Number-1] == int32(s) && !rule(row)
			})
			if err != nil {
				t.Fatal(err)
			}
			f.sites = append(f.sites, e)
		}
		if _, together, pooled := f.compare(t, accuracy); together < 0.835 || pooled < 0.84 {
			t.Errorf("%d sites: accuracy federated %.4f, pooled %.4f, want .835 and .84", sites, together, pooled)
		}
	}
}

// Ten clients that each know about two of the ten digits.
func TestMNISTOfSkewedClients(t *testing.T) {
	t.Parallel()
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
		held: load("t10k"), rounds: 20, config: model.Config{Epochs: 1, Batch: 32, Rate: 0.1}, server: merge.Optimizer{Method: merge.FedAvg},
		spec: model.Spec{Kind: model.MLP, Inputs: rows.Width, Hidden: []int{128}, Classes: strings.Split("0123456789", "")},
	}
	assigned, err := table.Partition{Sites: 10, Column: "label", Alpha: 0.3, Seed: 1}.AssignValues(rows.Labels)
	if err != nil {
		t.Fatal(err)
	}
	for s := range 10 {
		var own []int
		for i, site := range assigned {
			if site == int32(s) && i%4 == 0 { // a quarter is enough, and quick
				own = append(own, i)
			}
		}
		f.sites = append(f.sites, rows.Pick(own))
	}
	alone, together, pooled := f.compare(t, accuracy)
	if alone > 0.8 || together < 0.87 || pooled < 0.95 {
		t.Errorf("accuracy alone %.4f, federated %.4f, pooled %.4f, want under .8, .87, .95", alone, together, pooled)
	}
}
