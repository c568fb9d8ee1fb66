// Package simulate runs a federation on one machine: the rows of one file are divided
// among sites, each with a key of its own, and these and the hub say to one another just
// what they would over a network. It shows what a Spec comes to before anybody is asked
// for anything.
package simulate

import (
	"context"
	"fmt"
	"iter"
	"time"

	"atoll/internal/core"
	"atoll/internal/fed"
	"atoll/internal/identity"
	"atoll/internal/learn"
	"atoll/internal/learn/model"
	"atoll/internal/privacy"
	"atoll/internal/repro"
	"atoll/internal/secagg"
	"atoll/internal/table"
)

// Config of a simulation.
type Config struct {
	Spec *fed.Spec
	// Rows reads the file from its beginning, again each time.
	Rows func(*table.Resource) iter.Seq2[table.Row, error]
	// Partition says who has which rows.
	Partition table.Partition
	Pool      *repro.Pool
	// Assign, if not nil, says instead who has a row of the file, from 0.
	Assign func(row int) int
	// Start are the parameters of the model that the Spec's start_from names.
	Start []float32
	// Blind leaves out what the model is compared with.
	Blind bool
	// Drop, if not nil, is asked before a site answers an order; true: it does not.
	Drop func(site int, o *fed.Order) bool
	// Delay, if not nil, is how long a site takes for a reply, for which it has trained or
	// not, on a clock that only such times and deadlines move. It is called by several
	// goroutines.
	Delay func(site int, r *fed.Reply, trained bool) time.Duration
	// Seen, if not nil, is told of each reply that the hub gets, and of each round.
	Seen   func(*fed.Reply)
	Round  func(fed.Round)
	Worked func(site int, took time.Duration) // called by several goroutines
}

// Result is what came of a simulation.
type Result struct {
	Plan    *fed.Plan
	Members []secagg.Member
	State   fed.State
	Took    time.Duration // all of it
	Ran     time.Duration // of which its rounds
	Hub     time.Duration // of which the hub
	// Reports are of the federation's model at each site, of one that the site has trained
	// alone, and of one trained on all rows, on all rows held out.
	Federated, Pooled model.Report
	Alone             []model.Report
}

// site is one of the simulation's.
type site struct {
	*fed.Site
	rows *fed.Rows
}

// Run simulates a federation.
func Run(ctx context.Context, c Config) (*Result, error) {
	plan, err := fed.NewPlan(c.Spec, c.Partition.Sites)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	r := &Result{Plan: plan}
	rows, err := divide(&c, plan)
	if err != nil {
		return nil, err
	}
	sites, err := r.build(&c, rows)
	if err != nil {
		return nil, err
	}
	var state *fed.State
	if c.Start != nil {
		if state, err = plan.StateFrom(r.Members, c.Start); err != nil {
			return nil, err
		}
	}
	m, err := fed.NewMachine(plan, r.Members, state)
	if err != nil {
		return nil, err
	}
	running := time.Now()
	d := &driver{c: &c, r: r, m: m, sites: sites, at: running, flying: make([]*flight, len(sites)), next: make([]*fed.Order, len(sites)), newest: make([]int, len(sites))}
	if err := d.run(ctx); err != nil {
		return nil, err
	}
	r.State, r.Took, r.Ran = m.State(), time.Since(began), time.Since(running)
	if c.Blind {
		return r, nil
	}
	return r, r.compare(ctx, &c, rows)
}

// divide gives each site its rows.
func divide(c *Config, plan *fed.Plan) ([]*fed.Rows, error) {
	schema := plan.Resource.Schema
	of := c.Assign
	if of == nil {
		sites, err := c.Partition.Assign(schema, c.Rows(plan.Resource))
		if err != nil {
			return nil, err
		}
		of = func(row int) int { return int(sites[row]) }
	}
	held, err := c.Spec.Holdout.Rule(schema)
	if err != nil {
		return nil, err
	}
	parts, err := c.Spec.Features.Divide(schema, c.Rows(plan.Resource), 2*c.Partition.Sites, func(row table.Row) int {
		part := 2 * of(row.Number-1)
		if held(row) {
			part++
		}
		return part
	})
	if err != nil {
		return nil, err
	}
	out := make([]*fed.Rows, c.Partition.Sites)
	for i := range out {
		out[i] = &fed.Rows{Train: parts[2*i], Held: parts[2*i+1]}
	}
	return out, nil
}

// build makes the sites.
func (r *Result) build(c *Config, rows []*fed.Rows) (out []*site, err error) {
	var keys []*identity.Key
	for i := range rows {
		key, err := identity.Generate()
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
		r.Members = append(r.Members, secagg.Member{Name: fmt.Sprintf("site-%0*d", len(fmt.Sprint(len(rows))), i+1), Key: key.Public()})
	}
	for i := range rows {
		journals := map[core.Digest]secagg.Journal{}
		s, err := fed.NewSite(fed.SiteConfig{
			Plan: r.Plan, Members: r.Members, Name: r.Members[i].Name, Sign: keys[i].Sign, Rows: rows[i], Pool: c.Pool,
			Journal: func(_ int, id core.Digest) (secagg.Journal, error) {
				if journals[id] == nil {
					journals[id] = new(secagg.MemoryJournal)
				}
				return journals[id], nil
			},
			Rest:  new(fed.MemorySlot),
			Spend: func(privacy.Charge) error { return nil }, // nobody keeps a budget here
		})
		if err != nil {
			return nil, err
		}
		out = append(out, &site{s, rows[i]})
	}
	return out, nil
}

// compare measures what sites would have come to alone, and with all rows in one place:
// with the same training, as many rounds of it.
func (r *Result) compare(ctx context.Context, c *Config, rows []*fed.Rows) error {
	all := &fed.Rows{Train: new(learn.Examples), Held: new(learn.Examples)}
	for i, x := range rows {
		if i == 0 {
			all.Train.Width, all.Held.Width = x.Train.Width, x.Held.Width
		}
		if err := all.Train.Append(x.Train); err != nil {
			return err
		}
		if err := all.Held.Append(x.Held); err != nil {
			return err
		}
	}
	if all.Held.Len() == 0 {
		return nil
	}
	var err error
	spec := r.Plan.Model
	if r.Federated, err = model.Evaluate(ctx, spec, r.State.Params, all.Held, c.Pool); err != nil {
		return err
	}
	if r.Pooled, err = r.train(ctx, c, all.Train, all.Held, "pooled"); err != nil {
		return err
	}
	for i, x := range rows {
		rep, err := r.train(ctx, c, x.Train, all.Held, r.Members[i].Name)
		if err != nil {
			return err
		}
		r.Alone = append(r.Alone, rep)
	}
	return nil
}

// train trains on rows in one place, without noise.
func (r *Result) train(ctx context.Context, c *Config, rows, held *learn.Examples, who string) (rep model.Report, err error) {
	params := r.Plan.Model.Start(c.Spec.Model.Seed)
	cfg, err := r.Plan.Train(0)
	if err != nil {
		return rep, err
	}
	for round := 1; round <= c.Spec.Rounds; round++ {
		cfg.Seed = model.SeedOf("alone", round, who)
		u, err := model.Train(ctx, r.Plan.Model, params, rows, cfg, c.Pool)
		if err != nil {
			return rep, fmt.Errorf("%s: %w", who, err)
		}
		for i, v := range u.Delta {
			params[i] += v
		}
	}
	return model.Evaluate(ctx, r.Plan.Model, params, held, c.Pool)
}
