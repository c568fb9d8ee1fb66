package control

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"atoll/internal/bus"
	"atoll/internal/core"
	"atoll/internal/lifecycle"
	"atoll/internal/verify"
)

// pendingVerdict is a judged lease whose verdict is signed at the batch's end.
type pendingVerdict struct {
	task  *task
	part  *part
	lease core.LeaseID
	why   string
}

// advance asks the judge about a part after anything happened to it, and does
// what it says.
func (b *batch) advance(t *task, p *part) { b.advanceWith(t, p, false) }

func (b *batch) advanceWith(t *task, p *part, last bool) {
	if t.Ended() || p.Ended() {
		return
	}
	j := verify.Judge(&t.Terms, &p.Part, last)
	for _, v := range j.Verdicts {
		b.judge(t, p, v)
	}
	switch o := j.Outcome.(type) {
	case verify.Lacking:
		if p.State != lifecycle.PartWaiting {
			b.setPart(t, p, lifecycle.PartWaiting, "needs another lease")
		}
		b.enqueuePart(t, p)
		b.freed = true
		return
	case verify.Agreed:
		b.setPart(t, p, lifecycle.PartSucceeded, o.Note)
		p.Result = o.Result
		if o.Note != "" {
			t.Short++
		}
		t.Succeeded++
		if t.Parts > 1 {
			b.event(t, "part.succeeded", &p.Part, nil, "%d of %d", t.Succeeded+t.Failed, t.Parts)
		}
	case verify.Failed:
		b.setPart(t, p, lifecycle.PartFailed, o.Why)
		t.Failed++
		t.failure = o.Why
		t.timedOut = t.timedOut || p.TimedOut
		b.event(t, "part.failed", &p.Part, nil, "%s", o.Why)
	case verify.Waiting:
		b.restate(t)
		return
	}
	if t.Succeeded+t.Failed == t.Parts {
		state, why := t.End(t.timedOut, t.failure)
		b.end(t, state, why)
		return
	}
	b.restate(t)
}

// judge carries out the verdict on one lease: state, budget, reputation. The
// payment follows once the signed verdict is under a checkpoint.
func (b *batch) judge(t *task, p *part, v verify.Verdict) {
	l := p.Lease(v.Lease)
	n := b.c.nodes[l.Node]
	if v.Pass {
		if err := l.Move(lifecycle.Passed, v.Reason); err != nil {
			b.tx.Fail(err)
			return
		}
		l.Pay = v.Pay
		next := func() core.TransferID { return core.TransferID(b.c.ids.Next()) }
		l.Transfer = next()
		l.Divide(next)
		t.Committed -= l.Claim() - l.Pay
		t.Pending += l.Pay
		t.owing++
		// What nobody else has confirmed, and what an owner asks of its own nodes,
		// shows nothing: a record could be had for nothing.
		if v.Confirmed && l.Owner != t.Account {
			n.doc.Reputation = n.doc.Reputation.Pass()
		}
		n.doc.Passed++
		b.c.stats.passed++
	} else {
		if err := l.Move(lifecycle.Rejected, v.Reason); err != nil {
			b.tx.Fail(err)
			return
		}
		t.Committed -= l.Claim()
		if v.Wrong { // otherwise the part may be to blame, not the node
			n.wrong(b.now)
			b.distrusted = append(b.distrusted, n)
		}
		if s := b.c.nodes[v.Blame]; s != nil {
			s.wrong(b.now)
			b.touchNode(s)
			b.distrusted = append(b.distrusted, s)
		}
		b.c.stats.rejected++
	}
	b.touchNode(n)
	b.span(t, "lease.verdict", attribute.String("lease", l.ID.String()), attribute.String("state", string(l.State)))
	b.verdicts = append(b.verdicts, pendingVerdict{t, p, l.ID, v.Reason})
	b.event(t, "lease."+string(l.State), &p.Part, l, "%s", v.Reason)
}

// span marks a step of a task's life in its trace, once it is durable.
func (b *batch) span(t *task, name string, attrs ...attribute.KeyValue) {
	c := b.c
	if !c.cfg.Traced {
		return
	}
	began, traceparent := b.tx.Now, t.Traceparent
	attrs = append(attrs, attribute.String("task", t.ID.String()))
	b.tx.After(func() {
		ctx := bus.WithTraceparent(context.Background(), traceparent)
		_, span := c.cfg.Tracer.Start(ctx, name, trace.WithTimestamp(began), trace.WithAttributes(attrs...))
		span.End()
	})
}

// lose ends a lease whose node failed it, at a cost to the node's record.
func (b *batch) lose(r *leaseRef, why string) {
	n := r.node
	n.doc.Reputation = n.doc.Reputation.Fault(verify.WeightLost)
	n.doc.Lost++
	b.touchNode(n)
	b.move(r, why)
}

// move takes a lease away from its node, of whom that says nothing.
func (b *batch) move(r *leaseRef, why string) {
	n := r.node
	r.task.Moved++
	b.c.stats.lost++
	b.cancel(n.doc.ID, why, r.id)
	b.drop(r, lifecycle.Lost, why)
	b.advance(r.task, r.part)
}

// end takes a task to a final state: what is still out is cancelled, unpaid.
func (b *batch) end(t *task, s lifecycle.TaskState, why string) {
	if t.Ended() {
		return
	}
	for _, p := range t.parts {
		if p.Ended() {
			continue
		}
		for i := range p.Leases {
			l := &p.Leases[i]
			if r := b.c.leases[l.ID]; r != nil && l.Live() {
				b.cancel(l.Node, why, l.ID)
				b.drop(r, lifecycle.Cancelled, why)
			} else if l.State == lifecycle.Reported {
				t.Committed -= l.Claim()
				if err := l.Move(lifecycle.Cancelled, why); err != nil {
					b.tx.Fail(err)
				}
			}
		}
		b.setPart(t, p, lifecycle.PartCancelled, why)
	}
	t.wait.queue = nil
	t.EndedMs = b.now
	b.setState(t, s, why)
	b.ended = append(b.ended, t)
	b.c.stats.ended++
	b.callback(t)
}
