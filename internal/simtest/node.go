package simtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"atoll/internal/bus"
	"atoll/internal/core"
	"atoll/internal/identity"
	"atoll/internal/node/agent"
	"atoll/internal/node/outbox"
	"atoll/internal/peer"
	"atoll/internal/peer/probe"
	"atoll/internal/receipt"
)

// engineName is the one engine of the simulated world.
const engineName = "sim"

// node is a machine with a disk, on which the agent lives again and again.
type node struct {
	w        *World
	id       core.NodeID
	owner    core.AccountID
	offer    bus.NodeOffer
	faults   agent.Faults
	key      *identity.Key
	receipts *receipt.Signer
	join     identity.JoinRequest
	link     link
	skew     time.Duration
	slow     time.Duration // added to each run, for a while
	disk     *outbox.Memory
	revoked  bool

	core  *agent.Core // nil while it is down
	lines *lines
	life  int // counts its boots
	wake  int // the newest timer; older ones are void
}

func (n *node) clock() time.Time { return n.w.now.Add(n.skew) }

// start boots the agent over what is on its disk.
func (n *node) start() {
	if n.core != nil {
		return
	}
	n.life++
	c, err := agent.NewCore(n.clock(), agent.CoreConfig{
		Node: n.id, Hub: hubID, HubKey: n.w.hub.key.Public(), Boot: fmt.Sprintf("%s-%d", n.id, n.life), Offer: n.offer,
		Faults: n.faults, Signer: n.signer(), Outbox: n.disk,
	})
	if err != nil {
		n.w.violation("%s does not start over its own outbox: %v", n.id, err)
		return
	}
	n.core, n.lines = c, newLines(n)
	n.w.say("%s boots, life %d, %d reports on disk", n.id, n.life, c.Unacknowledged())
	n.does(func() agent.Effects { return c.Connected(n.clock()) })
}

// crash loses all but the disk.
func (n *node) crash(where string) {
	n.w.say("%s crashes %s", n.id, where)
	n.w.result.Reboots++
	n.core = nil
	n.w.after(n.w.between(20*time.Millisecond, 5*time.Second), n.start)
}

// dies draws whether the node crashes at this step.
func (n *node) dies(where string) bool {
	if n.w.healed || !n.w.chance(n.w.plan.nodeCrash) {
		return false
	}
	n.crash(where)
	return true
}

// same returns fn to be run only in this life of the agent.
func (n *node) same(fn func(*agent.Core)) func() {
	life := n.life
	return func() {
		if n.core != nil && n.life == life {
			fn(n.core)
		}
	}
}

// does takes one step of the core and sees to its effects.
func (n *node) does(step func() agent.Effects) {
	fx := step()
	n.effects(fx)
	if n.core == nil {
		return
	}
	n.store()
	n.rearm()
}

func (n *node) rearm() {
	if n.core == nil {
		return
	}
	n.wake++
	mine := n.wake
	n.w.after(n.core.Next(), n.same(func(c *agent.Core) {
		if mine == n.wake {
			n.does(func() agent.Effects { return c.Tick(n.clock()) })
		}
	}))
}

func (n *node) effects(fx agent.Effects) {
	for _, m := range fx.Send {
		if m.Kind != bus.KindHeartbeat && n.dies("before it sends a "+m.Kind) {
			return
		}
		n.send(m)
	}
	for _, s := range fx.Start {
		n.run(s)
	}
	for _, c := range fx.Charters {
		n.lines.hear(c)
	}
	if len(fx.Probe) > 0 {
		n.probe(fx.Probe)
	}
	if len(fx.Upload) > 0 {
		n.w.violation("%s wants to upload a result that fits into a message", n.id)
	}
}

// send puts a message on the wire. A report must be on the disk by then: the
// hub may act on it, and the node could lose it the next moment.
func (n *node) send(m agent.Message) {
	if m.Kind == bus.KindReport {
		entries, err := n.disk.All()
		held := slices.ContainsFunc(entries, func(e outbox.Entry) bool { return bytes.Equal(e.Body, m.Data) })
		if err != nil || !held {
			n.w.violation("%s sends a report that a crash now would lose: it is not in its outbox", n.id)
		}
	}
	n.w.carry(&n.link, "a "+m.Kind, func() { n.w.hub.inbound(n.id, m) })
	n.w.stolen(n, m)
}

// stolen has a liar send as its own what another node has sent.
func (w *World) stolen(from *node, m agent.Message) {
	if w.healed || m.Kind == bus.KindHeartbeat || !w.chance(0.2) {
		return
	}
	thief := w.nodes[w.rng.IntN(len(w.nodes))]
	if thief.faults.Lie > 0 && thief != from {
		w.carry(&thief.link, "a stolen "+m.Kind, func() { w.hub.inbound(thief.id, m) })
	}
}

// store runs the durable half of what has finished, with a crash possible on
// either side of it.
func (n *node) store() {
	batch := n.core.Take()
	if batch == nil {
		return
	}
	if n.dies("before it stores its reports") {
		return
	}
	err := batch.Commit()
	n.w.say("%s stores %d leases", n.id, batch.Leases())
	if n.dies("after it has stored its reports") {
		return
	}
	n.w.after(n.w.between(0, 3*time.Millisecond), n.same(func(c *agent.Core) {
		fx, err := c.Committed(n.clock(), batch, err)
		if err != nil {
			n.crash("because " + err.Error())
			return
		}
		n.does(func() agent.Effects { return fx })
	}))
}

// run plays the engine: it takes some time and gives the true result, which the
// core may yet alter if it lies.
func (n *node) run(s agent.Start) {
	lease := s.Lease
	n.w.say("%s runs %s of %s part %d", n.id, lease.ID, lease.Task, lease.Part)
	begin := n.w.between(0, 20*time.Millisecond)
	took := n.w.between(time.Millisecond, 400*time.Millisecond) + n.slow + s.Delay
	n.w.after(begin, n.same(func(c *agent.Core) {
		if n.dies("at the start of a run") {
			return
		}
		started := n.clock()
		n.does(func() agent.Effects { return c.Running(n.clock(), lease.ID) })
		n.w.after(took, n.same(func(c *agent.Core) {
			if n.dies("at the end of a run") {
				return
			}
			out, ok := n.outcome(lease)
			if !ok { // of a line whose places are not all taken
				n.w.after(mendEvery, n.same(func(*agent.Core) { n.finish(lease, started, lineTries) }))
				return
			}
			n.done(lease, out, started)
		}))
	}))
}

// lineTries is how often a head looks again whether its line is whole.
const lineTries = 30

// finish tries again what a line could not do before.
func (n *node) finish(lease *bus.Lease, started time.Time, tries int) {
	out, ok := n.outcome(lease)
	switch {
	case ok:
	case tries > 0:
		n.w.after(mendEvery, n.same(func(*agent.Core) { n.finish(lease, started, tries-1) }))
		return
	default:
		out = agent.Outcome{Fault: "its line is not whole"}
	}
	n.done(lease, out, started)
}

// outcome is what comes of a lease now; false: nothing yet.
func (n *node) outcome(lease *bus.Lease) (agent.Outcome, bool) {
	switch {
	case n.w.chance(0.01):
		return agent.Outcome{Fault: "out of memory"}, true
	case lease.Audit:
		return n.runAudit(lease.Data), true
	case !lease.Line.IsZero():
		return n.runLine(lease.ID, lease.Line, lease.Data)
	}
	return compute(lease.Data), true
}

func (n *node) done(lease *bus.Lease, out agent.Outcome, started time.Time) {
	out.Started, out.Finished = started, n.clock()
	n.does(func() agent.Effects { return n.core.Done(n.clock(), lease.ID, out) })
}

// probe measures the ways to other nodes, which are all alike.
func (n *node) probe(to []peer.Address) {
	n.w.after(n.w.between(10*time.Millisecond, time.Second), n.same(func(c *agent.Core) {
		var ways []probe.Way
		for _, a := range to {
			ways = append(ways, probe.Way{Node: a.Node, RTTMicros: 1000, Bandwidth: 1 << 30})
		}
		n.does(func() agent.Effects { return c.Ways(n.clock(), ways) })
	}))
}

// compute is the engine: its result for some bytes is known to everyone. Input
// that starts with "bad" is refused, by every node alike.
func compute(input []byte) agent.Outcome {
	if strings.HasPrefix(string(input), "bad") {
		return agent.Outcome{Failure: "the input is bad"}
	}
	return agent.Outcome{Data: truth(input)}
}

// truth is the right result.
func truth(input []byte) []byte {
	if strings.HasPrefix(string(input), lineTask) {
		return lineTruth(input)
	}
	return fmt.Appendf(nil, "%s is %d bytes\n", core.DigestOf(input).Short(), len(input))
}

// receive takes a message from the hub.
func (n *node) receive(kind string, data []byte) {
	if n.core == nil {
		return
	}
	if n.dies("when it gets a " + kind) {
		return
	}
	c := n.core
	switch kind {
	case bus.KindLease:
		n.does(func() agent.Effects {
			fx, err := c.Lease(n.clock(), data)
			if err != nil && !errors.Is(err, agent.ErrOtherLife) {
				n.w.violation("%s does not believe its own hub: %v", n.id, err)
			}
			return fx
		})
	case bus.KindLine:
		n.does(func() agent.Effects {
			fx, err := c.Line(n.clock(), data)
			if err != nil {
				n.w.violation("%s does not believe its own hub's charter: %v", n.id, err)
			}
			return fx
		})
	case bus.KindKeep:
		var m bus.Keep
		if err := json.Unmarshal(data, &m); err != nil {
			n.w.violation("a keep is not JSON: %v", err)
		}
		n.does(func() agent.Effects { return c.Keep(n.clock(), m) })
	case bus.KindProbe:
		var m bus.Probe
		if err := json.Unmarshal(data, &m); err != nil {
			n.w.violation("a probe is not JSON: %v", err)
		}
		n.does(func() agent.Effects { return c.Probe(n.clock(), m) })
	case bus.KindAck:
		var m bus.Ack
		if err := json.Unmarshal(data, &m); err != nil {
			n.w.violation("an ack is not JSON: %v", err)
		}
		n.does(func() agent.Effects { return c.Ack(n.clock(), m) })
	case bus.KindCancel:
		var m bus.Cancel
		if err := json.Unmarshal(data, &m); err != nil {
			n.w.violation("a cancel is not JSON: %v", err)
		}
		n.does(func() agent.Effects { return c.Cancel(n.clock(), m) })
	default:
		n.w.violation("the hub sends a %q", kind)
	}
}
