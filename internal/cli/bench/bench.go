// Package bench measures the whole of Atoll from outside: a client process puts
// load on a hub and nodes in another process and counts what comes back.
//
// One "task" is a WebAssembly module that does nothing, submitted with ?wait= and
// counted when its verified result is reported. Nothing is left out: each is
// durable before it is acknowledged, has a signed receipt and verdict in the
// log, and is paid.
//
// Language models are measured in this process: what their arithmetic costs, with
// nothing around it (LLM), beside another program where there is one.
package bench

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"atoll/api"
	"atoll/client"
	noop "atoll/examples/wasm"
	"atoll/internal/core"
)

// Config says what to measure.
type Config struct {
	URL, Key, CACert string // an existing hub; empty: one is started
	Tasks            int    // of each round
	Rounds           int
	InFlight         []int
	Modes            []string // none, quorum:K
	Profile          string   // path; empty: none
	Watch            func(done, total int, what string)
	Log              io.Writer // what the started hub says
}

// Report is a benchmark's outcome. Its JSON keys are stable.
type Report struct {
	Bench   string   `json:"bench"`
	Machine Machine  `json:"machine"`
	Sizes   string   `json:"sizes"`
	Nodes   int      `json:"nodes"`
	Tasks   int      `json:"tasks"` // in all
	Rounds  int      `json:"rounds"`
	RSSMB   *float64 `json:"rss_mb"` // of the hub's process in the end
	Rows    []Row    `json:"rows"`
}

// Row is the median round of one setting. What could not be measured is null.
type Row struct {
	Mode        string    `json:"mode"`
	InFlight    int       `json:"in_flight"`
	Tasks       int       `json:"tasks"` // of each round
	TasksPerS   float64   `json:"tasks_per_s"`
	P50Ms       float64   `json:"p50_ms"`
	P99Ms       float64   `json:"p99_ms"`
	CPUMs       *float64  `json:"cpu_ms_per_task"` // hub, nodes and their children
	ClientCPUMs *float64  `json:"client_cpu_ms_per_task"`
	Syncs       *float64  `json:"syncs_per_task"`
	RSSMB       *float64  `json:"rss_mb"`
	Rounds      []float64 `json:"rounds_tasks_per_s"` // of all rounds, in order
}

const (
	account = core.AccountID("bench")
	purse   = 10_000_000 * core.Credit
)

// Tasks runs the benchmark.
func Tasks(ctx context.Context, cfg Config) (_ *Report, err error) {
	modes := make([]mode, len(cfg.Modes))
	for i, text := range cfg.Modes {
		if modes[i], err = parseMode(text); err != nil {
			return nil, err
		}
	}
	for _, n := range cfg.InFlight {
		if n < 1 || n > 4096 {
			return nil, fmt.Errorf("%d in flight: want 1 to 4096", n)
		}
	}
	b := &bencher{cfg: &cfg}
	if cfg.URL == "" {
		if b.hub, err = startHub(ctx, cfg.Log); err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, b.hub.stop()) }()
		cfg.URL, cfg.Key = b.hub.url, b.hub.key
	}
	if err := b.open(ctx); err != nil {
		return nil, err
	}
	stop, err := profile(cfg.Profile)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, stop()) }()
	return b.run(ctx, modes)
}

func profile(path string) (stop func() error, err error) {
	if path == "" {
		return func() error { return nil }, nil
	}
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() error {
		pprof.StopCPUProfile()
		return f.Close()
	}, nil
}

// mode is a way to verify.
type mode struct {
	name string
	v    *api.Verification
}

func parseMode(text string) (mode, error) {
	if text == "none" {
		return mode{name: text}, nil
	}
	method, k, ok := strings.Cut(text, ":")
	n, err := strconv.Atoi(k)
	if method != "quorum" || !ok || err != nil || n < 2 || n > api.MaxReplicas {
		return mode{}, fmt.Errorf("mode %q: want none, or quorum:K with K from 2 to %d", text, api.MaxReplicas)
	}
	return mode{text, &api.Verification{Method: method, Replicas: n}}, nil
}

type bencher struct {
	cfg   *Config
	hub   *hubProcess // nil: somebody else's
	admin *client.Client
	user  *client.Client
	model string
	nodes int
}

// open registers the module and takes a requester's key.
func (b *bencher) open(ctx context.Context) error {
	connect := func(key string) (*client.Client, error) {
		cc := client.Config{URL: b.cfg.URL, Key: key}
		if b.cfg.CACert != "" {
			cc.CACert = []byte(b.cfg.CACert)
		}
		return client.New(cc)
	}
	var err error
	if b.admin, err = connect(b.cfg.Key); err != nil {
		return err
	}
	_, err = b.admin.CreateAccount(ctx, account, purse, "bench")
	if p, ok := errors.AsType[*api.Problem](err); err != nil && (!ok || p.Status != 409) {
		return err
	}
	key, err := b.admin.CreateKey(ctx, account, "requester")
	if err != nil {
		return err
	}
	if b.user, err = connect(key.Secret); err != nil {
		return err
	}
	blob, err := b.user.PutBlob(ctx, noop.Noop)
	if err != nil {
		return err
	}
	m, err := b.user.RegisterModel(ctx, client.NewModel{Name: "bench-noop", Engine: "wasm", Digest: blob.Digest, Description: "does nothing"})
	if err != nil {
		return err
	}
	b.model = m.ID
	offers, err := client.Collect(b.user.Offers(ctx, client.OfferQuery{Engine: "wasm"}))
	b.nodes = len(offers)
	return err
}

func (b *bencher) spec(m mode) *api.TaskSpec {
	return &api.TaskSpec{Model: b.model, Input: []api.DataPointer{client.Inline([]byte("x"))}, Verification: m.v, Budget: &api.Budget{MaxCost: core.Credit / 2}}
}

// tasksOf is the size of a round. One at a time is slow, and steadier.
func (b *bencher) tasksOf(inFlight int) int {
	if inFlight == 1 {
		return max(b.cfg.Tasks/8, 1)
	}
	return b.cfg.Tasks
}

func (b *bencher) run(ctx context.Context, modes []mode) (*Report, error) {
	r := &Report{Bench: "tasks", Machine: machine(), Sizes: fmt.Sprintf("No-op module of %d bytes, input of 1 byte", len(noop.Noop)), Nodes: b.nodes, Rounds: b.cfg.Rounds}
	total, done := len(modes)*len(b.cfg.InFlight)*b.cfg.Rounds, 0
	for _, m := range modes {
		// Children start and connections open before anything is counted.
		if _, err := load(ctx, b.user, b.spec(m), 200, 16); err != nil {
			return nil, err
		}
		r.Tasks += 200
		for _, n := range b.cfg.InFlight {
			var rounds []Row
			for range b.cfg.Rounds {
				b.cfg.Watch(done, total, fmt.Sprintf("%s, %d in flight", m.name, n))
				row, err := b.round(ctx, m, n)
				if err != nil {
					return nil, err
				}
				rounds = append(rounds, *row)
				r.Tasks += row.Tasks
				done++
			}
			r.Rows = append(r.Rows, median(rounds))
		}
	}
	if u, err := b.usage(ctx); err == nil {
		r.RSSMB = u.rssMB
	}
	return r, nil
}

// median is the round in the middle by throughput; of an even number the slower.
func median(rounds []Row) Row {
	var all []float64
	for _, r := range rounds {
		all = append(all, r.TasksPerS)
	}
	slices.SortFunc(rounds, func(a, b Row) int { return cmp.Compare(a.TasksPerS, b.TasksPerS) })
	mid := rounds[(len(rounds)-1)/2]
	mid.Rounds = all
	return mid
}

// round measures one round.
func (b *bencher) round(ctx context.Context, m mode, inFlight int) (*Row, error) {
	n := b.tasksOf(inFlight)
	before, err := b.usage(ctx)
	if err != nil {
		return nil, err
	}
	s, err := load(ctx, b.user, b.spec(m), n, inFlight)
	if err != nil {
		return nil, err
	}
	after, err := b.usage(ctx)
	if err != nil {
		return nil, err
	}
	each := func(a, b *float64, unit float64) *float64 {
		if a == nil || b == nil {
			return nil
		}
		v := (*b - *a) * unit / float64(n)
		return &v
	}
	return &Row{
		Mode: m.name, InFlight: inFlight, Tasks: n, TasksPerS: float64(n) / s.took.Seconds(), P50Ms: s.quantile(0.5), P99Ms: s.quantile(0.99),
		CPUMs: each(before.cpuS, after.cpuS, 1000), ClientCPUMs: each(before.clientCPUS, after.clientCPUS, 1000),
		Syncs: each(before.syncs, after.syncs, 1), RSSMB: after.rssMB,
	}, nil
}

// usage is what has been used so far. What cannot be known is nil.
type usage struct {
	cpuS, clientCPUS, syncs, rssMB *float64
}

// usage asks the kernel about the hub that we started, and any other hub about
// itself; that one cannot speak for its child processes.
func (b *bencher) usage(ctx context.Context) (u usage, err error) {
	text, err := b.admin.Metrics(ctx)
	if err != nil {
		return u, err
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(text))
	if err != nil {
		return u, fmt.Errorf("the hub's metrics: %w", err)
	}
	metric := func(name string) *float64 {
		f := families[name]
		if f == nil || len(f.Metric) != 1 {
			return nil
		}
		v := f.Metric[0].GetCounter().GetValue() + f.Metric[0].GetGauge().GetValue()
		return &v
	}
	u.syncs, u.cpuS, u.rssMB = metric("atoll_store_syncs_total"), metric("process_cpu_seconds_total"), metric("process_resident_memory_bytes")
	if u.rssMB != nil {
		*u.rssMB /= 1e6
	}
	u.clientCPUS = ownCPU()
	if b.hub != nil {
		if cpu := familyCPU(b.hub.pid()); cpu != nil {
			u.cpuS = cpu
		}
	}
	return u, nil
}
