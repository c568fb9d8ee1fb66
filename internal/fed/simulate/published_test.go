package simulate

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"atoll/internal/fed"
	"atoll/internal/learn"
	"atoll/internal/learn/model"
	"atoll/internal/repro"
	"atoll/internal/secagg"
	"atoll/internal/table"
)

// published reads a file of the published data sets, or skips the test, saying where
// the file is from.
func published(t testing.TB, name, origin string) []byte {
	t.Helper()
	if underRace || testing.Short() {
		t.Skip("training takes too long under the race detector, and for -short")
	}
	dir := os.Getenv("ATOLL_DATA")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "..", "shared", "data")
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

type members = map[string]any

// study is a federation on published rows.
type study struct {
	spec      members // but what is changed from run to run
	private   members // privacy without ε, and what is trained then
	rate      float32
	rows      func(*table.Resource) iter.Seq2[table.Row, error]
	partition table.Partition
	blind     bool // nothing to compare with
	show      func(model.Report) float64
	epsilons  []float64
	floor     float64 // under masks
	worst     float64 // with the first ε
}

// with returns what runs the federation with a change.
func (s study) with(t *testing.T) func(change members) *Result {
	t.Helper()
	isa, err := repro.SelectISA(os.Getenv(repro.Variable))
	if err != nil {
		t.Fatal(err)
	}
	pool, err := repro.NewPool(1, isa)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return func(change members) *Result {
		spec := maps.Clone(s.spec)
		maps.Copy(spec, change)
		b, err := json.Marshal(spec)
		if err != nil {
			t.Fatal(err)
		}
		parsed, err := fed.Parse(b)
		if err != nil {
			t.Fatal(err)
		}
		r, err := Run(t.Context(), Config{Spec: parsed, Rows: s.rows, Partition: s.partition, Pool: pool, Blind: s.blind})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
}

// run shows what each site alone, the federation in the clear, under masks, and with
// privacy, and all rows in one place come to, on the same rows held out.
func (s study) run(t *testing.T) {
	t.Helper()
	with := s.with(t)
	open := members{"secure": members{"off": true}}
	plain := with(open)
	masked := plain
	if s.partition.Sites >= secagg.MinMembers { // each of two would see the other's update in the sum
		open, masked = members{}, with(nil)
	}
	var alone float64
	for _, r := range plain.Alone {
		alone += s.show(r) / float64(len(plain.Alone))
	}
	var out strings.Builder
	out.WriteString(fmt.Sprintf("%d sites, %d parameters, %d rounds: alone %.4f (mean), federated %.4f in the clear", s.partition.Sites, len(plain.State.Params), len(plain.State.Rounds), alone, s.show(plain.Federated)))
	if masked != plain {
		out.WriteString(fmt.Sprintf(", %.4f under masks", s.show(masked.Federated)))
	}
	if got := s.show(masked.Federated); got < s.floor || got < s.show(plain.Federated)-0.005 {
		t.Errorf("%.4f under masks, want %.4f, and what is reached in the clear", got, s.floor)
	}
	for i, epsilon := range s.epsilons {
		privacy := maps.Clone(s.private)
		privacy["epsilon"] = epsilon
		change := members{"train": members{"rate": s.rate}, "privacy": privacy, "weights": members{}}
		maps.Copy(change, open)
		got := s.show(with(change).Federated)
		out.WriteString(fmt.Sprintf(", %.4f with ε = %g", got, epsilon))
		if i == 0 && got < s.worst {
			t.Errorf("%.4f with ε = %g, want %.4f", got, epsilon, s.worst)
		}
	}
	t.Logf("%s, pooled %.4f", out.String(), s.show(plain.Pooled))
}

func auc(r model.Report) float64      { return float64(r.AUC) / 1e6 }
func accuracy(r model.Report) float64 { return float64(r.Accuracy) / 1e6 }

// Three banks' credit cards, in the parts that FATE made of them.
func TestPublishedCredit(t *testing.T) {
	t.Parallel()
	fields := []members{{"name": "id", "type": "integer"}, {"name": "y", "type": "integer"}}
	var inputs []members
	for i := range 23 {
		name := fmt.Sprintf("x%d", i)
		fields = append(fields, members{"name": name, "type": "number"})
		inputs = append(inputs, members{"column": name, "as": "number"})
	}
	fields = append(fields, members{"name": "bank", "type": "string"})
	var file strings.Builder
	for i, part := range []string{"guest", "host_1", "host_2"} {
		lines := strings.Split(strings.TrimSpace(string(published(t, "fl-uci-credit-default/default_credit_homo_"+part+".csv.gz", "github.com/FederatedAI/FATE, examples/data"))), "\n")
		if i == 0 {
			fmt.Fprintf(&file, "%s,bank\n", lines[0])
		}
		for _, l := range lines[1:] {
			fmt.Fprintf(&file, "%s,%s\n", l, part)
		}
	}
	study{
		spec: members{
			"name": "credit", "dataset": "credit", "schema": members{"fields": fields, "primaryKey": "id"}, "model": members{"kind": "mlp", "hidden": []int{16}},
			"features": members{"inputs": inputs, "label": members{"column": "y", "classes": []string{"0", "1"}}},
			"rounds":   10, "train": members{"epochs": 1, "batch": 64, "rate": 0.2},
		},
		private: members{"unit": "record", "delta": 1e-5, "steps": 50, "sample": 0.02, "clip": 1}, rate: 1, epsilons: []float64{8, 4, 1},
		rows: func(r *table.Resource) iter.Seq2[table.Row, error] {
			return r.ReadCSV("credit", strings.NewReader(file.String()))
		},
		partition: table.Partition{Sites: 3, Column: "bank"}, show: auc, floor: 0.745, worst: 0.72,
	}.run(t)
}

// A census over 2, 5 and 10 offices: the two without masks.
func TestPublishedCensus(t *testing.T) {
	t.Parallel()
	var spec members
	text, err := os.ReadFile("testdata/adult.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.UnmarshalStrict(text, &spec); err != nil {
		t.Fatal(err)
	}
	file := published(t, "fl-uci-adult/adult.csv.gz", "archive.ics.uci.edu/dataset/2/adult")
	for _, sites := range []int{2, 5, 10} {
		study{
			spec: spec, private: members{"unit": "record", "delta": 1e-5, "steps": 50, "sample": 0.03, "clip": 1}, rate: 0.5, epsilons: []float64{8, 4, 1},
			rows:      func(r *table.Resource) iter.Seq2[table.Row, error] { return r.ReadCSV("adult", bytes.NewReader(file)) },
			partition: table.Partition{Sites: sites, Seed: 1}, show: accuracy, floor: 0.84, worst: 0.83,
		}.run(t)
	}
}

// digitsStudy is a federation on the first n of MNIST's pictures.
func digitsStudy(t *testing.T, n int) (spec members, rows func(*table.Resource) iter.Seq2[table.Row, error]) {
	t.Helper()
	const origin = "yann.lecun.com/exdb/mnist"
	digits, err := table.ReadIDX(bytes.NewReader(published(t, "fl-mnist/train-images-idx3-ubyte.gz", origin)), bytes.NewReader(published(t, "fl-mnist/train-labels-idx1-ubyte.gz", origin)))
	if err != nil {
		t.Fatal(err)
	}
	fields := []members{{"name": "id", "type": "integer"}, {"name": "digit", "type": "integer"}}
	var inputs []members
	for i := range digits.Width {
		name := fmt.Sprintf("p%d", i)
		fields = append(fields, members{"name": name, "type": "number"})
		inputs = append(inputs, members{"column": name, "as": "number"})
	}
	spec = members{
		"name": "digits", "dataset": "digits", "schema": members{"fields": fields, "primaryKey": "id"}, "model": members{"kind": "mlp", "hidden": []int{64}},
		"features": members{"inputs": inputs, "label": members{"column": "digit", "classes": strings.Split("0123456789", "")}},
		"rounds":   12, "train": members{"epochs": 1, "batch": 32, "rate": 0.1}, "weights": members{"rows": 10_000},
		"server": members{"method": "momentum", "momentum": 0.6},
	}
	return spec, func(*table.Resource) iter.Seq2[table.Row, error] { return pictures(digits, n) }
}

// Ten clients that each know few of the ten digits well. A third of MNIST: it is enough
// to see what is to be seen.
func TestPublishedDigits(t *testing.T) {
	t.Parallel()
	spec, rows := digitsStudy(t, 20_000)
	study{
		spec: spec, rows: rows,
		private: members{"unit": "record", "delta": 1e-5, "steps": 25, "sample": 0.05, "clip": 1}, rate: 0.5, epsilons: []float64{8},
		partition: table.Partition{Sites: 10, Column: "digit", Alpha: 0.3, Seed: 1}, show: accuracy, floor: 0.85, worst: 0.6,
	}.run(t)
}

// What compression saves, and what it costs: the same training each time.
func TestPublishedBytes(t *testing.T) {
	t.Parallel()
	spec, rows := digitsStudy(t, 5_000)
	maps.Copy(spec, members{"rounds": 20, "weights": members{}, "server": members{}})
	s := study{spec: spec, rows: rows, partition: table.Partition{Sites: 5, Seed: 1}, blind: true}
	with := s.with(t)
	open := members{"off": true}
	for _, c := range []struct {
		name   string
		change members
		bytes  float64 // at most, to one in floating point
		floor  float64
	}{
		{"no masks", members{"secure": open}, 1.01, 0.87},
		{"no masks, a byte a value", members{"secure": open, "compress": members{"keep": 1}}, 0.3, 0.87},
		{"no masks, a tenth", members{"secure": open, "compress": members{"keep": 0.1}}, 0.06, 0.87},
		{"no masks, a hundredth", members{"secure": open, "compress": members{"keep": 0.01}}, 0.01, 0.86},
		{"masks, 16 bits", nil, 0.61, 0.87},
		{"masks, 8 bits", members{"secure": members{"bits": 8}}, 0.36, 0.87},
		{"masks, 8 bits, a quarter", members{"secure": members{"bits": 8}, "compress": members{"keep": 0.25}}, 0.09, 0.86},
		{"masks, 8 bits, a tenth", members{"secure": members{"bits": 8}, "compress": members{"keep": 0.1}}, 0.04, 0.86},
		{"masks, 8 bits, Nesterov", members{"rounds": 5, "train": members{"epochs": 4, "batch": 32, "rate": 0.1}, "server": members{"method": "nesterov"}, "secure": members{"bits": 8}}, 0.36, 0.87},
	} {
		r := with(c.change)
		first := r.State.Rounds[0]
		share := float64(first.Sent) / float64(len(first.Sites)) / float64(4*len(r.State.Params))
		last := r.State.Rounds[len(r.State.Rounds)-1].Counts
		got := float64(last.Right) / float64(last.Held)
		t.Logf("%-26s %.4f of the bytes in floating point, %2d rounds, accuracy %.4f", c.name, share, len(r.State.Rounds), got)
		if share > c.bytes || got < c.floor {
			t.Errorf("%s: %.4f of the bytes, want %g; %.4f, want %g", c.name, share, c.bytes, got, c.floor)
		}
	}
}

// pictures yields the first n rows as a table has them.
func pictures(e *learn.Examples, n int) iter.Seq2[table.Row, error] {
	return func(yield func(table.Row, error) bool) {
		cells := make([]table.Value, 2+e.Width)
		for i := range n {
			cells[0].Number, cells[1].Number = float64(i), float64(e.Labels[i])
			for k, v := range e.Row(i) {
				cells[2+k].Number = float64(v)
			}
			if !yield(table.Row{Number: i + 1, Cells: cells}, nil) {
				return
			}
		}
	}
}
