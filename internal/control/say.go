package control

import (
	"encoding/json"

	"atoll/internal/bus"
	"atoll/internal/core"
	"atoll/internal/identity"
	"atoll/internal/lifecycle"
)

// messages returns what a durable batch has to say, as functions so that the
// caller may hold no lock while saying it.
func (b *batch) messages() (out []func()) {
	c := b.c
	for _, n := range c.offers { // node order, for replay
		id, boot := n.Node, c.nodes[n.Node].bootID
		if refs := b.offers[id]; len(refs) > 0 && boot != "" { // else its first heartbeat brings them back
			leases := make([]bus.Lease, 0, len(refs))
			for _, r := range refs {
				if l := r.lease(); l != nil && l.Live() {
					leases = append(leases, c.wire(r, l, b.now))
				}
			}
			if len(leases) > 0 {
				out = append(out, func() { c.sendLeases(id, boot, b.now, leases) })
			}
		}
		if a := b.acks[id]; a != nil {
			out = append(out, func() { c.send(id, bus.KindAck, a) })
		}
		if x := b.cancels[id]; x != nil {
			out = append(out, func() { c.send(id, bus.KindCancel, x) })
		}
	}
	return out
}

// wire turns a lease into its message.
func (c *Control) wire(r *leaseRef, l *lifecycle.Lease, now int64) bus.Lease {
	t, p := r.task, r.part
	input, size := p.InputOf(l)
	w := t.workOf(l)
	m := bus.Lease{
		ID: l.ID, Task: t.ID, Part: p.Index, Attempt: l.Attempt, Account: t.Account, Engine: w.engine,
		Model: w.model, ModelSize: w.size, Input: input, InputSize: size, Params: w.params, ParamsHash: w.paramsID,
		Nonce: l.Nonce, Commit: commitment(l), Price: l.Price, CPUMillis: t.req.CPUMillis, Memory: t.req.Memory,
		ExecutionMs: t.Terms.ExecutionMs, LatencyMs: t.Terms.LatencyMs, PenaltyPerMille: t.Terms.PenaltyPerMille, ExpiresMs: min(now+t.Terms.QueueMs, t.DueMs()), Residency: t.Residency, Traceparent: t.Traceparent,
		Selector: t.req.Selector.String(), Progress: t.preview != nil,
	}
	m.Audit = l.Audit
	if l.Line != "" {
		if err := m.Line.UnmarshalText([]byte(l.Line)); err != nil {
			c.log.Error("line of a lease", "lease", l.ID, "error", err)
		}
	}
	if t.Terms.Sampled() {
		m.Attempt = 1 // most later ones are checks: nothing tells them from work
	}
	if size <= bus.InlineLimit {
		data, err := c.openLeaseInput(t, &p.Part, l)
		if err != nil {
			c.log.Error("input of a part cannot be read; its lease will time out", "task", t.ID, "part", p.Index, "error", err)
		}
		m.Data = data
	}
	return m
}

// maxLeaseMessage keeps sealed batches well under the bus's payload limit: sealing
// makes them a third longer, and one lease may be as long as this by itself.
const maxLeaseMessage = 1 << 20

// sealedSize is about how many bytes a lease takes in a message, at the most: data
// in base64, each byte of a parameter perhaps as six.
func sealedSize(l *bus.Lease) int {
	size := 1024 + len(l.Data)*4/3 + 6*len(l.Selector)
	for k, v := range l.Params {
		size += 6 * (len(k) + len(v) + 1)
	}
	return size
}

func (c *Control) sendLeases(id core.NodeID, boot string, now int64, leases []bus.Lease) {
	for len(leases) > 0 {
		n, size := 0, 0
		for n < len(leases) && (n == 0 || size+sealedSize(&leases[n]) < maxLeaseMessage) {
			size += sealedSize(&leases[n])
			n++
		}
		payload, err := json.Marshal(bus.LeaseBatch{Hub: c.cfg.HubID, Node: id, Boot: boot, IssuedMs: now, Leases: leases[:n]})
		if err == nil {
			var sealed identity.Sealed
			if sealed, err = identity.Seal(bus.LeasePayloadType, payload, c.cfg.Key); err == nil {
				err = c.cfg.Send.Send(id, bus.KindLease, sealed, leases[0].Traceparent)
			}
		}
		if err != nil { // the sweep says it again
			c.log.Warn("leases were not sent", "node", id, "error", err)
		}
		leases = leases[n:]
	}
}

func (c *Control) send(id core.NodeID, kind string, v any) {
	data, err := json.Marshal(v)
	if err == nil {
		err = c.cfg.Send.Send(id, kind, data, "")
	}
	if err != nil {
		c.log.Warn("message was not sent", "node", id, "kind", kind, "error", err)
	}
}

func (b *batch) ack(id core.NodeID, leases ...core.LeaseID) { b.ackNote(id, "", leases...) }

func (b *batch) ackNote(id core.NodeID, note string, leases ...core.LeaseID) {
	a := b.acks[id]
	if a == nil {
		a = &bus.Ack{}
		b.acks[id] = a
	}
	a.Leases = append(a.Leases, leases...)
	if note != "" {
		a.Note = note
	}
}

func (b *batch) cancel(id core.NodeID, why string, leases ...core.LeaseID) {
	x := b.cancels[id]
	if x == nil {
		x = &bus.Cancel{}
		b.cancels[id] = x
	}
	x.Leases = append(x.Leases, leases...)
	x.Reason = why
}
