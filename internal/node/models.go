package node

import (
	"context"
	"slices"
	"sync"
	"time"

	"atoll/internal/blob"
	"atoll/internal/blob/swarm"
	"atoll/internal/core"
	"atoll/internal/node/agent"
	"atoll/internal/peer"
	"atoll/internal/peer/relay"
	"atoll/internal/shard/charter"
)

// openModels opens the node's cache, and what fills it: other nodes that hold layers of
// the same model, and the hub.
func (n *Node) openModels(cfg *agent.Config) error {
	store, err := blob.Open(n.path("cache"), blob.Options{MaxBytes: n.cfg.CacheBytes, Reserve: n.cfg.Reserve, Log: n.cfg.Log})
	if err != nil {
		return err
	}
	c := swarm.Config{Store: store, Origin: cfg.HTTP, Self: n.key.Public().Digest(), Log: n.cfg.Log}
	if n.near != nil {
		f := &fellows{now: time.Now}
		c.Open, c.Sources, c.Allow = n.near.open, f.sources, f.allow
		cfg.Told = f.told
	}
	if n.models, err = swarm.New(c); err != nil {
		return err
	}
	cfg.Models = n.models
	return nil
}

// fellows are the nodes that hold, or may hold, layers of the same models as this one: by
// the hub's word. They give one another what they have of those models, and nothing to
// anybody else.
type fellows struct {
	now func() time.Time

	mu    sync.Mutex
	lines charter.Book
}

// told hears a charter.
func (f *fellows) told(c *charter.Charter) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.now()
	f.lines.Expire(now)
	f.lines.Hear(c, now)
}

// sources is swarm.Config.Sources. Nodes that can only be reached through the hub's relay
// are none: what they sent would leave the hub just as what it sends itself, and would have
// to get there first.
func (f *fellows) sources(model core.Digest) (nodes []peer.Address) {
	for _, a := range f.of(model) {
		if a.At = slices.DeleteFunc(slices.Clone(a.At), relay.Relayed); len(a.At) > 0 {
			nodes = append(nodes, a)
		}
	}
	return nodes
}

// of are the nodes that the hub has told of, for a model.
func (f *fellows) of(model core.Digest) (nodes []peer.Address) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.lines.InForce(f.now()) {
		if c.Model == model {
			nodes = append(nodes, c.Nodes()...)
		}
	}
	return nodes
}

// allow is swarm.Config.Allow.
func (f *fellows) allow(_ context.Context, p peer.Peer, model core.Digest) error {
	for _, a := range f.of(model) {
		if a.Node == p.Node && a.Key == p.Key {
			return nil
		}
	}
	return core.Errorf(core.Forbidden, "node %s holds no layers of model %s with this one, as far as the hub has told", p.Node, model.Short())
}
