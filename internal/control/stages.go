package control

import (
	"slices"

	"github.com/go-json-experiment/json"

	"atoll/internal/core"
	"atoll/internal/engine"
	"atoll/internal/identity"
	"atoll/internal/lifecycle"
	"atoll/internal/receipt"
	"atoll/internal/shard/audit"
	"atoll/internal/shard/charter"
)

// What a line has computed comes with what each of its stages has signed of it. That is
// held against the result when it comes in; the pay is divided by it; and of what the
// lot draws, one stage is audited.

// accounted is a report's result with what its line's stages say of it.
type accounted struct {
	answers []audit.Answer
	broken  string // they do not tell of this result
	said    []byte
}

// readAccounts looks at what the stages say, outside the writer: each has a signature.
func (c *Control) readAccounts(x *checked) {
	for i := range x.execution.Leases {
		e := &x.execution.Leases[i]
		c.mu.Lock()
		r := c.leases[e.Lease]
		if r == nil || r.node.doc.ID != x.node || r.lease().Line == "" || e.Outcome != receipt.OK {
			c.mu.Unlock()
			continue
		}
		t, p, l := r.task, &part{Part: r.part.Part}, *r.lease()
		c.mu.Unlock()
		a := &accounted{said: x.results[e.Lease].Accounts}
		answers, err := c.readAnswers(t, p, &l, e.Result, x, a.said)
		if err != nil {
			a.broken = core.Clip("the line's account of it: "+err.Error(), 500)
		}
		a.answers = answers
		if x.lines == nil {
			x.lines = map[core.LeaseID]*accounted{}
		}
		x.lines[e.Lease] = a
	}
}

func (c *Control) readAnswers(t *task, p *part, l *lifecycle.Lease, result core.Digest, x *checked, said []byte) ([]audit.Answer, error) {
	input, claimed, err := c.claim(t, p, l.ID, result, x)
	if err != nil {
		return nil, err
	}
	line, err := c.lineOf(t, l, input)
	if err != nil {
		return nil, err
	}
	return audit.Read(claimed, said, line)
}

// lineOf is what must be true of the accounts of a lease.
func (c *Control) lineOf(t *task, l *lifecycle.Lease, input []byte) (*audit.Line, error) {
	var id charter.ID
	if err := id.UnmarshalText([]byte(l.Line)); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	shape, err := c.shapeOf(t.Model, t.params["profile"])
	if err != nil {
		return nil, err
	}
	return &audit.Line{ID: id, Head: l.Node, Answers: audit.Lines(input), Model: t.ModelDigest, Layers: shape.Layers, Key: c.keyOf}, nil
}

// keyOf is the key that a node has joined with.
func (c *Control) keyOf(id core.NodeID) (identity.PublicKey, bool) {
	c.mu.Lock()
	n := c.nodes[id]
	c.mu.Unlock()
	if n == nil || n.doc.Revoked {
		return identity.PublicKey{}, false
	}
	key, err := identity.ParsePublicKey(n.doc.PublicKey)
	return key, err == nil
}

// noteAccounts keeps what the stages say with their result, and who has had a share. A
// result that they do not bear out is none.
func (b *batch) noteAccounts(r *leaseRef, l *lifecycle.Lease, a *accounted) {
	switch {
	case a == nil:
		return
	case a.broken != "":
		l.Failure = a.broken
		return
	}
	for _, s := range shares(l, audit.Shares(a.answers)) {
		n := b.c.nodes[s.Node]
		if n == nil { // its key was there a moment ago
			continue
		}
		work := s.Work * max(int64(l.Asked(s.Node)), 1)
		if s.Node == l.Node {
			l.Work = work
			continue
		}
		l.Shares = append(l.Shares, lifecycle.Share{Node: s.Node, Owner: n.doc.Owner, Work: work})
	}
	l.Accounts = core.DigestOf(a.said)
	b.tx.PutResult(r.task.ID, r.part.Index, l.Accounts, a.said)
	r.task.Bytes += int64(len(a.said))
	b.charge(r.task.Account, int64(len(a.said)))
}

// shares divides what teams have computed among those who were in them when the lease was
// made: a leader's word alone gives nobody a share.
func shares(l *lifecycle.Lease, all []audit.Share) (out []audit.Share) {
	add := func(id core.NodeID, work int64) {
		if i := slices.IndexFunc(out, func(s audit.Share) bool { return s.Node == id }); i >= 0 {
			out[i].Work += work
		} else {
			out = append(out, audit.Share{Node: id, Work: work})
		}
	}
	for _, s := range all {
		var team []lifecycle.Hand
		if s.Team {
			team = l.Team(s.Node)
		}
		if len(team) == 0 {
			add(s.Node, s.Work)
			continue
		}
		var speeds []int
		for _, m := range team {
			speeds = append(speeds, m.Speed)
		}
		for i, work := range audit.Divide(s.Work, speeds) {
			add(team[i].Node, work)
		}
	}
	return out
}

// crew are the nodes that may have a part in what a line computes.
func (c *Control) crew(line string) (out []lifecycle.Hand) {
	ch := c.charterOf(line)
	if ch == nil {
		return nil
	}
	for _, a := range ch.Nodes() {
		n := c.nodes[a.Node]
		if n == nil || !n.offer.Up { // nobody knows what it asks
			continue
		}
		h := lifecycle.Hand{Node: a.Node, Price: n.offer.Price}
		for _, s := range ch.Stages {
			for _, m := range s.Team {
				if m.Node.Node == a.Node {
					h.Lead, h.Speed = s.Node.Node, m.Speed
				}
			}
		}
		out = append(out, h)
	}
	return out
}

// charterOf is that of a line that is kept; nil if there is none.
func (c *Control) charterOf(id string) *charter.Charter {
	lines := slices.Clone(c.fading)
	for _, l := range c.lines {
		lines = append(lines, l)
		if l.next != nil {
			lines = append(lines, l.next)
		}
	}
	for _, l := range lines {
		if l.charter != nil && l.charter.Line.String() == id {
			return l.charter
		}
	}
	return nil
}

// askAuditor makes the question about one stage of a drawn result.
func (c *Control) askAuditor(t *task, p *part, l *lifecycle.Lease, x *checked) ([]byte, *lifecycle.Test) {
	a := x.lines[l.ID]
	if a == nil || a.broken != "" { // it has failed by itself
		return nil, nil
	}
	asking, err := c.auditQuestion(t, p, l, a)
	if err != nil {
		return nil, &lifecycle.Test{Pass: true, Reason: "it could not be audited: " + core.Clip(err.Error(), maxVerdictReason/2)}
	}
	return asking, nil
}

func (c *Control) auditQuestion(t *task, p *part, l *lifecycle.Lease, a *accounted) ([]byte, error) {
	input, err := c.openInput(t, p)
	if err != nil {
		return nil, err
	}
	q, err := audit.Ask(engine.Input{Data: input, Params: t.params}, a.answers, audit.Lot(lot(t, l)), t.Terms.Span)
	if err != nil {
		return nil, err
	}
	if q.Stage > 0 {
		before := a.answers[q.Answer].Stages[q.Stage-1]
		ticket, err := json.Marshal(&audit.Ticket{Line: before.Line, Sequence: before.Sequence, Source: before.Node})
		if err != nil {
			return nil, err
		}
		sealed, err := identity.Seal(audit.TicketType, ticket, c.cfg.Key)
		if err != nil {
			return nil, err
		}
		c.mu.Lock()
		if n := c.nodes[before.Node]; n != nil {
			from := c.peerOf(n)
			q.Source = audit.Source{Node: from.Node, Key: from.Key, At: from.At, Line: before.Line, Sequence: before.Sequence, Ticket: sealed}
		}
		c.mu.Unlock()
	}
	return json.Marshal(q)
}

// audited compares what an auditor has found with what the stages have signed.
func (c *Control) audited(t *task, p *part, tried *lifecycle.Lease, claimed, asking, said []byte) (lifecycle.Test, error) {
	accounts, err := c.stored(t, p, tried.Accounts)
	if err != nil {
		return lifecycle.Test{}, err
	}
	input, err := c.openInput(t, p)
	if err != nil {
		return lifecycle.Test{}, err
	}
	line, err := c.lineOf(t, tried, input)
	if err != nil {
		return lifecycle.Test{}, err
	}
	answers, err := audit.Read(claimed, accounts, line)
	if err != nil {
		return lifecycle.Test{}, err
	}
	var q audit.Question
	if err := json.Unmarshal(asking, &q); err != nil {
		return lifecycle.Test{}, err
	}
	v, err := audit.Judge(&q, answers, said)
	return lifecycle.Test{Pass: v.Pass, Reason: v.Reason, Blame: v.Blame}, err
}
