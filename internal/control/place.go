package control

import (
	"encoding/hex"
	"fmt"
	"io"
	"time"

	"go.opentelemetry.io/otel/attribute"

	"atoll/internal/core"
	"atoll/internal/lifecycle"
	"atoll/internal/market"
	"atoll/internal/planted"
	"atoll/internal/verify"
)

// enqueuePart puts a part that needs leases into its task's queue, and the task
// into the hub's.
func (b *batch) enqueuePart(t *task, p *part) {
	t.wait.parked = false
	if p.queued {
		return
	}
	p.queued = true
	if len(t.wait.queue) == 0 {
		b.c.waiting.add(t)
	}
	t.wait.queue = append(t.wait.queue, p)
}

// maxFruitless bounds how many tasks one batch looks at without placing
// anything, so that a long queue of impossible tasks costs little. The queue
// turns, so each gets its look.
const maxFruitless = 64

// placeWaiting gives waiting tasks, oldest first, the capacity that came free.
func (b *batch) placeWaiting() {
	b.freed = false
	if !b.c.anyFree() {
		return
	}
	fruitless := 0
	b.c.waiting.turn(func(t *task) (enough bool) {
		before := len(t.wait.queue)
		b.placeParts(t)
		if len(t.wait.queue) == before {
			fruitless++
		}
		return fruitless == maxFruitless || !b.c.anyFree()
	})
}

// placeTask tries a task that has just come in. It stands in line only if others
// wait for the very capacity that it could take, not behind impossible ones.
func (b *batch) placeTask(t *task) {
	w := &b.c.waiting
	if w.contended && len(w.tasks) > 1 {
		b.freed = true
		return
	}
	if b.placeParts(t); len(t.wait.queue) == 0 {
		w.leave() // it has just been put there
	}
}

func (c *Control) anyFree() bool {
	for _, o := range c.offers {
		if o.Up && !o.Draining && o.InFlight < o.Queue {
			return true
		}
	}
	return false
}

// placeParts places as many of a task's waiting parts as it can, in order. Three
// that find nothing end the round: their reasons are the others' too, but for
// replicas that are already out.
func (b *batch) placeParts(t *task) {
	var rest []*part
	for i, p := range t.wait.queue {
		if len(rest) == 3 {
			rest = append(rest, t.wait.queue[i:]...)
			break
		}
		p.queued = false
		if p.Ended() || t.Ended() {
			continue
		}
		lacks, _ := verify.Judge(&t.Terms, &p.Part, false).Outcome.(verify.Lacking)
		switch {
		case lacks.Leases == 0:
			b.setPart(t, p, lifecycle.PartRunning, "")
		case !b.placePart(t, p, lacks.Leases):
			p.queued = true
			rest = append(rest, p)
		}
	}
	t.wait.queue = rest
	b.restate(t)
}

// placePart leases a part to up to need nodes and reports whether that is all
// it needs.
func (b *batch) placePart(t *task, p *part, need int) bool {
	c := b.c
	used := c.usedBy(t, &p.Part)
	arch := ""
	if t.OneArch {
		arch = "any"
		for i := range p.Leases {
			if p.Leases[i].Counted() {
				arch = p.Leases[i].Arch
			}
		}
	}
	req, offers := t.request(p), c.offers
	if t.byLine(p) {
		o, why := c.lineOffer(t)
		if o == nil {
			t.wait.full, t.wait.parked = false, true
			b.setPart(t, p, lifecycle.PartWaiting, why)
			return false
		}
		if o.Line != "" {
			offers = []*market.Offer{o}
		}
	}
	choice := market.Place(req, offers, used, arch, need, t.allowance(p), seed(t, p))
	for _, o := range choice.Offers {
		b.grant(t, p, o)
	}
	if len(choice.Offers) < need || t.NotChosen == nil {
		b.explain(t, req, t.allowance(p))
	}
	if len(choice.Offers) < need {
		// Full nodes come free, which is told; whether one fits at all is asked
		// again when a node appears, and now and then.
		t.wait.full, t.wait.parked = choice.Busy, !choice.Busy
		c.waiting.contended = c.waiting.contended || choice.Busy
		b.setPart(t, p, lifecycle.PartWaiting, c.waitReason(t, choice.Busy))
		return false
	}
	b.setPart(t, p, lifecycle.PartRunning, "")
	return true
}

// seed makes a placement's randomness a function of what is placed.
func seed(t *task, p *part) uint64 {
	return uint64(t.ID)*0x9e3779b97f4a7c15 ^ uint64(p.Index)<<20 ^ uint64(len(p.Leases))
}

func (c *Control) waitReason(t *task, busy bool) string {
	switch {
	case busy:
		return "every node that could do it is full"
	case len(c.offers) == 0:
		return "no node has joined yet"
	case len(t.NotChosen) < len(c.offers):
		return "every node that fits holds a lease of this part already, or its owner does, or it declined"
	}
	return "no node fits: " + string(t.NotChosen[0].Node) + ": " + t.NotChosen[0].Reason
}

// usedBy lists what a part has tried.
func (c *Control) usedBy(t *task, p *lifecycle.Part) []market.Used {
	if len(p.Leases) == 0 {
		return nil
	}
	used := make([]market.Used, 0, len(p.Leases))
	tried := p.Drawn()
	for i := range p.Leases {
		l := &p.Leases[i]
		if l.Audit && (tried == nil || l.Checks != tried.ID) {
			continue // it has audited another result
		}
		used = append(used, market.Used{
			Node: l.Node, Owner: l.Owner, Arch: l.Arch,
			Barred:  l.State == lifecycle.Refused && !c.outlived(t, l) || l.Test != nil && !l.Test.Pass && l.Checks == 0,
			Counted: l.Counted() && !planted.Spread,
		})
		for _, s := range l.Shares { // nobody checks what they had a part in
			used = append(used, market.Used{Node: s.Node, Owner: s.Owner, Counted: l.Counted() && t.Terms.Sampled()})
		}
	}
	return used
}

// byLine reports whether the part's next lease is for the line of a service: checks of
// what it has done are not.
func (t *task) byLine(p *part) bool {
	return t.service != "" && (!t.Terms.Sampled() || p.Drawn() == nil)
}

// lineAgainMs is when a head is asked again for what it has refused: nobody else could be.
const lineAgainMs = 5_000

// outlived reports whether a lease was for a line that is no more, or was refused a while
// ago: that its head has refused it then says nothing of the next.
func (c *Control) outlived(t *task, l *lifecycle.Lease) bool {
	now := c.lines[t.service]
	return l.Line != "" && (now == nil || now.charter == nil || now.charter.Line.String() != l.Line || c.now().UnixMilli()-l.OfferedMs >= lineAgainMs)
}

// maxNotChosen bounds the reasons kept with a task.
const maxNotChosen = 50

// explain records which of the market's nodes the task cannot use, and why: what
// holds for the task as a whole, not that a node is busy or has another lease.
func (b *batch) explain(t *task, req *market.Request, budget core.Money) {
	t.NotChosen = make([]lifecycle.NotChosen, 0)
	for _, o := range b.c.offers {
		if why := req.Never(o, budget); why != "" && len(t.NotChosen) < maxNotChosen {
			t.NotChosen = append(t.NotChosen, lifecycle.NotChosen{Node: o.Node, Owner: o.Owner, Reason: why})
		}
	}
	b.touch(t)
}

// grant makes a lease. It is sent once the batch is durable.
func (b *batch) grant(t *task, p *part, o *market.Offer) {
	c := b.c
	n := c.nodes[o.Node]
	l := lifecycle.Lease{
		ID: core.LeaseID(c.ids.Next()), Attempt: len(p.Leases) + 1, Node: o.Node, Owner: o.Owner, Arch: o.Arch,
		State: lifecycle.Offered, Price: o.Price, Line: o.Line, Nonce: c.newNonce(), OfferedMs: b.now,
	}
	if l.Line != "" {
		l.Crew = c.crew(l.Line)
	}
	b.arm(t, p, &l)
	p.Leases = append(p.Leases, l)
	t.Committed += l.Claim()
	ref := &leaseRef{task: t, part: p, node: n, id: l.ID, sentMs: b.now}
	c.leases[l.ID] = ref
	n.leases[l.ID] = ref
	n.offer.InFlight++
	b.offers[o.Node] = append(b.offers[o.Node], ref)
	c.stats.leases++
	b.touchPart(t, p)
	b.span(t, "lease.offer", attribute.String("lease", l.ID.String()), attribute.String("node", string(o.Node)))
	b.event(t, "lease.offered", &p.Part, &l, "to %s of %s in %s for %s%s", o.Node, o.Owner, o.Country, o.Price, toLoad(t.request(p).Start(o)))
}

// toLoad says that a node has not got a model in memory, if that will be felt.
func toLoad(start time.Duration) string {
	if start < time.Second {
		return ""
	}
	return fmt.Sprintf("; it has the model to load first, which may take %s", start.Round(time.Second))
}

// newNonce is 128 bits that nobody can foresee.
func (c *Control) newNonce() string {
	var b [16]byte
	_, _ = io.ReadFull(c.cfg.Secrets, b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// drop ends a live lease in a state that will not be paid, and frees its node.
func (b *batch) drop(r *leaseRef, to lifecycle.LeaseState, why string) {
	l := r.lease()
	if err := l.Move(to, why); err != nil {
		b.tx.Fail(err)
		return
	}
	r.task.Committed -= l.Claim()
	r.task.Committed += disarm(r.part, l)
	b.release(r)
	b.touchPart(r.task, r.part)
	b.event(r.task, "lease."+string(to), &r.part.Part, l, "%s", why)
}

// release takes a lease off its node's books.
func (b *batch) release(r *leaseRef) {
	if _, held := r.node.leases[r.id]; held {
		delete(r.node.leases, r.id)
		r.node.offer.InFlight--
		b.freed = true
	}
	delete(b.c.leases, r.id)
}
