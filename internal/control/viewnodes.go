package control

import (
	"cmp"
	"context"
	"math"
	"slices"

	"atoll/api"
	"atoll/internal/core"
)

// Offers returns what can be had now.
func (c *Control) Offers(context.Context) ([]api.Offer, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make([]api.Offer, 0, len(c.offers))
	for _, o := range c.offers {
		if !o.Up || o.Draining {
			continue
		}
		n := c.nodes[o.Node]
		out = append(out, api.Offer{
			Node: o.Node, Owner: o.Owner, Price: o.Price, Country: o.Country, Region: o.Region, Labels: o.Labels, Engines: o.Engines, Upstreams: o.Upstreams,
			Reliability: round(o.Mean), ReliabilityP5: round(o.P5), P50Ms: n.latency.quantile(0.5), P99Ms: n.latency.quantile(0.99),
			Loaded: c.named(o.Loaded), Slots: o.Slots, Free: max(o.Queue-o.InFlight, 0),
		})
	}
	return out, nil
}

// named lists the models of which one digest is, or none if it has no name here:
// what accounts bring along themselves is theirs to know.
func (c *Control) named(digests []core.Digest) (names []string) {
	for id, m := range c.models {
		if slices.Contains(digests, m.Digest) {
			names = append(names, id)
		}
	}
	slices.Sort(names)
	return names
}

func round(f float64) float64 { return math.Round(f*1e4) / 1e4 }

// Nodes lists all nodes that have joined.
func (c *Control) Nodes(context.Context) ([]api.Node, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make([]api.Node, 0, len(c.offers))
	for _, o := range c.offers {
		out = append(out, c.nodeView(c.nodes[o.Node]))
	}
	return out, nil
}

func (c *Control) nodeView(n *node) api.Node {
	o, s := n.offer, &n.said
	out := api.Node{
		ID: n.doc.ID, Owner: n.doc.Owner, State: "up", Country: cmp.Or(o.Country, n.doc.Country), Region: o.Region, Labels: o.Labels, Engines: o.Engines, Upstreams: o.Upstreams, Trouble: s.Trouble, Peers: c.peerAt(n),
		Price: o.Price, Version: s.Version, CPUMillis: o.CPUMillis, Memory: o.Memory, Bench: s.Bench, Sandbox: s.Sandbox,
		Reliability: round(o.Mean), Passed: n.doc.Passed, Rejected: n.doc.Rejected, Lost: n.doc.Lost, InFlight: o.InFlight,
		Earned: n.doc.Earned, PublicKey: n.doc.PublicKey, JoinedAt: moment(n.doc.JoinedMs),
	}
	if s.OS != "" {
		out.Platform = s.OS + "/" + s.Arch
	}
	for _, g := range s.GPUs {
		out.GPUs = append(out.GPUs, api.NodeGPU{Type: g.Type, Memory: g.Memory})
	}
	if n.bootID != "" {
		at := moment(n.seenMs)
		out.SeenAt = &at
	}
	switch {
	case n.doc.Revoked:
		out.State = "revoked"
	case o.Draining && o.InFlight == 0:
		out.State = "drained" // whether it has left already or not
	case !o.Up:
		out.State = "silent"
	case o.Draining:
		out.State = "draining"
	}
	return out
}
