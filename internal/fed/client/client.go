// Package client is a node's side of federated learning: it tells the hub which datasets
// there are, takes orders, has a fed.Site answer them, and sends the replies. What a
// dataset's owner allows is enforced here, and not by the hub: purpose, members, noise,
// budget (internal/fed/dataset).
//
//	hub ── order ──▶ seat: terms ─ dataset's policy ─ rows ─▶ fed.Site ── reply ──▶ hub
//
// A node keeps what it must not forget of a federation in a directory of its own:
//
//	federations/fed_…/terms.json   the specification and the members, as first heard of
//	federations/fed_…/round        the newest round that was begun: no older one is answered
//	federations/fed_…/N/DIGEST/    the journals of round N; older ones are removed
//	federations/fed_…/rest         the newest compressed update, and what that has lacked
//	federations/fed_…/over         the federation has ended, and so have its journals
//
// So a hub cannot change the members of a federation that has begun, nor have a round done
// a second time.
package client

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"

	"atoll/api"
	"atoll/internal/core"
	"atoll/internal/fed"
	"atoll/internal/fed/dataset"
	"atoll/internal/identity"
	"atoll/internal/repro"
)

// Hub is what a node asks of the hub.
type Hub interface {
	// Order waits for an order; nil: there was none for a while.
	Order(ctx context.Context, report *api.SiteReport) (core.FederationID, *fed.Order, error)
	Terms(ctx context.Context, id core.FederationID) (api.SiteRoster, error)
	// Reply returns once the hub has stored it. core.Conflict: nobody waits for it.
	Reply(ctx context.Context, id core.FederationID, r *fed.Reply) error
}

// Config for New.
type Config struct {
	Node    core.NodeID
	Country string
	Key     *identity.Key
	Dir     string // of the node
	Hub     Hub
	Threads int // that train
	Log     *slog.Logger
}

// Client takes part in federations.
type Client struct {
	cfg   Config
	store dataset.Store
	pool  *repro.Pool

	mu    sync.Mutex
	seats map[core.FederationID]*seat
	wg    sync.WaitGroup
}

// Datasets are those of a node's directory.
func Datasets(dir string) dataset.Store { return dataset.Store(filepath.Join(dir, "datasets")) }

// Times.
const (
	lookEvery = 2 * time.Second // for datasets, while there is none
	retryMin  = 100 * time.Millisecond
	retryMax  = 5 * time.Second
)

// New returns a client. Run must follow.
func New(cfg Config) (*Client, error) {
	isa, err := repro.SelectISA(os.Getenv(repro.Variable))
	if err != nil {
		return nil, err
	}
	pool, err := repro.NewPool(max(cfg.Threads, 1), isa)
	if err != nil {
		return nil, err
	}
	c := &Client{cfg: cfg, store: Datasets(cfg.Dir), pool: pool, seats: map[core.FederationID]*seat{}}
	return c, c.remember()
}

// remember takes the seats that an earlier life has left, be it to give them up.
func (c *Client) remember() error {
	entries, err := os.ReadDir(filepath.Join(c.cfg.Dir, "federations"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		var id core.FederationID
		if id.UnmarshalText([]byte(e.Name())) != nil {
			continue
		}
		if s := c.seat(id); s.over() == nil {
			c.seats[id] = s
		}
	}
	return err
}

func (c *Client) seat(id core.FederationID) *seat {
	return &seat{c: c, id: id, dir: filepath.Join(c.cfg.Dir, "federations", id.String())}
}

// Run takes orders until ctx ends.
func (c *Client) Run(ctx context.Context) {
	defer c.pool.Close()
	defer c.closeSeats()
	defer c.wg.Wait()
	pause := newPause()
	for ctx.Err() == nil {
		report := c.report()
		if len(report.Datasets) == 0 {
			wait(ctx, lookEvery)
			continue
		}
		id, o, err := c.cfg.Hub.Order(ctx, report)
		switch {
		case err != nil && ctx.Err() == nil:
			c.cfg.Log.Debug("no orders of federations: the hub does not answer", "error", err)
			wait(ctx, pause.NextBackOff())
			continue
		case err == nil && o == nil:
			c.leaveEnded(ctx)
		case err == nil:
			c.take(ctx, id, o)
		}
		pause.Reset()
	}
}

func newPause() *backoff.ExponentialBackOff {
	return &backoff.ExponentialBackOff{InitialInterval: retryMin, MaxInterval: retryMax, Multiplier: 2, RandomizationFactor: 0.5}
}

// wait returns after d, or when ctx ends.
func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// report says what the node has, and what it works on.
func (c *Client) report() *api.SiteReport {
	out := &api.SiteReport{Datasets: []api.SiteDataset{}}
	all, err := c.store.List()
	if err != nil {
		c.cfg.Log.Error("the node's datasets cannot be read", "error", err)
	}
	for _, d := range all {
		if err := d.Policy.MayStay(c.cfg.Country); err != nil {
			c.cfg.Log.Debug("a dataset is not offered", "dataset", d.Name, "error", err)
			continue
		}
		if out.Datasets = append(out.Datasets, api.SiteDataset{Name: d.Name, Schema: d.Schema}); len(out.Datasets) == api.MaxSiteDatasets {
			break
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, s := range c.seats {
		if at := s.working(); at != nil && len(out.Working) < api.MaxSiteWorking {
			out.Working = append(out.Working, api.SiteOrder{Federation: id, Round: at.Round, Attempt: at.Attempt, Step: string(at.Step)})
		}
	}
	return out
}

// take has an order worked on, in place of an older one of the same federation.
func (c *Client) take(ctx context.Context, id core.FederationID, o *fed.Order) {
	c.mu.Lock()
	s := c.seats[id]
	if s == nil {
		s = c.seat(id)
		c.seats[id] = s
	}
	c.mu.Unlock()
	work, cancel := context.WithCancel(ctx)
	s.begin(&o.At, cancel)
	c.wg.Go(func() {
		defer cancel()
		s.work(work, o)
	})
}

// reply has the hub store a reply. What nobody waits for any more is dropped.
func (c *Client) reply(ctx context.Context, id core.FederationID, r *fed.Reply) {
	for pause := newPause(); ctx.Err() == nil; wait(ctx, pause.NextBackOff()) {
		err := c.cfg.Hub.Reply(ctx, id, r)
		if err == nil {
			return
		}
		switch core.KindOf(err) {
		case core.Unavailable, core.Throttled, core.StorageFull, core.Internal:
			c.cfg.Log.Debug("a reply has not come through", "federation", id, "step", r.Step, "error", err)
		default:
			c.cfg.Log.Debug("the hub does not want a reply", "federation", id, "step", r.Step, "error", err)
			return
		}
	}
}

// leaveEnded gives up seats in federations that are over.
func (c *Client) leaveEnded(ctx context.Context) {
	c.mu.Lock()
	var idle []*seat
	for _, s := range c.seats {
		if s.working() == nil {
			idle = append(idle, s)
		}
	}
	c.mu.Unlock()
	for _, s := range idle {
		terms, err := c.cfg.Hub.Terms(ctx, s.id)
		if err != nil || !terms.Over {
			continue
		}
		if err := s.end(); err != nil {
			c.cfg.Log.Error("what a federation has left could not be removed", "federation", s.id, "error", err)
			continue
		}
		c.mu.Lock()
		delete(c.seats, s.id)
		c.mu.Unlock()
	}
}

func (c *Client) closeSeats() {
	c.mu.Lock()
	defer c.mu.Unlock()
	var errs []error
	for _, s := range c.seats {
		errs = append(errs, s.close())
	}
	if err := errors.Join(errs...); err != nil {
		c.cfg.Log.Error("a dataset's ledger", "error", err)
	}
}
