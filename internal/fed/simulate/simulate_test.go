package simulate

import (
	"bytes"
	"encoding/json"
	"iter"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"atoll/examples/federation"
	"atoll/internal/fed"
	"atoll/internal/learn/model"
	"atoll/internal/repro"
	"atoll/internal/table"
)

func file(t testing.TB, name string) []byte {
	t.Helper()
	b, err := federation.Files.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// config is of the example, with some members of its specification changed.
func config(t testing.TB, sites int, change map[string]any) Config {
	t.Helper()
	var spec map[string]any
	if err := yaml.UnmarshalStrict(file(t, "loans.yaml"), &spec); err != nil {
		t.Fatal(err)
	}
	spec["schema"] = json.RawMessage(file(t, "loans.schema.json"))
	for name, v := range change {
		if spec[name] = v; v == nil {
			delete(spec, name)
		}
	}
	b, err := json.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	s, err := fed.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	pool, err := repro.NewPool(1, repro.Portable)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	rows := file(t, "loans.csv")
	return Config{
		Spec: s, Pool: pool, Partition: table.Partition{Sites: sites, Column: "bank", Seed: 1},
		Rows: func(res *table.Resource) iter.Seq2[table.Row, error] {
			return res.ReadCSV("loans.csv", bytes.NewReader(rows))
		},
	}
}

// The example does what it promises: together the banks come near to what all rows in one
// place give, with masks or without, and whoever leaves.
func TestExample(t *testing.T) {
	t.Parallel()
	run := func(c Config) *Result {
		t.Helper()
		r, err := Run(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		if f, p := r.Federated.AUC, r.Pooled.AUC; f < p-20_000 || f < 800_000 {
			t.Errorf("AUC %d, of all rows in one place %d", f, p)
		}
		return r
	}
	calm := run(config(t, 4, nil))
	for i, a := range calm.Alone {
		if a.Rows != calm.Federated.Rows {
			t.Errorf("site %d alone is measured on %d rows, not %d", i+1, a.Rows, calm.Federated.Rows)
		}
	}
	last := calm.State.Rounds[len(calm.State.Rounds)-1]
	if last.Number != 13 || last.Counts.Held != int64(calm.Federated.Rows) {
		t.Errorf("%+v", last)
	}
	if right := int64(calm.Federated.Confusion[0][0] + calm.Federated.Confusion[1][1]); last.Counts.Right != right {
		t.Errorf("the sites together count %d right, and there are %d", last.Counts.Right, right)
	}
	run(config(t, 4, map[string]any{"secure": map[string]any{"off": true}}))
	leaves := config(t, 4, nil)
	leaves.Drop = func(site int, o *fed.Order) bool { return site == 3 && o.Step == fed.StepVector && o.Round == 2 }
	r := run(leaves)
	if got := r.State.Rounds[1]; !slices.Equal(got.Sites, []int{0, 1, 2}) || len(got.Out) != 1 || got.Out[0].Site != 3 {
		t.Errorf("%+v", got)
	}
	b, err := r.Model()
	if err != nil {
		t.Fatal(err)
	}
	f, err := model.Load(b)
	if err != nil || !slices.Equal(f.Params, r.State.Params) || !bytes.Contains(f.About, []byte("loan-defaults")) {
		t.Errorf("%v, %s", err, f.About)
	}
	page, err := r.Report().HTML()
	if err != nil || !bytes.Contains(page, []byte("<polyline")) || bytes.Contains(page, []byte("http")) && !bytes.Contains(page, []byte("www.w3.org")) {
		t.Errorf("%v\n%s", err, page)
	}
}

// With a rule the groups go on side by side, and the report says what that withstands.
func TestGroups(t *testing.T) {
	t.Parallel()
	c := config(t, 10, map[string]any{"robust": map[string]any{"rule": "median", "group": 3}, "weights": nil})
	c.Partition.Column = ""
	c.Drop = func(site int, o *fed.Order) bool { return site == 3 && o.Step == fed.StepVector && o.Round == 2 }
	r, err := Run(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if f, p := r.Federated.AUC, r.Pooled.AUC; f < p-30_000 {
		t.Errorf("AUC %d, of all rows in one place %d", f, p)
	}
	for _, x := range r.State.Rounds {
		if len(x.Groups) != 3 || slices.Contains(x.Sites, 3) != (x.Number != 2) {
			t.Errorf("%+v", x)
		}
	}
	page, err := r.Report().HTML()
	if err != nil || !bytes.Contains(page, []byte("median of 3 groups of 3 sites")) {
		t.Errorf("%v\n%s", err, page)
	}
}

// The hub's view of an update is noise: with the same rows and other masks no byte of it
// says anything.
func TestMasksHide(t *testing.T) {
	t.Parallel()
	c := config(t, 4, map[string]any{"model": map[string]any{"kind": "mlp", "hidden": []int{64, 32}}, "rounds": 1})
	var ones, all int
	c.Seen = func(r *fed.Reply) {
		for _, b := range r.Vector {
			for ; b > 0; b &= b - 1 {
				ones++
			}
			all += 8
		}
	}
	if _, err := Run(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if share := float64(ones) / float64(all); all < 300_000 || share < 0.495 || share > 0.505 {
		t.Errorf("%.4f of %d bits are set", share, all)
	}
}

// What cannot be is refused before anything is computed.
func TestRefused(t *testing.T) {
	t.Parallel()
	c := config(t, 2, nil)
	if _, err := Run(t.Context(), c); err == nil || !strings.Contains(err.Error(), "2 members") {
		t.Errorf("two sites: %v", err)
	}
	c = config(t, 4, nil)
	c.Rows = func(res *table.Resource) iter.Seq2[table.Row, error] {
		return res.ReadCSV("x.csv", strings.NewReader("id,bank,income,debt,years,owns_home,region,defaulted\n1,north,NaN,1,1,true,city,no\n"))
	}
	if _, err := Run(t.Context(), c); err == nil || !strings.Contains(err.Error(), "income") {
		t.Errorf("NaN: %v", err)
	}
}
