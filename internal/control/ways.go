package control

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"atoll/internal/bus"
	"atoll/internal/core"
	"atoll/internal/node/measure"
	"atoll/internal/peer"
	"atoll/internal/peer/probe"
	"atoll/internal/shard/plan"
)

// Nodes that may hold layers measure the ways between them, one node after another so
// that none is in another's way.
const (
	probeEachMs  = 1_000   // one node is asked
	probeEveryMs = 300_000 // each, again
	probeAgainMs = 60_000  // each, while it has not told of all
)

// What is assumed of ways that were not measured.
const (
	defaultRTT = 2 * time.Millisecond
	hubRTT     = 15 * time.Millisecond // from a node to the hub and back
)

// probeWays returns a node that is to measure the ways to others, and what it is asked;
// "" if none is. It is called with mu held.
func (c *Control) probeWays(now int64) (core.NodeID, *bus.Probe) {
	if now-c.probedMs < probeEachMs {
		return "", nil
	}
	c.probedMs = now
	all := map[core.NodeID]*node{}
	for _, name := range slices.Sorted(maps.Keys(c.services)) {
		if s := c.services[name]; s.Pipeline != "" {
			near, _ := c.lineNodes(s)
			for _, n := range near {
				all[n.doc.ID] = n
			}
		}
	}
	nodes := slices.SortedFunc(maps.Values(all), func(a, b *node) int { // the fastest first, as plans want them
		return cmp.Or(cmp.Compare(b.said.Bench[measure.ModelBytes], a.said.Bench[measure.ModelBytes]), cmp.Compare(a.doc.ID, b.doc.ID))
	})
	nodes = nodes[:min(len(nodes), bus.MaxWays+1)]
	var due *node
	var ask []peer.Address
	for _, n := range nodes {
		var others []peer.Address
		missing := false
		for _, o := range nodes {
			if o != n {
				others = append(others, c.peerOf(o))
				missing = missing || n.wayTo(o.doc.ID) == nil
			}
		}
		since := now - n.probedMs
		if (since >= probeEveryMs || missing && since >= probeAgainMs) && (due == nil || n.probedMs < due.probedMs) {
			due, ask = n, others
		}
	}
	if due == nil || len(ask) == 0 {
		return "", nil
	}
	due.probedMs = now
	return due.doc.ID, &bus.Probe{Peers: ask}
}

// wayTo is what a node has measured of the way to another; nil: nothing.
func (n *node) wayTo(id core.NodeID) *probe.Way {
	i := slices.IndexFunc(n.said.Ways, func(w probe.Way) bool { return w.Node == id })
	if i < 0 {
		return nil
	}
	return &n.said.Ways[i]
}

// measured is what the way between two nodes is like, as they have measured it, and if
// they differ, as it is worse, for either may praise itself. It is zero if neither has.
func measured(a, b *node) (l plan.Link) {
	for _, w := range []*probe.Way{a.wayTo(b.doc.ID), b.wayTo(a.doc.ID)} {
		if w == nil {
			continue
		}
		l.RTT = max(l.RTT, w.RTT())
		if l.Bandwidth == 0 || w.Bandwidth < l.Bandwidth {
			l.Bandwidth = w.Bandwidth
		}
		l.Measured = true
	}
	return l
}

// link is what the way between two of the nodes is taken to be like. What was not
// measured is a guess: it leads through the hub if one of them cannot be dialled.
func (p *linePlan) link(i, j int) plan.Link {
	a, b := p.nodes[i], p.nodes[j]
	if l := measured(a, b); l.RTT > 0 {
		return l
	}
	if len(a.said.PeerAt) == 0 || len(b.said.PeerAt) == 0 {
		return plan.Link{RTT: p.toHub[i] + p.toHub[j]}
	}
	return plan.Link{RTT: defaultRTT}
}
