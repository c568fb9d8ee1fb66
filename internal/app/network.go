package app

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"sync"
	"time"

	"atoll/api"
	"atoll/internal/core"
	"atoll/internal/engine"
	"atoll/internal/engine/openai"
	"atoll/internal/identity"
	"atoll/internal/node"
	"atoll/internal/node/agent"
	"atoll/internal/node/measure"
	"atoll/internal/node/sandbox"
)

// NodeSpec is one node of a network in one process.
type NodeSpec struct {
	Name    core.NodeID
	Owner   core.AccountID
	Country string
	Region  string
	Labels  map[string]string
	Price   core.Money
	Engines []string
	Slots   int
	Queue   int
	Faults  string
	OpenAI  *openai.Config // a server of the provider's own; nil: none
	Peers   string         // where other nodes reach it: see node.Config

	// For tests: nodes that cheat (nil: none does), and that say how fast they are (0: as
	// measured).
	wrap      func(engine.Engine) engine.Engine
	modelRate int64
}

// Network is a hub and its nodes in one process: real parts, real messages, one
// address space.
type Network struct {
	Hub *Hub

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	failed chan error // of the hub

	mu    sync.Mutex
	nodes map[core.NodeID]*running
}

type running struct {
	cancel context.CancelFunc
	done   chan struct{}
	err    error // once done
}

// readyWithin bounds the start of a hub and of each of its nodes.
const readyWithin = 30 * time.Second

// StartNetwork starts a hub and nodes and returns when all are up.
func StartNetwork(ctx context.Context, cfg HubConfig, nodes []NodeSpec) (_ *Network, err error) {
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	n := &Network{ctx: run, cancel: cancel, failed: make(chan error, 1), nodes: map[core.NodeID]*running{}}
	if n.Hub, err = NewHub(ctx, cfg); err != nil {
		cancel()
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, n.Close())
		}
	}()
	n.wg.Go(func() { n.failed <- n.Hub.Run(run) })
	select {
	case <-n.Hub.Ready():
	case err := <-n.failed:
		n.failed <- nil
		return nil, fmt.Errorf("the hub did not start: %w", err)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	report, err := sandbox.Probe(ctx)
	if err != nil {
		return nil, err
	}
	machine, err := measure.New(ctx, cfg.Log)
	if err != nil {
		return nil, err
	}
	for _, spec := range nodes {
		if err := n.startNode(ctx, spec, report, machine); err != nil {
			return nil, fmt.Errorf("node %s: %w", spec.Name, err)
		}
	}
	return n, n.waitUp(ctx, nodes)
}

func (n *Network) startNode(ctx context.Context, spec NodeSpec, report sandbox.Report, machine *measure.Machine) error {
	h := n.Hub
	if _, err := h.Control.CreateAccount(ctx, spec.Owner, 0, ""); err != nil && core.KindOf(err) != core.Conflict {
		return err
	}
	token, err := h.Control.CreateJoinToken(ctx, spec.Owner, 1, api.Duration(time.Hour))
	if err != nil {
		return err
	}
	faults, err := agent.ParseFaults(spec.Faults)
	if err != nil {
		return err
	}
	all, err := engines(spec.Engines, spec.Slots, spec.OpenAI, report, h.cfg.Log)
	if err != nil {
		return err
	}
	if spec.wrap != nil {
		for i := range all {
			all[i] = spec.wrap(all[i])
		}
	}
	if spec.modelRate > 0 {
		other := *machine
		other.Bench = maps.Clone(other.Bench)
		other.Bench[measure.ModelBytes] = spec.modelRate
		machine = &other
	}
	nd, err := node.New(node.Config{
		Name: spec.Name, Dir: h.path(filepath.Join("nodes", string(spec.Name))), HubURL: h.URL, Token: identity.Token(token.Token),
		Country: spec.Country, Region: spec.Region, Labels: spec.Labels, Price: spec.Price, MaxPenalty: api.MaxPenalty, Engines: all, Peers: spec.Peers, Slots: spec.Slots, Queue: spec.Queue,
		Sandbox: enforced(report), Faults: faults, Version: Version, Build: build(), Machine: machine, Bus: h.Bus, Tracer: h.cfg.Tracer,
		Log: h.cfg.Log.With("node", spec.Name), NoSync: h.cfg.NoSync,
	})
	if err != nil {
		return errors.Join(err, closeEngines(all))
	}
	n.run(spec.Name, nd, all)
	return nil
}

func (n *Network) run(name core.NodeID, nd *node.Node, all []engine.Engine) {
	ctx, cancel := context.WithCancel(n.ctx)
	r := &running{cancel: cancel, done: make(chan struct{})}
	n.mu.Lock()
	n.nodes[name] = r
	n.mu.Unlock()
	n.wg.Go(func() {
		defer close(r.done)
		err := nd.Run(ctx)
		if err != nil && !errors.Is(err, context.Canceled) {
			n.Hub.cfg.Log.Warn("node has ended", "node", name, "error", err)
		}
		r.err = errors.Join(err, closeEngines(all))
	})
}

// Kill ends a node at once, as a power cut would: it says goodbye to nobody.
func (n *Network) Kill(name core.NodeID) error {
	n.mu.Lock()
	r := n.nodes[name]
	n.mu.Unlock()
	if r == nil {
		return fmt.Errorf("no node %s", name)
	}
	r.cancel()
	<-r.done
	return nil
}

// waitUp returns when the market has heard of all nodes.
func (n *Network) waitUp(ctx context.Context, nodes []NodeSpec) error {
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	for {
		up := 0
		rows, err := n.Hub.Control.Nodes(ctx)
		if err != nil {
			return err
		}
		for _, row := range rows {
			if row.State == "up" {
				up++
			}
		}
		if up >= len(nodes) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("only %d of %d nodes are up after %s; their log says more (--log-level debug)", up, len(nodes), readyWithin)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// Failed yields the error with which the hub ended.
func (n *Network) Failed() <-chan error { return n.failed }

// Close ends the nodes and the hub and waits for them.
func (n *Network) Close() error {
	n.cancel()
	n.wg.Wait()
	return n.Hub.Close()
}
