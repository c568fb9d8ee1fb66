package simtest

import (
	"bytes"
	"slices"
	"time"

	"atoll/internal/core"
	"atoll/internal/node/agent"
	"atoll/internal/peer"
	"atoll/internal/shard/charter"
)

// A model that several nodes hold. Planning, charters, statements, audits and the pay
// are the real ones. What the stages compute, and the streams between them, are
// stand-ins: a row is a hash of the row before it, so that who computes anything else
// spoils all that comes after.

// The service that lines are made for, and its model.
const (
	lineService = "big"
	lineLayers  = 6
)

// lines are what a node has in memory of them: a crash takes it.
type lines struct {
	n        *node
	told     charter.Book
	heads    map[charter.ID]*lineHead
	sent     map[sequence][]core.Digest // rows, for auditors
	sequence uint32
}

type sequence struct {
	line charter.ID
	id   uint32
}

func newLines(n *node) *lines {
	return &lines{n: n, heads: map[charter.ID]*lineHead{}, sent: map[sequence][]core.Digest{}}
}

// lineHead has a line's other places taken, and taken again.
type lineHead struct {
	l        *lines
	id       charter.ID
	state    charter.State
	holders  []holder // of each stage, the head first
	brokenAt time.Time
}

// holder is a node, in the life in which it has loaded layers.
type holder struct {
	*node
	life int
}

// hear takes a charter.
func (l *lines) hear(c *charter.Charter) {
	w := l.n.w
	known := l.told.Of(c.Line, w.now) != nil
	if !l.told.Hear(c, w.now) {
		return
	}
	w.after(c.TTL(), l.n.same(func(*agent.Core) { l.expire() }))
	if known || c.Head().Node != l.n.id {
		return
	}
	first := c.Stages[0]
	h := &lineHead{l: l, id: c.Line, holders: make([]holder, len(c.Stages))}
	h.holders[0] = holder{l.n, l.n.life}
	h.state = charter.State{Line: c.Line, Service: c.Service, Model: c.Model, Stages: []charter.Held{first.Held()}}
	l.heads[c.Line] = h
	w.after(w.between(10*time.Millisecond, 800*time.Millisecond), l.n.same(func(*agent.Core) { h.mend() }))
}

func (l *lines) expire() {
	for _, id := range l.told.Expire(l.n.w.now) {
		delete(l.heads, id)
	}
	l.tell()
}

// tell has the hub hear how the lines go that the node heads.
func (l *lines) tell() {
	var states []charter.State
	for _, h := range l.heads {
		states = append(states, h.state)
	}
	slices.SortFunc(states, func(a, b charter.State) int { return bytes.Compare(a.Line[:], b.Line[:]) })
	l.n.does(func() agent.Effects { return l.n.core.Lines(l.n.clock(), states) })
}

// Times of a head.
const (
	mendEvery   = 300 * time.Millisecond
	mendPatient = 6 * time.Second
)

// mend looks whether all places are taken, again and again.
func (h *lineHead) mend() {
	l := h.l
	c := l.told.Of(h.id, l.n.w.now)
	if c == nil || l.heads[h.id] != h || h.state.Trouble != "" {
		return
	}
	before := h.state
	stages := []charter.Held{c.Stages[0].Held()}
	for i := 1; i < len(c.Stages); i++ {
		if !h.held(i) {
			h.seat(c, i)
		}
		if !h.held(i) {
			break
		}
		stages = append(stages, charter.Held{Node: h.holders[i].id, First: c.Stages[i].First, Last: c.Stages[i].Last})
	}
	switch whole := len(stages) == len(c.Stages); {
	case whole:
		h.state.Stages, h.state.Ready, h.brokenAt = stages, true, time.Time{}
	case h.brokenAt.IsZero():
		h.brokenAt = l.n.w.now
	case h.state.Ready && l.n.w.now.Sub(h.brokenAt) > mendPatient:
		h.state.Ready, h.state.Trouble = false, "nobody takes a place that has become free"
	}
	if !h.state.Same(&before) {
		l.n.w.say("%s heads a line of %d: ready %t, %d replaced, %s", l.n.id, len(stages), h.state.Ready, h.state.Replaced, h.state.Trouble)
		l.tell()
	}
	l.n.w.after(mendEvery, l.n.same(func(*agent.Core) { h.mend() }))
}

// held reports whether a stage is there: alive since it has loaded its layers, within
// reach, and allowed to hold them.
func (h *lineHead) held(i int) bool {
	x := h.holders[i]
	return x.node != nil && x.core != nil && x.node.life == x.life && h.l.n.reaches(x.node) && x.lines.told.Of(h.id, h.l.n.w.now) != nil
}

// reaches reports whether the network lets two nodes speak.
func (n *node) reaches(o *node) bool { return n.w.healed || n.link.cut == 0 && o.link.cut == 0 }

// seat finds a stage another node, who asks its own charter whether it may.
func (h *lineHead) seat(c *charter.Charter, i int) {
	s := &c.Stages[i]
	self := h.l.n
	for _, a := range slices.Concat([]peer.Address{s.Node}, c.Spares) {
		x := self.w.byID[string(a.Node)]
		if x.core == nil || !self.reaches(x) || slices.ContainsFunc(h.holders, func(o holder) bool { return o.node == x }) {
			continue
		}
		says := x.lines.told.Of(c.Line, self.w.now)
		if says == nil || says.Allow(x.id, peer.Peer{Node: self.id, Key: self.key.Public().Digest()}, &charter.Claim{First: s.First, Last: s.Last}) != nil {
			continue
		}
		if h.holders[i].node != nil {
			h.state.Replaced++
		}
		h.holders[i] = holder{x, x.life}
		return
	}
}
