package control

import (
	"io"
	"maps"
	"slices"
	"strconv"

	"atoll/api"
	"atoll/internal/bus"
	"atoll/internal/core"
	"atoll/internal/shard/charter"
)

// Lines are models that several nodes hold for a service: see package shard. The hub
// plans them and says who may take part; the head keeps its line together by itself,
// and tells how it goes in its heartbeats. All of it is soft state: after a restart
// the heads' own word is where the hub goes on from.

// How lines are kept.
const (
	tellLineMs  = 5_000  // a charter is said again
	charterMs   = 30_000 // and is good for so long: some messages may be lost
	planAgainMs = 2_000
	// seatMs is how long a line may take to answer: its nodes may have gigabytes to
	// fetch.
	seatMs = 30 * 60_000
	// Now and then it is seen whether nodes that have come since make a line that is
	// better by so much. It is made beside the old one, which answers until the new one
	// does, and then ends what it has begun.
	betterMs   = 15_000
	betterRate = 1.2
	fadeLeast  = 3_000 // for answers that are on their way to it
	fadeMost   = 10 * 60_000
)

// line is a service's line, or why there is none.
type line struct {
	of      *api.Service // as it was read
	charter *charter.Charter
	plan    *linePlan
	alone   bool   // one node does it best: there is no line
	why     string // there is no line, or how it was planned
	state   charter.State
	heard   bool // state is the head's
	madeMs  int64
	toldMs  int64
	triedMs int64
	next    *line // that is to take its place
	seenMs  int64 // when a better one was last looked for
	fadedMs int64 // since when another has its place
}

// tendLines plans the lines of services, and keeps those that there are.
func (c *Control) tendLines(now int64) {
	c.mu.Lock()
	wake := false
	for _, name := range slices.Sorted(maps.Keys(c.services)) {
		if s := c.services[name]; s.Pipeline != "" {
			wake = c.tendService(s, now) || wake
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.lines)) {
		if s := c.services[name]; s == nil || s.Pipeline == "" {
			c.endLine(c.lines[name], now)
			delete(c.lines, name)
		}
	}
	c.fading = slices.DeleteFunc(c.fading, func(l *line) bool { return c.tendFading(l, now) })
	due := c.due
	c.due = nil
	prober, ask := c.probeWays(now)
	if wake {
		c.waiting.unpark(len(c.waiting.tasks))
	}
	c.mu.Unlock()
	for _, ch := range due {
		c.sendCharter(ch)
	}
	if prober != "" {
		c.send(prober, bus.KindProbe, ask)
	}
	if wake {
		c.enqueue(func(b *batch) { b.freed = true })
	}
}

// tendService looks after a service's lines, and reports whether requests can go to it
// that could not before. It is called with mu held, as what follows.
func (c *Control) tendService(s *api.Service, now int64) (woken bool) {
	l := c.lines[s.Name]
	if l == nil || l.of != s {
		c.fade(l, now)
		l = &line{of: s}
		c.lines[s.Name] = l
	}
	ready := l.ready()
	c.tendLine(l, now)
	c.tendNext(l, now)
	return !ready && c.lines[s.Name].ready()
}

// tendNext looks for a line that is better, and has it take the place of the one that
// there is as soon as it answers.
func (c *Control) tendNext(l *line, now int64) {
	switch {
	case l.next != nil:
		if c.tendLine(l.next, now); l.next.charter == nil {
			l.next = nil // it did not come about
		} else if l.next.ready() {
			c.log.Info("a better line takes the place of another", "service", l.of.Name, "line", l.next.charter.Line.Short())
			c.lines[l.of.Name] = l.next
			c.fade(l, now)
		}
	case l.ready() && now-max(l.seenMs, l.madeMs) >= betterMs:
		l.seenMs = now
		p, err := c.planLine(l.of)
		if err != nil || len(p.Stages) == 1 || !c.leaving(l) && !c.better(p, l) {
			return
		}
		l.next = &line{of: l.of, triedMs: now}
		c.found(l.next, p, now)
	}
}

// better reports whether a plan is worth the change from a line: by far more tokens a
// second, or hardly fewer of which each comes round far sooner. The line is taken as its
// nodes are measured now.
func (c *Control) better(p *linePlan, l *line) bool {
	now := l.plan // of the node that does it alone
	if !l.alone {
		var err error
		if now, err = c.planOf(l.of, l.state.Stages); err != nil {
			return true // one of its nodes is not known any more
		}
	}
	return p.Rate >= betterRate*now.Rate || p.Rate >= 0.95*now.Rate && now.Token.Seconds() >= betterRate*p.Token.Seconds()
}

// leaving reports whether a line's head will not be there for long.
func (c *Control) leaving(l *line) bool {
	return l.charter != nil && c.nodes[l.charter.Head().Node].offer.Draining
}

// fade lets a line end what it answers, while another has its place.
func (c *Control) fade(l *line, now int64) {
	if l == nil || l.charter == nil {
		return
	}
	if l.next = nil; !l.heard {
		c.endLine(l, now)
		return
	}
	l.fadedMs = now
	c.fading = append(c.fading, l)
}

// tendFading keeps a line that has lost its place, and reports whether it has ended.
func (c *Control) tendFading(l *line, now int64) bool {
	faded := now - l.fadedMs
	if c.hearLine(l, now) != "" || faded > fadeMost || faded > fadeLeast && l.state.Answering == 0 {
		c.endLine(l, now)
		return true
	}
	c.tell(l, now)
	return false
}

// ready reports whether requests can go to the line, or need none.
func (l *line) ready() bool { return l.alone || l.charter != nil && l.heard && l.state.Ready }

// tendLine looks after one line.
func (c *Control) tendLine(l *line, now int64) {
	if l.charter == nil {
		if l.alone || l.triedMs != 0 && now-l.triedMs < planAgainMs {
			return
		}
		l.triedMs = now
		c.makeLine(l, now)
		return
	}
	if why := c.hearLine(l, now); why != "" {
		c.log.Warn("a line is planned anew", "service", l.of.Name, "line", l.charter.Line.Short(), "why", why)
		answered := l.state.Ready
		c.endLine(l, now)
		*l = line{of: l.of, triedMs: now, why: why}
		if answered { // else it would fail again
			c.makeLine(l, now)
		}
		return
	}
	c.tell(l, now)
}

// hearLine takes what the head says of a line, and returns why it is no more, or "".
func (c *Control) hearLine(l *line, now int64) string {
	head := c.nodes[l.charter.Head().Node]
	if head == nil || !head.offer.Up {
		return "its head has gone"
	}
	i := slices.IndexFunc(head.said.Lines, func(s charter.State) bool { return s.Line == l.charter.Line })
	switch {
	case i >= 0 && head.said.Lines[i].Trouble != "":
		return head.said.Lines[i].Trouble
	case i >= 0 && head.said.Lines[i].Ready && !l.charter.Covers(head.said.Lines[i].Stages):
		return "its head tells of other layers than it was to"
	case i >= 0:
		l.state, l.heard = head.said.Lines[i], true
	case l.heard:
		return "its head has forgotten it"
	}
	for _, id := range l.held() {
		switch n := c.nodes[id]; {
		case n == nil || n.doc.Revoked:
			return string(id) + " is not welcome any more"
		case n.offer.Suspect && n.doc.Owner != l.of.Owner:
			return string(id) + " has computed something else than it should"
		}
	}
	if !l.state.Ready && now-l.madeMs > seatMs {
		return "it did not answer in time"
	}
	return ""
}

// makeLine plans a line, or says why there is none.
func (c *Control) makeLine(l *line, now int64) {
	if boot := c.boot.UnixMilli(); l.of.CreatedAt.UnixMilli() < boot && now-boot < restartGraceMs {
		l.why = "the hub has just started, and waits for the nodes that hold it"
		c.adoptLine(l, now)
		return
	}
	p, err := c.planLine(l.of)
	switch {
	case err != nil:
		l.why = err.Error()
	case len(p.Stages) == 1:
		l.alone, l.plan, l.madeMs, l.why = true, p, now, "one node does it best"
	default:
		c.found(l, p, now)
	}
}

// found makes a line of a plan.
func (c *Control) found(l *line, p *linePlan, now int64) {
	ch := c.newCharter(l.of)
	_, _ = io.ReadFull(c.cfg.Secrets, ch.Line[:]) // never fails
	for _, s := range p.Stages {
		stage := charter.Stage{Node: c.peerOf(p.nodes[s.Node]), First: s.First, Last: s.Last}
		if s.Team != nil {
			for _, m := range p.team(&s) {
				stage.Team = append(stage.Team, charter.Mate{Node: c.peerOf(p.nodes[m.node]), Speed: m.speed})
			}
		}
		ch.Stages = append(ch.Stages, stage)
	}
	l.charter, l.plan, l.madeMs, l.why = ch, p, now, ""
	c.log.Info("a line is made", "service", l.of.Name, "line", ch.Line.Short(), "head", ch.Head().Node, "stages", len(ch.Stages))
	c.tell(l, now)
}

// adoptLine goes on with a line of an earlier life of the hub, which its head still
// keeps: what it answers goes on.
func (c *Control) adoptLine(l *line, now int64) {
	for _, o := range c.offers {
		for _, s := range c.nodes[o.Node].said.Lines {
			if s.Service != l.of.Name || s.Model != c.models[l.of.Model].Digest || !s.Ready || !o.Up || !c.heardAll(s.Stages) {
				continue
			}
			p, err := c.planOf(l.of, s.Stages)
			if err != nil {
				continue
			}
			ch := c.newCharter(l.of)
			ch.Line = s.Line
			for _, h := range s.Stages {
				stage := charter.Stage{Node: c.peerOf(c.nodes[h.Node]), First: h.First, Last: h.Last}
				for _, m := range h.Team { // as it was said: the shares are loaded
					stage.Team = append(stage.Team, charter.Mate{Node: c.peerOf(c.nodes[m.Node]), Speed: m.Speed})
				}
				ch.Stages = append(ch.Stages, stage)
			}
			l.charter, l.plan, l.state, l.heard, l.madeMs, l.why = ch, p, s, true, now, ""
			c.tell(l, now)
			return
		}
	}
}

// heardAll reports whether all who hold stages have spoken: else what they ask for is not
// known.
func (c *Control) heardAll(stages []charter.Held) bool {
	for _, h := range stages {
		for _, id := range h.Nodes() {
			if n := c.nodes[id]; n == nil || !n.offer.Up {
				return false
			}
		}
	}
	return true
}

// holds reports whether a node has a stage now, or a part of one.
func (l *line) holds(id core.NodeID) bool { return slices.Contains(l.held(), id) }

// held are the nodes that do.
func (l *line) held() (out []core.NodeID) {
	for _, h := range l.state.Stages {
		out = append(out, h.Nodes()...)
	}
	return out
}

// pipelineStages reads a service's pipeline: 0 is auto.
func pipelineStages(s string) (int, error) {
	if s == "auto" {
		return 0, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 2 || n > charter.MaxStages {
		return 0, core.Errorf(core.Invalid, "%.40q: want auto, or a number of nodes from 2 to %d", s, charter.MaxStages).At("pipeline")
	}
	return n, nil
}
