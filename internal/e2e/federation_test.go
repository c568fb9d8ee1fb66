package e2e

import (
	"context"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"atoll/api"
	"atoll/client"
	"atoll/examples/federation"
	fedclient "atoll/internal/fed/client"
	"atoll/internal/fed/dataset"
	"atoll/internal/learn/model"
)

var (
	fedRuns = flag.Int("fed-runs", 3, "how many federations TestFederationKill disturbs")
	fedSeed = flag.Uint64("fed-seed", 1, "seed of what is killed, and when")
)

const fedSites = 5

// TestFederationKill kills the hub and sites at random steps of federations, masked and
// not, and not but compressed, and starts them again at once. All sites are in each round in the end, and the
// model is that of a run that nobody disturbed: to the bit without masks, and else but for
// the rounding of what is masked, for which each run has fresh randomness.
//
//	go test ./internal/e2e -run FederationKill -fed-runs 20 -v
func TestFederationKill(t *testing.T) {
	cfg := testConfig(t, fedSites)
	n, c := startTest(t, cfg)
	addRows(t, cfg.Dir)
	kinds := []string{"", `,"secure":{"off":true}`, `,"secure":{"off":true},"compress":{"keep":0.5}`}
	calm := make([][]float32, len(kinds))
	for i := range kinds {
		calm[i] = runFederation(t, c, fedSpec(t, kinds[i]), nil)
	}
	rng, killed := rand.New(rand.NewPCG(*fedSeed, 0)), 0
	for run := range *fedRuns {
		k := &fedKiller{t: t, n: n, rng: rng}
		kind := run % len(kinds)
		got := runFederation(t, c, fedSpec(t, kinds[kind]), k.look)
		off := 0.0
		for i, v := range calm[kind] {
			off = max(off, math.Abs(float64(v-got[i])))
		}
		if kind > 0 && off != 0 || off > 0.02 {
			t.Errorf("run %d: %g away from the run that nobody disturbed, after %v", run, off, k.killed)
		}
		t.Logf("run %d: killed %v", run, k.killed)
		killed += len(k.killed)
	}
	if killed == 0 {
		t.Error("nobody was killed")
	}
}

// addRows gives each node a share of the example's rows.
func addRows(t *testing.T, dir string) {
	t.Helper()
	schema := fedFile(t, "loans.schema.json")
	lines := strings.SplitAfter(string(fedFile(t, "loans.csv")), "\n")
	for i := range fedSites {
		var text strings.Builder
		text.WriteString(lines[0])
		for j := 1 + i; j < len(lines); j += fedSites {
			text.WriteString(lines[j])
		}
		path := filepath.Join(dir, fmt.Sprintf("loans-%d.csv", i))
		if err := os.WriteFile(path, []byte(text.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		store := fedclient.Datasets(filepath.Join(dir, fmt.Sprintf("node-%d", i)))
		if _, err := store.Add("loans", path, schema, dataset.Policy{AnyMember: true, Unmasked: true}, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
}

func fedFile(t *testing.T, name string) []byte {
	t.Helper()
	b, err := federation.Files.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func fedSpec(t *testing.T, more string) []byte {
	t.Helper()
	return fmt.Appendf(nil, `{"name":"loans","dataset":"loans","schema":%s,"rounds":6,"sites":{"least":%d},
		"features":{"inputs":[{"column":"income","as":"number","mean":33,"deviation":18},{"column":"debt","as":"number","mean":22,"deviation":16}],"label":{"column":"defaulted","classes":["no","yes"]}},
		"model":{"kind":"logistic"},"train":{"epochs":1,"batch":32,"rate":0.1}%s}`, fedFile(t, "loans.schema.json"), fedSites, more)
}

// runFederation runs one to its end and returns the model's parameters. look is shown how
// it goes.
func runFederation(t *testing.T, c *client.Client, spec []byte, look func(*api.Federation)) []float32 {
	t.Helper()
	ctx := t.Context()
	err := poll(ctx, "all sites to offer their rows", func() (bool, error) {
		r, err := c.FederationRoster(ctx, spec)
		return len(r.Sites) == fedSites, err
	})
	if err != nil {
		t.Fatal(err)
	}
	f, err := c.BeginFederation(ctx, spec)
	if err != nil {
		t.Fatal(err)
	}
	err = poll(ctx, "the federation to end", func() (bool, error) {
		next, err := c.Federation(ctx, f.ID)
		if err != nil {
			return false, err // the client has tried again for as long as a hub takes to come back
		}
		if f = next; look != nil && f.State == api.FederationRunning {
			look(&f)
		}
		return f.State != api.FederationRunning, nil
	})
	if err != nil || f.State != api.FederationDone {
		t.Fatalf("%v: %s, %s: round %d, step %s, waiting for %v", err, f.State, f.Why, f.Round, f.Step, f.Waiting)
	}
	checkRounds(ctx, t, c, &f)
	file, err := c.FederationModel(ctx, f.ID)
	if err != nil {
		t.Fatal(err)
	}
	m, err := model.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	return m.Params
}

// checkRounds has each site in each round, once, with all of its rows.
func checkRounds(ctx context.Context, t *testing.T, c *client.Client, f *api.Federation) {
	t.Helper()
	rounds, err := client.Collect(c.FederationRounds(ctx, f.ID))
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range rounds {
		if r.Number != i+1 || len(r.Sites) != fedSites || r.Held != rounds[0].Held || i > 0 && r.LogIndex <= rounds[i-1].LogIndex {
			t.Errorf("round %d: %+v", i+1, r)
		}
	}
	if len(rounds) != f.Rounds+1 {
		t.Errorf("%d rounds of %d", len(rounds), f.Rounds)
	}
}

// fedKiller kills who takes part in a federation.
type fedKiller struct {
	t      *testing.T
	n      *Network
	rng    *rand.Rand
	seen   string
	killed []string
}

// look kills somebody, maybe, whenever the federation has gone on.
func (k *fedKiller) look(f *api.Federation) {
	at := fmt.Sprintf("%d/%d/%s", f.Round, f.Attempt, f.Step)
	if at == k.seen || len(k.killed) >= 8 || len(k.killed) > 0 && k.rng.IntN(2) == 0 {
		return
	}
	k.seen = at
	all := k.n.All()
	victims := []*Process{all[k.rng.IntN(len(all))]}
	if k.rng.IntN(3) == 0 && !slices.Contains(victims, k.n.Hub) {
		victims = append(victims, k.n.Hub)
	}
	for _, p := range victims {
		if err := p.Kill(); err != nil {
			k.t.Fatal(err)
		}
		k.killed = append(k.killed, p.Name+"@"+at)
	}
	for _, p := range victims {
		if err := p.Start(); err != nil {
			k.t.Fatal(err)
		}
	}
}
