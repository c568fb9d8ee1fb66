package control

import (
	"context"

	"atoll/internal/bus"
	"atoll/internal/core"
	"atoll/internal/lifecycle"
	"atoll/internal/planted"
	"atoll/internal/receipt"
)

// checked is a report whose signature and form are right.
type checked struct {
	node      core.NodeID
	execution receipt.Execution
	envelope  []byte
	leaf      []byte
	digest    core.Digest // names the receipt
	results   map[core.LeaseID]bus.Result
	pieces    map[core.LeaseID][]byte          // what the checks of these results are to run
	tests     map[core.LeaseID]tested          // what references have made of others' results
	atOnce    map[core.LeaseID]*lifecycle.Test // of results that no reference need look at
	uploaded  map[core.LeaseID]int64           // bytes of the result named, if it came over HTTP for this very lease
	lines     map[core.LeaseID]*accounted      // of results that lines have computed
}

// checkUploads finds out which of the results that a report speaks of its node has
// really brought: that the hub has bytes of that digest from anybody is not enough.
func (c *Control) checkUploads(x *checked) error {
	for i := range x.execution.Leases {
		e := &x.execution.Leases[i]
		if !x.results[e.Lease].Uploaded {
			continue
		}
		size, err := c.uploaded(context.Background(), leaseAccount(e.Lease), e.Result)
		switch {
		case err == nil:
			if x.uploaded == nil {
				x.uploaded = map[core.LeaseID]int64{}
			}
			x.uploaded[e.Lease] = size
		case core.KindOf(err) != core.NotFound:
			return err
		}
	}
	return nil
}

// leaseAccount is the name under which a lease's large result is kept.
func leaseAccount(id core.LeaseID) core.AccountID { return core.AccountID(id.String()) }

// report checks a report outside the writer, where the signature costs no one
// else's time, and hands it on as a job.
func (c *Control) report(id core.NodeID, data []byte) error {
	c.mu.Lock()
	n := c.nodes[id]
	if n == nil || n.doc.Revoked {
		c.mu.Unlock()
		return core.Errorf(core.Forbidden, "the node has not joined, or is revoked")
	}
	signer, owner := n.signer, n.doc.Owner
	c.mu.Unlock()
	var m bus.Report
	if err := bus.Decode(data, &m); err != nil {
		return err
	}
	x := &checked{node: id, envelope: m.Envelope, results: make(map[core.LeaseID]bus.Result, len(m.Results))}
	if err := c.openReceipt(x, signer, owner); err != nil {
		return err
	}
	for _, r := range m.Results {
		x.results[r.Lease] = r
	}
	if err := c.checkUploads(x); err != nil {
		return err
	}
	c.readAccounts(x)
	c.derivePieces(x)
	c.test(x)
	if planted.Ack {
		for i := range x.execution.Leases {
			c.send(id, bus.KindAck, bus.Ack{Leases: []core.LeaseID{x.execution.Leases[i].Lease}})
		}
	}
	c.enqueue(func(b *batch) { b.reported(x) })
	return nil
}

// reported applies a report, lease by lease. Whatever the outcome the node is
// told that it may forget it, once that is durable: what is refused now would
// be refused again.
func (b *batch) reported(x *checked) {
	leaf := int64(-1)
	for i := range x.execution.Leases {
		e := &x.execution.Leases[i]
		r := b.c.leases[e.Lease]
		if r == nil || r.node.doc.ID != x.node {
			b.ackNote(x.node, "not a live lease of this node", e.Lease)
			continue
		}
		l := r.lease()
		res := x.results[e.Lease]
		size, uploaded := x.uploaded[e.Lease]
		why := b.c.mismatch(r, l, e, res, uploaded)
		if x.execution.Account != r.task.Account {
			why = "the receipt names another requester" // it would be shown to one it does not concern
		}
		if why != "" && r.refused {
			b.ackNote(x.node, why, e.Lease) // once is enough to say so to the requester
			continue
		}
		if why != "" {
			r.refused = true
			b.event(r.task, "lease.receipt-refused", &r.part.Part, l, "%s", why)
			b.ackNote(x.node, why, e.Lease)
			continue
		}
		if leaf < 0 {
			leaf = b.appendLeaf(x.leaf, x.envelope)
		}
		l.Receipt = x.digest
		b.deliver(r, x, e, size, leaf)
		b.ack(x.node, e.Lease)
	}
}

// deliver notes a result and lets the part go on.
func (b *batch) deliver(r *leaseRef, x *checked, e *receipt.ExecutedLease, size, leaf int64) {
	l, res := r.lease(), x.results[e.Lease]
	if err := l.Move(lifecycle.Reported, ""); err != nil {
		b.tx.Fail(err)
		return
	}
	l.ReportedMs, l.Result, l.Leaf = b.now, e.Result, leaf+1
	if e.Outcome == receipt.Failed {
		l.Failure = core.Clip(e.Error, 500)
	}
	b.noteAccounts(r, l, x.lines[l.ID])
	l.Drawn = drawn(r.task, l)
	b.keepPiece(r, l, x.pieces[l.ID])
	l.Test = x.atOnce[l.ID]
	r.noteTest(x)
	b.keepResult(r, l, res, size)
	b.tx.PutReported(l.ID, r.task.ID, r.part.Index)
	r.node.latency.add(l.ReportedMs - l.OfferedMs)
	b.release(r)
	b.touchPart(r.task, r.part)
	b.event(r.task, "lease.reported", &r.part.Part, l, "by %s after %d ms", l.Node, l.ReportedMs-l.OfferedMs)
	b.advance(r.task, r.part)
}

// mismatch says in what a receipt differs from the lease that it claims to be
// for, or "".
func (c *Control) mismatch(r *leaseRef, l *lifecycle.Lease, e *receipt.ExecutedLease, res bus.Result, uploaded bool) string {
	t, p := r.task, r.part
	input, _ := p.InputOf(l)
	w := t.workOf(l)
	switch {
	case !l.Live():
		return "the lease is " + string(l.State) + ": " + l.Reason
	case e.Task != t.ID || e.Part != p.Index:
		return "the receipt names another task or part"
	case e.Nonce != l.Nonce:
		return "the receipt has not this lease's nonce"
	case e.Commit != commitment(l):
		return "the receipt has not this lease's commitment"
	case e.Input != input:
		return "the receipt names input " + e.Input.Short() + ", the lease " + input.Short()
	case e.Model != w.model:
		return "the receipt names model " + e.Model.Short() + ", the lease " + w.model.Short()
	case e.Params != w.paramsID:
		return "the receipt names other parameters"
	case e.PriceMicro != int64(l.Price):
		return "the receipt names another price"
	case res.Lease == 0:
		return "the report has no result for this lease"
	case res.Uploaded && !uploaded:
		return "the result was not uploaded"
	case !res.Uploaded && core.DigestOf(res.Data) != e.Result:
		return "the result does not match the digest in its receipt"
	case len(res.Accounts) > 0 && core.DigestOf(res.Accounts) != e.Accounts || len(res.Accounts) == 0 && !e.Accounts.IsZero():
		return "what the line's nodes say does not match the digest in the receipt"
	case !t.req.Residency.Allows(e.RegionDeclared):
		return "the receipt declares country " + e.RegionDeclared + ", outside the task's residency"
	}
	return ""
}
