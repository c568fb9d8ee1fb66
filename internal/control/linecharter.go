package control

import (
	"slices"

	"atoll/api"
	"atoll/internal/bus"
	"atoll/internal/core"
	"atoll/internal/peer"
	"atoll/internal/shard/charter"
)

// tell has the charter of a line said again, if it is time.
func (c *Control) tell(l *line, now int64) {
	if now-l.toldMs < tellLineMs {
		return
	}
	l.toldMs = now
	next := *l.charter
	next.SealedMs, next.TTLMs, next.Spares = now, charterMs, c.spares(l)
	l.charter = &next
	c.due = append(c.due, &next)
}

// endLine has the nodes of a line told that it is over.
func (c *Control) endLine(l *line, now int64) {
	if l.next != nil {
		c.endLine(l.next, now)
	}
	if l.charter == nil {
		return
	}
	last := *l.charter
	last.SealedMs, last.TTLMs = now, charter.Over
	c.due = append(c.due, &last)
}

// sendCharter tells all whom it names.
func (c *Control) sendCharter(ch *charter.Charter) {
	sealed, err := charter.Seal(ch, c.cfg.Key)
	if err != nil {
		c.log.Error("a line's charter cannot be sealed", "service", ch.Service, "error", err)
		return
	}
	for _, n := range ch.Nodes() {
		if err := c.cfg.Send.Send(n.Node, bus.KindLine, sealed, ""); err != nil {
			c.log.Warn("message was not sent", "node", n.Node, "kind", bus.KindLine, "error", err)
		}
	}
}

// newCharter is one without a line and its stages.
func (c *Control) newCharter(s *api.Service) *charter.Charter {
	m := c.models[s.Model]
	return &charter.Charter{
		Hub: c.cfg.HubID, Service: s.Name, Engine: m.Engine, Model: m.Digest, Size: m.Size, Profile: profileOf(s), Account: s.Owner,
	}
}

// spares are the nodes beside those of the plan that may hold layers: those that have
// taken a place already, and those that could, be it that they have appeared since, or
// have had a place, lost it, and are there again.
func (c *Control) spares(l *line) (out []peer.Address) {
	planned := func(id core.NodeID) bool {
		at := slices.IndexFunc(l.charter.Stages, func(s charter.Stage) bool {
			return s.Node.Node == id || slices.ContainsFunc(s.Team, func(m charter.Mate) bool { return m.Node.Node == id })
		})
		return at == 0 || at > 0 && (!l.heard || !l.state.Ready || l.holds(id))
	}
	for _, id := range l.held() {
		if n := c.nodes[id]; n != nil && !planned(id) {
			out = append(out, c.peerOf(n))
		}
	}
	free, _ := c.lineNodes(l.of)
	for _, n := range free {
		if !planned(n.doc.ID) && !l.holds(n.doc.ID) && len(out) < charter.MaxSpares && l.plan.holdsLargest(n) {
			out = append(out, c.peerOf(n))
		}
	}
	return out
}
