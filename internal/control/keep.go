package control

import (
	"maps"
	"slices"

	"atoll/api"
	"atoll/internal/bus"
	"atoll/internal/core"
	"atoll/internal/lifecycle"
	"atoll/internal/market"
	"atoll/internal/peer"
)

// keepEveryMs is how often nodes are asked to keep the models of services. They do
// so for three times as long: one message may be lost.
const keepEveryMs = 10_000

// keeping is a service's model on its way to nodes, or there: soft state.
type keeping struct {
	of     *api.Service // as it was read
	model  bus.KeptModel
	req    market.Request
	copies int // nodes that a request needs
	most   core.Money
	on     []core.NodeID
}

// keepServices asks nodes to hold the models of services in memory, so that the
// first request need not wait until gigabytes are there.
func (c *Control) keepServices(now int64) {
	c.mu.Lock()
	if now-c.keptMs < keepEveryMs {
		c.mu.Unlock()
		return
	}
	c.keptMs = now
	asked := map[core.NodeID]*bus.Keep{}
	for _, name := range slices.Sorted(maps.Keys(c.services)) {
		if l := c.lines[name]; c.services[name].Pipeline != "" && (l == nil || !l.alone) {
			continue // its line holds it
		}
		for _, k := range c.keepService(c.services[name]) {
			if asked[k] == nil {
				asked[k] = &bus.Keep{}
			}
			if m := asked[k]; len(m.Models) < bus.MaxLoaded {
				m.Models = append(m.Models, c.keeping[name].model)
			}
		}
	}
	maps.DeleteFunc(c.keeping, func(name string, _ *keeping) bool { return c.services[name] == nil })
	c.mu.Unlock()
	for _, id := range slices.Sorted(maps.Keys(asked)) {
		c.send(id, bus.KindKeep, asked[id])
	}
}

// keepService returns the nodes that are to hold a service's model. It is called
// with mu held.
func (c *Control) keepService(s *api.Service) []core.NodeID {
	k := c.keeping[s.Name]
	if k == nil || k.of != s {
		fresh, err := c.readKeeping(s)
		if err != nil { // it was checked when it came in
			c.log.Error("service cannot be kept loaded", "service", s.Name, "error", err)
			return nil
		}
		if k != nil {
			fresh.on = k.on
		}
		k = fresh
		c.keeping[s.Name] = k
	}
	picked := k.req.Keep(c.offers, k.on, k.copies, k.most)
	k.on = k.on[:0:0]
	for _, o := range picked {
		k.on = append(k.on, o.Node)
	}
	return k.on
}

// asked reports whether a node is to hold a model. It is called with mu held.
func (c *Control) asked(id core.NodeID, d core.Digest) bool {
	for name, k := range c.keeping {
		if k.model.Digest == d && slices.Contains(k.on, id) && c.services[name] != nil {
			return true
		}
	}
	for _, l := range c.allLines() { // its layers, or in a lost node's place
		if l.charter != nil && l.charter.Model == d && slices.ContainsFunc(l.charter.Nodes(), func(a peer.Address) bool { return a.Node == id }) {
			return true
		}
	}
	return false
}

// allLines are those of services, and those before and after them.
func (c *Control) allLines() []*line {
	all := slices.Clone(c.fading)
	for _, l := range c.lines {
		if all = append(all, l); l.next != nil {
			all = append(all, l.next)
		}
	}
	return all
}

func (c *Control) readKeeping(s *api.Service) (*keeping, error) {
	m := c.models[s.Model]
	spec := s.Spec(s.Model).WithDefaults()
	t := &task{Task: lifecycle.Task{Account: s.Owner, Engine: m.Engine, ModelDigest: m.Digest, ModelSize: m.Size, Upstream: m.Upstream}}
	if err := t.readTerms(&spec); err != nil {
		return nil, err
	}
	return &keeping{
		of: s, req: t.req, copies: max(t.Terms.Replicas, 1), most: t.Terms.MaxCost,
		model: bus.KeptModel{Engine: m.Engine, Digest: m.Digest, Size: m.Size, Account: s.Owner},
	}, nil
}
