package cli

import (
	"context"
	"fmt"

	"atoll/internal/core"
)

// join joins a hub and runs. q, if there is one, is asked for what was not given;
// priced says that the price was.
func (s *session) join(ctx context.Context, f *nodeFlags, hub, token string, q *asker, priced bool) error {
	log, err := s.logger(f.level, f.logForm)
	if err != nil {
		return err
	}
	if q == nil { // what is wrong is said before anything is looked for
		if _, err := f.config(s); err != nil {
			return err
		}
	}
	found := s.rt.Discover(ctx, log)
	s.printFound(found)
	if q != nil {
		if err := q.fill(ctx, f, &found, priced); err != nil {
			return err
		}
	}
	cfg, err := f.config(s)
	if err != nil {
		return err
	}
	if cfg.Hub, cfg.Token = hub, token; cfg.OpenAI == nil {
		s.printUnoffered(found)
	}
	if priced {
		q = nil // there is nothing left to ask
	}
	return s.runJoined(ctx, cfg, found, q)
}

// runJoined runs a node, and once more if the market's price is to be taken.
func (s *session) runJoined(ctx context.Context, cfg NodeConfig, found Found, q *asker) error {
	run, end := context.WithCancel(ctx)
	defer end()
	repriced := make(chan core.Money, 1)
	cfg.OnReady = func(r NodeReady) error {
		err := s.welcome(&cfg, &r, found)
		n, standing := s.heardOf(run, cfg.Dir)
		if standing != nil {
			cfg.Log.Warn("how this node stands in the market is not known yet", "error", standing)
			return err
		}
		s.printStanding(&n)
		if q == nil || err != nil {
			return err
		}
		p, err := q.reprice(run, &n)
		if err == nil && p != n.Price {
			repriced <- p
			end() // it finishes what it has
		}
		return err
	}
	err := s.runNode(run, cfg)
	select {
	case cfg.Price = <-repriced:
	default:
		return err
	}
	if err != nil || ctx.Err() != nil {
		return err
	}
	fmt.Fprintf(s.err, "from now on for %s\n", cfg.Price)
	cfg.OnReady = nil
	return s.runNode(ctx, cfg)
}

// welcome says that a node has joined, and remembers where.
func (s *session) welcome(cfg *NodeConfig, r *NodeReady, found Found) error {
	if s.asJSON {
		if err := s.printJSON(joined{r.Node, r.Owner, r.HubURL, found}); err != nil {
			return err
		}
	}
	fmt.Fprintf(s.err, "node %s of %s has joined %s; what it has earned: atoll node status%s\n", r.Node, r.Owner, r.HubURL, yes(cfg.Dir != s.dataDir("node"), " --dir "+cfg.Dir))
	return s.rememberHub("joined", hubEntry{URL: r.HubURL, CACert: r.CACert})
}

// look says what could be offered.
func (s *session) look(ctx context.Context, f *nodeFlags) error {
	log, err := s.logger(f.level, f.logForm)
	if err != nil {
		return err
	}
	found := s.rt.Discover(ctx, log)
	if s.asJSON {
		return s.printJSON(found)
	}
	s.printFound(found)
	if s.printUnoffered(found); len(found.GPUs)+len(found.Servers) == 0 {
		fmt.Fprintln(s.err, "found no GPU, and no server with models on the usual ports of this machine")
	}
	return nil
}

// joined is what join prints with --json, once it has.
type joined struct {
	Node  core.NodeID    `json:"node"`
	Owner core.AccountID `json:"owner"`
	Hub   string         `json:"hub"`
	Found Found          `json:"found"`
}
