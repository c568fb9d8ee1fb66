package simulate

import (
	"bytes"
	"encoding/json"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

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

// With a rule the groups go on side by side, and the report says what that withstands. The
// one with the site that leaves fails, unless the lot has put four into it.
func TestGroups(t *testing.T) {
	t.Parallel()
	c := config(t, 13, map[string]any{"robust": map[string]any{"rule": "median", "group": 3}, "weights": nil})
	c.Partition.Column = ""
	c.Drop = func(site int, o *fed.Order) bool { return site == 3 && o.Step == fed.StepVector && o.Round == 2 }
	r, err := Run(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if f, p := r.Federated.AUC, r.Pooled.AUC; f < p-80_000 {
		t.Errorf("AUC %d, of all rows in one place %d", f, p)
	}
	for _, x := range r.State.Rounds {
		if len(x.Groups) != 4 || slices.Contains(x.Sites, 3) != (x.Number != 2) {
			t.Errorf("%+v", x)
		}
	}
	page, err := r.Report().HTML()
	if err != nil || !bytes.Contains(page, []byte("median of 4 groups of 3 sites")) {
		t.Errorf("%v\n%s", err, page)
	}
}

// Who is slow is late, and who is not drawn is not asked; a clock says how long it took.
func TestSelection(t *testing.T) {
	t.Parallel()
	c := config(t, 8, map[string]any{"sites": map[string]any{"select": 6, "enough": 5}, "weights": nil})
	c.Partition.Column = ""
	c.Delay = func(site int, _ *fed.Reply, trained bool) time.Duration {
		switch {
		case !trained:
			return time.Second
		case site == 2:
			return time.Hour
		}
		return time.Duration(10+site) * time.Second
	}
	r, err := Run(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if f, p := r.Federated.AUC, r.Pooled.AUC; f < p-80_000 {
		t.Errorf("AUC %d, of all rows in one place %d", f, p)
	}
	for _, x := range r.State.Rounds {
		if took := x.EndedMs - x.BeganMs; len(x.Sites) != 5 || len(x.Out) != 1 || x.Number <= 12 && slices.Contains(x.Sites, 2) || took > 25_000 {
			t.Errorf("%d ms: %+v", took, x)
		}
	}
	page, err := r.Report().HTML()
	if err != nil || !bytes.Contains(page, []byte("6 of 8 sites, drawn anew")) {
		t.Errorf("%v\n%s", err, page)
	}
}

// A run that begins with a good model, and makes it hardly better, yields that one.
func TestPromotion(t *testing.T) {
	t.Parallel()
	run := func(c Config) *Result {
		t.Helper()
		r, err := Run(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	first := run(config(t, 4, map[string]any{"promote": map[string]any{"by": "loss"}}))
	if p := first.State.Promotion; !p.Promoted || p.Old < p.New || p.Rows != int64(first.Federated.Rows) {
		t.Errorf("%+v", p)
	}
	last := first.State.Rounds[len(first.State.Rounds)-1].Params
	c := config(t, 4, map[string]any{"promote": map[string]any{"by": "accuracy", "margin": 0.05}, "start_from": last, "rounds": 2})
	c.Start = first.State.Params
	second := run(c)
	if p := second.State.Promotion; p.Promoted || second.Federated.AUC != first.Federated.AUC {
		t.Errorf("%+v", p)
	}
	page, err := second.Report().HTML()
	if err != nil || !bytes.Contains(page, []byte("the model is the old one")) {
		t.Errorf("%v\n%s", err, page)
	}
}

// Fast sites do not wait for a slow one, whose updates come when they come and count for
// less, and the model learns.
func TestAsync(t *testing.T) {
	t.Parallel()
	const slow, train = 2, 10 * time.Second
	c := config(t, 6, map[string]any{"async": map[string]any{"buffer": 4, "staleness": 6}, "sites": map[string]any{"corrupt": 0.1}, "weights": nil, "rounds": 24})
	c.Partition.Column = ""
	c.Delay = func(site int, _ *fed.Reply, trained bool) time.Duration {
		switch {
		case !trained:
			return time.Second / 10
		case site == slow:
			return 5 * train
		}
		return train + time.Duration(site)*time.Second
	}
	r, err := Run(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if f, p := r.Federated.AUC, r.Pooled.AUC; f < p-80_000 {
		t.Errorf("AUC %d, of all rows in one place %d", f, p)
	}
	rounds := r.State.Rounds
	last := rounds[len(rounds)-1]
	if took := time.Duration(last.EndedMs-rounds[0].BeganMs) * time.Millisecond; took > time.Duration(len(rounds))*2*train {
		t.Errorf("%d rounds take %s, and training at the slow site alone %s", len(rounds), took, 5*train)
	}
	in := 0
	for _, x := range rounds[:24] {
		if i := slices.Index(x.Sites, slow); i >= 0 {
			if in++; x.Stale[i] < 2 {
				t.Errorf("the slow site's update is %d rounds old: %+v", x.Stale[i], x)
			}
		}
		if len(x.Sites) != 4 || x.Attempts != 1 {
			t.Errorf("%+v", x)
		}
	}
	if in < 2 {
		t.Errorf("the slow site is in %d of %d rounds", in, len(rounds))
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
