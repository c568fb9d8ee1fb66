package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"atoll/internal/fed"
	"atoll/internal/fed/simulate"
	"atoll/internal/repro"
	"atoll/internal/table"
)

// FedConfig says which federations to measure.
type FedConfig struct {
	Sites  []int
	Hidden int // width of the model's hidden layer
	Rounds int
	Pool   *repro.Pool
	// Processes, if not 0, is of how many sites a federation runs over processes, too, of
	// which Binary is the program.
	Processes int
	Binary    string
	Watch     func(done, total int, what string)
}

// FedReport is what a round costs besides the training: sites have a few rows each, and
// all run in one process. Its JSON keys are stable.
type FedReport struct {
	Bench   string   `json:"bench"`
	Machine Machine  `json:"machine"`
	Rounds  int      `json:"rounds"`
	Rows    []FedRow `json:"rows"`
}

// FedRow is a federation of so many sites.
type FedRow struct {
	Sites      int  `json:"sites"`
	Parameters int  `json:"parameters"`
	Masks      bool `json:"masks"`
	// Processes: sites and hub are processes of their own, and speak over HTTP. What each
	// of them works is not told then.
	Processes bool    `json:"processes"`
	Degree    int     `json:"degree"`      // neighbours of a site; 0: all
	PerRound  float64 `json:"round_s"`     // with sites and hub on this machine
	Site      float64 `json:"site_ms"`     // a site's work in a round, training included
	Hub       float64 `json:"hub_ms"`      // the hub's
	Bytes     int64   `json:"bytes"`       // a site's vector
	Whole     int64   `json:"float_bytes"` // the same in floating point
}

// Fed runs the benchmark.
func Fed(ctx context.Context, cfg FedConfig) (*FedReport, error) {
	r := &FedReport{Bench: "fed", Machine: machine(), Rounds: cfg.Rounds}
	for i, n := range cfg.Sites {
		for j, masks := range []bool{false, true} {
			cfg.Watch(2*i+j, 2*len(cfg.Sites), fmt.Sprintf("%d sites", n))
			row, err := fedRow(ctx, &cfg, n, masks)
			if err != nil {
				return nil, fmt.Errorf("%d sites: %w", n, err)
			}
			r.Rows = append(r.Rows, row)
		}
	}
	for _, masks := range []bool{false, true} {
		if cfg.Processes == 0 {
			break
		}
		cfg.Watch(2*len(cfg.Sites)-1, 2*len(cfg.Sites), fmt.Sprintf("%d processes", cfg.Processes))
		row, err := fedProcesses(ctx, &cfg, masks)
		if err != nil {
			return nil, fmt.Errorf("%d processes: %w", cfg.Processes, err)
		}
		r.Rows = append(r.Rows, row)
	}
	return r, nil
}

// fedInputs is how many numbers a row has.
const fedInputs = 100

func fedSpec(cfg *FedConfig, masks bool) (*fed.Spec, error) {
	fields := []map[string]any{{"name": "id", "type": "integer"}, {"name": "is", "type": "string"}}
	var inputs []map[string]any
	for i := range fedInputs {
		fields = append(fields, map[string]any{"name": fmt.Sprint("x", i), "type": "number"})
		inputs = append(inputs, map[string]any{"column": fmt.Sprint("x", i), "as": "number"})
	}
	b, err := json.Marshal(map[string]any{
		"name": "bench", "dataset": "bench", "rounds": cfg.Rounds, "schema": map[string]any{"fields": fields, "primaryKey": []string{"id"}},
		"features": map[string]any{"inputs": inputs, "label": map[string]any{"column": "is", "classes": []string{"no", "yes"}}},
		"model":    map[string]any{"kind": "mlp", "hidden": []int{cfg.Hidden}}, "train": map[string]any{"epochs": 1, "batch": 8, "rate": 0.1},
		"secure": map[string]any{"off": !masks}, "holdout": map[string]any{"share_ppm": 1},
	})
	if err != nil {
		return nil, err
	}
	return fed.Parse(b)
}

// fedData is a file of a few rows for each site.
func fedData(sites int) string {
	rng := rand.New(rand.NewPCG(1, uint64(sites)))
	var b strings.Builder
	b.WriteString("id,is")
	for i := range fedInputs {
		fmt.Fprintf(&b, ",x%d", i)
	}
	for row := range 8 * sites {
		fmt.Fprintf(&b, "\n%d,%s", row, []string{"no", "yes"}[row/sites%2])
		for range fedInputs {
			fmt.Fprintf(&b, ",%.3f", rng.NormFloat64())
		}
	}
	return b.String()
}

func fedRow(ctx context.Context, cfg *FedConfig, sites int, masks bool) (row FedRow, err error) {
	spec, err := fedSpec(cfg, masks)
	if err != nil {
		return row, err
	}
	var mu sync.Mutex
	var busy time.Duration // of all sites
	data := fedData(sites)
	r, err := simulate.Run(ctx, simulate.Config{
		Spec: spec, Pool: cfg.Pool, Partition: table.Partition{Sites: sites, Seed: 1}, Blind: true,
		Assign: func(row int) int { return row % sites },
		Rows: func(res *table.Resource) iter.Seq2[table.Row, error] {
			return res.ReadCSV("rows", strings.NewReader(data))
		},
		Worked: func(_ int, took time.Duration) {
			mu.Lock()
			defer mu.Unlock()
			busy += took
		},
	})
	if err != nil {
		return row, err
	}
	report := r.Report()
	rounds := float64(len(r.State.Rounds))
	return FedRow{
		Sites: sites, Parameters: r.Plan.Model.Size(), Masks: masks, Degree: r.Plan.Degree(), PerRound: r.Ran.Seconds() / rounds,
		Site: busy.Seconds() * 1000 / rounds / float64(sites), Hub: r.Hub.Seconds() * 1000 / rounds, Bytes: report.Sent, Whole: report.Float,
	}, nil
}
