package control

import (
	"atoll/internal/core"
	"atoll/internal/draw"
	"atoll/internal/lifecycle"
	"atoll/internal/planted"
	"atoll/internal/receipt"
)

// Checks are leases that run again what another lease has delivered. To its node
// such a lease looks like any other of the task.

// arm makes a new lease one whose result may be run again: it commits the hub to
// a secret, and keeps what the check may cost.
func (b *batch) arm(t *task, p *part, l *lifecycle.Lease) {
	if !t.Terms.Sampled() {
		return
	}
	l.Secret = b.c.newNonce()
	if tried := p.Drawn(); tried != nil {
		l.Checks, l.Audit = tried.ID, tried.Line != ""
		l.Partial = !tried.Piece.IsZero() && (p.Tested(&t.Terms) || !contested(p))
		t.Committed -= tried.Reserve
		tried.Reserve = 0
	} else {
		l.Reserve = l.Price
	}
}

// contested reports whether a check has reported, and so has not settled it: whoever
// is asked then runs all.
func contested(p *part) bool {
	for i := range p.Leases {
		if l := &p.Leases[i]; l.Checks != 0 && l.State == lifecycle.Reported {
			return true
		}
	}
	return false
}

// disarm undoes what arm did to the budget, when a lease has come to nothing.
func disarm(p *part, l *lifecycle.Lease) (kept core.Money) {
	l.Reserve = 0
	tried := p.Lease(l.Checks)
	if tried == nil || tried.State != lifecycle.Reported {
		return 0
	}
	for i := range p.Leases {
		if x := &p.Leases[i]; x.Checks == tried.ID && x.Counted() {
			return 0
		}
	}
	tried.Reserve = tried.Price
	return tried.Reserve
}

// allowance is what the next lease of a part may cost, with as much again kept
// for its check where there may be one.
func (t *task) allowance(p *part) core.Money {
	if !t.Terms.Sampled() {
		return t.Remaining()
	}
	if tried := p.Drawn(); tried != nil {
		return t.Remaining() + tried.Reserve
	}
	return t.Remaining() / 2
}

// drawn reports whether a result that has just come in is to be run again.
// Failures are not: they are not paid.
func drawn(t *task, l *lifecycle.Lease) bool {
	return t.Terms.Sampled() && !planted.Draw && l.Checks == 0 && l.Failure == "" &&
		lot(t, l).Under(t.Terms.Rate)
}

func lot(t *task, l *lifecycle.Lease) draw.Lot { return draw.Cast(l.Secret, t.Terms.Nonce, l.Receipt) }

// commitment is what a lease tells its node of its secret.
func commitment(l *lifecycle.Lease) core.Digest {
	if l.Secret == "" {
		return core.Digest{}
	}
	return draw.Commit(l.Secret)
}

// reveal is what a verdict says of the draw, for anybody to draw again.
func reveal(t *task, l *lifecycle.Lease) *receipt.Draw {
	if l.Secret == "" || l.Checks != 0 || l.Failure != "" {
		return nil
	}
	return &receipt.Draw{Rate: t.Terms.Rate, Nonce: t.Terms.Nonce, Span: t.Terms.Span, Secret: l.Secret, Drawn: l.Drawn}
}

// distrust takes from a node that has been found wrong the work of others that it
// has not delivered yet, where only a sample would be checked. What it has
// delivered is paid or not by its own verdict.
func (b *batch) distrust(n *node) {
	for _, r := range sortedRefs(n.leases) {
		if r.task.Terms.Method == lifecycle.Reexecute {
			b.move(r, "its node has given a wrong result elsewhere")
		}
	}
}
