package control

import (
	"context"
	"fmt"
	"slices"

	"github.com/dustin/go-humanize/english"

	"atoll/api"
	"atoll/internal/core"
	"atoll/internal/market"
)

// maxIdleLook bounds the waiting tasks that are held against one node to say why it
// is idle.
const maxIdleLook = 64

// Node returns a node as its owner sees it: with what is granted to it and not yet
// paid, why it has nothing to do, and what others ask.
func (c *Control) Node(_ context.Context, id core.NodeID) (api.Node, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.nodes[id]
	if n == nil {
		return api.Node{}, core.Errorf(core.NotFound, "no node %.80s", id)
	}
	out := c.nodeView(n)
	for _, p := range c.payouts {
		if l := p.part.Lease(p.lease); l.Node == id {
			out.Pending += l.Pay
		}
	}
	out.Idle = c.idle(n)
	out.Comparable = likeOf(n.offer, c.offers)
	return out, nil
}

// idle says why a node has nothing to do; empty if it has.
func (c *Control) idle(n *node) string {
	o := n.offer
	switch {
	case o.InFlight > 0:
		return ""
	case n.doc.Revoked:
		return "it is revoked"
	case !o.Up:
		return "the hub does not hear of it"
	case o.Draining:
		return "it is draining, so it gets nothing new"
	}
	waiting, reasons := 0, map[string]int{}
	for _, t := range c.waiting.tasks[:min(len(c.waiting.tasks), maxIdleLook)] {
		if len(t.wait.queue) == 0 || t.Ended() {
			continue
		}
		waiting++
		if why := t.req.Never(o, t.Remaining()); why != "" {
			reasons[why]++
		}
	}
	if waiting == 0 {
		return "no task waits for a node"
	}
	first, most := "", 0
	for why, count := range reasons {
		if count > most || count == most && why < first {
			first, most = why, count
		}
	}
	if first == "" {
		return ""
	}
	return fmt.Sprintf("%s; for %d of them: %s", english.Plural(waiting, "task waits", "tasks wait"), most, first)
}

// likeOf is the median price of other owners' nodes that do the same work: that
// have one of the models of its own server, or, where it has none, an engine in common.
func likeOf(o *market.Offer, offers []*market.Offer) *api.Comparable {
	mine, theirs := o.Engines, func(x *market.Offer) []string { return x.Engines }
	if len(o.Upstreams) > 0 {
		mine, theirs = o.Upstreams, func(x *market.Offer) []string { return x.Upstreams }
	}
	var prices []core.Money
	for _, x := range offers {
		if x.Up && !x.Draining && x.Owner != o.Owner && slices.ContainsFunc(theirs(x), func(s string) bool { return slices.Contains(mine, s) }) {
			prices = append(prices, x.Price)
		}
	}
	if len(prices) == 0 {
		return nil
	}
	slices.Sort(prices)
	return &api.Comparable{Nodes: len(prices), Price: prices[(len(prices)-1)/2]}
}
