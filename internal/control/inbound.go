package control

import (
	"context"
	"encoding/json"
	"slices"

	"atoll/internal/bus"
	"atoll/internal/core"
	"atoll/internal/lifecycle"
	"atoll/internal/market"
	"atoll/internal/planted"
	"atoll/internal/policy"
	"atoll/internal/receipt"
	"atoll/internal/verify"
)

// node is a joined node: what is stored of it, and what it last said.
type node struct {
	doc      nodeDoc
	signer   receipt.Key // what its receipts are verified with
	offer    *market.Offer
	said     bus.NodeOffer
	bootID   string
	bootMs   int64 // when bootID was first heard of
	seenMs   int64
	draining bool // says the node
	leases   map[core.LeaseID]*leaseRef
	latency  latencies
	dirty    bool
}

// nodeDoc is what is stored of a node.
type nodeDoc struct {
	ID         core.NodeID       `json:"id"`
	Owner      core.AccountID    `json:"owner"`
	PublicKey  string            `json:"public_key"`
	Nkey       string            `json:"nkey"`
	OldNkeys   []oldNkey         `json:"old_nkeys,omitempty"` // shut out
	Country    string            `json:"country"`
	JoinedMs   int64             `json:"joined"`
	Drained    bool              `json:"drained,omitempty"` // by the operator
	Revoked    bool              `json:"revoked,omitempty"`
	RevokedMs  int64             `json:"revoked_at,omitzero"`
	KeyID      string            `json:"key_id"`
	Reputation verify.Reputation `json:"reputation"`
	Passed     int64             `json:"passed"`
	Rejected   int64             `json:"rejected"`
	Lost       int64             `json:"lost"`
	Earned     core.Money        `json:"earned"`
}

// oldNkey is a bus key that a node had before it joined again.
type oldNkey struct {
	Nkey string `json:"nkey"`
	Ms   int64  `json:"until"`
}

// latencies keeps the last dispatch-to-report times of a node, in ms.
type latencies struct {
	ring [256]float32
	n    int
}

func (l *latencies) add(ms int64) {
	l.ring[l.n%len(l.ring)] = float32(ms)
	l.n++
}

// quantile is exact over the ring; 0 while nothing is known.
func (l *latencies) quantile(q float64) float64 {
	n := min(l.n, len(l.ring))
	if n == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(l.ring[:n]))
	return float64(s[min(int(q*float64(n)), n-1)])
}

// Inbound takes one message of a node. The bus has made sure of who sent it.
func (c *Control) Inbound(id core.NodeID, kind string, data []byte) {
	var err error
	switch kind {
	case bus.KindHeartbeat:
		var m bus.Heartbeat
		if err = json.Unmarshal(data, &m); err == nil {
			err = checkOffer(&m.Offer)
		}
		if err == nil {
			c.heartbeat(id, &m)
		}
	case bus.KindStatus:
		var m bus.Status
		if err = json.Unmarshal(data, &m); err == nil {
			c.enqueue(func(b *batch) { b.status(id, &m) })
		}
	case bus.KindReport:
		err = c.report(id, data)
	default:
		err = core.Errorf(core.Invalid, "unknown kind of message")
	}
	if err != nil {
		c.cfg.Metrics.BadMessages.Inc()
		c.log.Warn("message of a node refused", "node", id, "kind", kind, "error", err)
	}
}

// rebootMs is how often a node may begin a new life, at most.
const rebootMs = 1_000

// Bounds on what a node may claim.
const (
	maxSlots = 10_000
	maxNames = 64 // labels, engines, accounts, GPUs
)

// checkOffer refuses an offer that no honest node makes.
func checkOffer(o *bus.NodeOffer) error {
	switch {
	case o.Price < 0 || o.Price > core.MaxMoney:
		return core.Errorf(core.Invalid, "price %s: want 0 to %s", o.Price, core.MaxMoney)
	case o.Slots < 1 || o.Slots > maxSlots || o.Queue < o.Slots || o.Queue > maxSlots:
		return core.Errorf(core.Invalid, "%d slots and a queue of %d: want 1 to %d, and a queue no shorter than the slots", o.Slots, o.Queue, maxSlots)
	case min(o.CPUMillis, o.Memory) < 0:
		return core.Errorf(core.Invalid, "negative CPU or memory")
	case max(len(o.Labels), len(o.Engines), len(o.Accounts), len(o.GPUs), len(o.Bench), len(o.Sandbox)) > maxNames:
		return core.Errorf(core.Invalid, "more than %d labels, engines, accounts or GPUs", maxNames)
	case o.Long():
		return core.Errorf(core.Invalid, "a name or label of over %d bytes", bus.MaxWord)
	case !policy.IsCountry(o.Country):
		return core.Errorf(core.Invalid, "country %.20q is not in ISO 3166-1", o.Country)
	}
	return nil
}

// heartbeat refreshes soft state; it becomes a job only when it changes what
// can be placed.
func (c *Control) heartbeat(id core.NodeID, m *bus.Heartbeat) {
	c.mu.Lock()
	n := c.nodes[id]
	if n == nil || n.doc.Revoked {
		c.mu.Unlock()
		return
	}
	wasOpen := n.offer.Up && !n.offer.Draining
	now := c.now().UnixMilli()
	reboot := n.bootID != m.Boot
	if reboot && now-n.bootMs < rebootMs {
		c.mu.Unlock() // saying all leases again costs much more than a heartbeat
		return
	}
	if reboot {
		n.bootMs = now
	}
	n.bootID, n.seenMs, n.said, n.draining = m.Boot, now, m.Offer, m.Draining
	n.refresh(true)
	appeared := !wasOpen && n.offer.Up && !n.offer.Draining && len(c.waiting) > 0
	var again []*leaseRef
	if reboot {
		again = sortedRefs(n.leases)
	}
	c.mu.Unlock()
	if appeared || len(again) > 0 {
		c.enqueue(func(b *batch) {
			if appeared {
				b.freed = true
				b.c.unpark(len(b.c.waiting))
			}
			for _, r := range again {
				if l := r.lease(); l.Live() {
					r.sentMs = b.now
					b.offers[id] = append(b.offers[id], r)
				}
			}
		})
	}
}

// refresh copies what a node says into its offer.
func (n *node) refresh(up bool) {
	o, s := n.offer, &n.said
	o.Up = up && !n.doc.Revoked
	o.Draining = n.draining || n.doc.Drained
	o.Price, o.Country, o.Region, o.Labels, o.Engines, o.Arch = s.Price, s.Country, s.Region, s.Labels, s.Engines, s.Arch
	o.CPUMillis, o.Memory, o.Accounts, o.Slots, o.Queue = s.CPUMillis, s.Memory, s.Accounts, s.Slots, s.Queue
	o.GPUs = o.GPUs[:0]
	for _, g := range s.GPUs {
		o.GPUs = append(o.GPUs, market.GPU{Type: g.Type, Memory: g.Memory})
	}
	o.P50Ms = n.latency.quantile(0.5)
	n.rate()
}

// rate recomputes what the node's record says of it.
func (n *node) rate() {
	r := n.doc.Reputation
	n.offer.Mean, n.offer.P5, n.offer.Seen = r.Mean(), r.P5(), r.Observations()
}

// status takes a node's coalesced progress.
func (b *batch) status(id core.NodeID, m *bus.Status) {
	move := func(ids []core.LeaseID, to lifecycle.LeaseState) {
		for _, lid := range ids {
			r := b.c.leases[lid]
			if r == nil || r.node.doc.ID != id {
				continue
			}
			if l := r.lease(); l.Move(to, "") == nil {
				if to == lifecycle.Started {
					l.StartedMs = b.now
				}
				b.touchPart(r.task, r.part)
				b.event(r.task, "lease."+string(to), &r.part.Part, l, "by %s", id)
			}
		}
	}
	move(m.Accepted, lifecycle.Accepted)
	move(m.Started, lifecycle.Started)
	for _, x := range m.Refused {
		if r := b.c.leases[x.Lease]; r != nil && r.node.doc.ID == id && r.lease().Live() {
			b.drop(r, lifecycle.Refused, core.Clip(x.Reason, 300))
			b.advance(r.task, r.part)
		}
	}
}

// checked is a report whose signature and form are right.
type checked struct {
	node      core.NodeID
	execution receipt.Execution
	envelope  []byte
	leaf      []byte
	digest    core.Digest // names the receipt
	results   map[core.LeaseID]bus.Result
	uploaded  map[core.LeaseID]bool // the result named came over HTTP, for this very lease
}

// checkUploads finds out which of the results that a report speaks of its node has
// really brought: that the hub has bytes of that digest from anybody is not enough.
func (c *Control) checkUploads(x *checked) error {
	for i := range x.execution.Leases {
		e := &x.execution.Leases[i]
		if !x.results[e.Lease].Uploaded {
			continue
		}
		_, err := c.uploaded(context.Background(), leaseAccount(e.Lease), e.Result)
		switch {
		case err == nil:
			if x.uploaded == nil {
				x.uploaded = map[core.LeaseID]bool{}
			}
			x.uploaded[e.Lease] = true
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
	if err := json.Unmarshal(data, &m); err != nil {
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
		why := b.c.mismatch(r, l, e, res, x.uploaded[e.Lease])
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
		b.deliver(r, l, e, res, leaf)
		b.ack(x.node, e.Lease)
	}
}

// deliver notes a result and lets the part go on.
func (b *batch) deliver(r *leaseRef, l *lifecycle.Lease, e *receipt.ExecutedLease, res bus.Result, leaf int64) {
	if err := l.Move(lifecycle.Reported, ""); err != nil {
		b.tx.Fail(err)
		return
	}
	l.ReportedMs, l.Result, l.Leaf = b.now, e.Result, leaf+1
	if e.Outcome == receipt.Failed {
		l.Failure = core.Clip(e.Error, 500)
	}
	if res.Uploaded {
		b.tx.PutResult(r.task.ID, r.part.Index, e.Result, nil)
	} else if len(res.Data) > 0 {
		b.tx.PutResult(r.task.ID, r.part.Index, e.Result, res.Data)
	}
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
	switch {
	case !l.Live():
		return "the lease is " + string(l.State) + ": " + l.Reason
	case e.Task != t.ID || e.Part != p.Index:
		return "the receipt names another task or part"
	case e.Nonce != l.Nonce:
		return "the receipt has not this lease's nonce"
	case e.Input != p.Input:
		return "the receipt names input " + e.Input.Short() + ", the lease " + p.Input.Short()
	case e.Model != t.ModelDigest:
		return "the receipt names model " + e.Model.Short() + ", the lease " + t.ModelDigest.Short()
	case e.Params != t.paramsID:
		return "the receipt names other parameters"
	case e.PriceMicro != int64(l.Price):
		return "the receipt names another price"
	case res.Lease == 0:
		return "the report has no result for this lease"
	case res.Uploaded && !uploaded:
		return "the result was not uploaded"
	case !res.Uploaded && core.DigestOf(res.Data) != e.Result:
		return "the result does not match the digest in its receipt"
	case !t.req.Residency.Allows(e.RegionDeclared):
		return "the receipt declares country " + e.RegionDeclared + ", outside the task's residency"
	}
	return ""
}

// appendLeaf stores a signed statement in the log. The tree gets the very bytes
// that SQL has: a statement signed again would be another leaf.
func (b *batch) appendLeaf(body, envelope []byte) int64 {
	shown := body
	if planted.Resign {
		shown = b.c.signedAgain(envelope)
	}
	b.leaves = append(b.leaves, shown)
	return b.tx.AppendLeaf(body, envelope)
}
