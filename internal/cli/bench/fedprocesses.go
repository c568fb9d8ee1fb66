package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	fastjson "github.com/go-json-experiment/json"

	"atoll/api"
	"atoll/client"
	"atoll/internal/e2e"
	"atoll/internal/fed"
	fedclient "atoll/internal/fed/client"
	"atoll/internal/fed/dataset"
	"atoll/internal/learn/model"
)

// fedProcesses runs the federation over a hub and nodes that are processes of their own on
// this machine: what a round costs with HTTP, SQL, signatures and fsync.
func fedProcesses(ctx context.Context, cfg *FedConfig, masks bool) (row FedRow, err error) {
	dir, err := os.MkdirTemp("", "atoll-bench-fed-*")
	if err != nil {
		return row, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	n, err := e2e.Start(ctx, e2e.Config{Binary: cfg.Binary, Dir: dir, Nodes: cfg.Processes})
	if err != nil {
		return row, err
	}
	defer func() { err = errors.Join(err, n.Close()) }()
	spec, err := fedSpec(cfg, masks)
	if err != nil {
		return row, err
	}
	for i, text := range shares(fedData(cfg.Processes), cfg.Processes) {
		path := filepath.Join(dir, fmt.Sprintf("rows-%d.csv", i))
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			return row, err
		}
		store := fedclient.Datasets(filepath.Join(dir, n.Nodes[i].Name))
		if _, err := store.Add(spec.Dataset, path, spec.Schema, dataset.Policy{AnyMember: true, Unmasked: true}, time.Now()); err != nil {
			return row, err
		}
	}
	c, err := n.Client()
	if err != nil {
		return row, err
	}
	defer c.Close()
	f, err := runOver(ctx, c, spec, cfg.Processes)
	if err != nil {
		return row, err
	}
	return processRow(ctx, c, &f, masks)
}

// shares divides the rows of a file as fedRow does.
func shares(data string, sites int) []string {
	lines := strings.Split(data, "\n")
	out := make([]string, sites)
	for i := range out {
		out[i] = lines[0]
		for j := 1 + i; j < len(lines); j += sites {
			out[i] += "\n" + lines[j]
		}
	}
	return out
}

// runOver runs a federation to its end, once all sites offer their rows.
func runOver(ctx context.Context, c *client.Client, spec *fed.Spec, sites int) (f api.Federation, err error) {
	body, err := fastjson.Marshal(spec, fastjson.Deterministic(true))
	if err != nil {
		return f, err
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for f.State == "" || f.State == api.FederationRunning {
		select {
		case <-ctx.Done():
			return f, ctx.Err()
		case <-tick.C:
		}
		if f.State != "" {
			if f, err = c.Federation(ctx, f.ID); err != nil {
				return f, err
			}
			continue
		}
		r, err := c.FederationRoster(ctx, body)
		if err == nil && len(r.Sites) == sites {
			f, err = c.BeginFederation(ctx, body)
		}
		if err != nil {
			return f, err
		}
	}
	if f.State != api.FederationDone {
		return f, fmt.Errorf("the federation is %s: %s", f.State, f.Why)
	}
	return f, nil
}

func processRow(ctx context.Context, c *client.Client, f *api.Federation, masks bool) (row FedRow, err error) {
	rounds, err := client.Collect(c.FederationRounds(ctx, f.ID))
	if err != nil {
		return row, err
	}
	file, err := c.FederationModel(ctx, f.ID)
	if err != nil {
		return row, err
	}
	m, err := model.Load(file)
	if err != nil {
		return row, err
	}
	row = FedRow{Sites: len(f.Sites), Parameters: len(m.Params), Masks: masks, Processes: true, Whole: int64(4 * len(m.Params))}
	for _, r := range rounds {
		row.PerRound += r.Seconds / float64(len(rounds))
		row.Bytes = r.Bytes / int64(len(r.Sites))
	}
	return row, nil
}
