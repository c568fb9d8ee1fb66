package control

import (
	"fmt"
	"slices"

	"atoll/internal/bus"
	"atoll/internal/core"
	"atoll/internal/ledger"
	"atoll/internal/lifecycle"
	"atoll/internal/store"
)

// batch collects what one transaction changes and what is said afterwards.
// Slices, not maps, so that a simulation replays bit for bit.
type batch struct {
	c   *Control
	tx  *store.Tx
	now int64 // Unix milliseconds

	tasks      []*task
	parts      []dirtyPart
	accounts   []*ledger.Account
	nodes      []*node
	verdicts   []pendingVerdict
	ended      []*task
	distrusted []*node          // found wrong
	charged    []core.AccountID // whose use of the disk has changed
	leaves     [][]byte         // bodies, in log order
	offers     map[core.NodeID][]*leaseRef
	acks       map[core.NodeID]*bus.Ack
	cancels    map[core.NodeID]*bus.Cancel
	freed      bool // capacity came free, or a node appeared
}

type dirtyPart struct {
	task *task
	part *part
}

func (c *Control) batch(tx *store.Tx) *batch {
	if b, ok := tx.Local.(*batch); ok {
		return b
	}
	b := &batch{c: c, tx: tx, now: tx.Now.UnixMilli(), offers: map[core.NodeID][]*leaseRef{}, acks: map[core.NodeID]*bus.Ack{}, cancels: map[core.NodeID]*bus.Cancel{}}
	tx.Local = b
	return b
}

func (b *batch) touch(t *task) {
	if !t.dirty {
		t.dirty = true
		b.tasks = append(b.tasks, t)
	}
}

func (b *batch) touchPart(t *task, p *part) {
	if !p.dirty {
		p.dirty = true
		b.parts = append(b.parts, dirtyPart{t, p})
	}
}

func (b *batch) touchNode(n *node) {
	if !n.dirty {
		n.dirty = true
		b.nodes = append(b.nodes, n)
	}
}

func (b *batch) touchAccount(a *ledger.Account) {
	if !slices.Contains(b.accounts, a) {
		b.accounts = append(b.accounts, a)
	}
}

// event records a state change for those who watch the task.
func (b *batch) event(t *task, kind string, p *lifecycle.Part, l *lifecycle.Lease, format string, args ...any) {
	t.Events++
	e := lifecycle.Event{ID: t.Events, Ms: b.now, Type: kind, Part: -1}
	if p != nil {
		e.Part = p.Index
	}
	if l != nil {
		e.Lease, e.Node = l.ID, l.Node
	}
	if len(args) == 0 {
		e.Message = format
	} else {
		e.Message = fmt.Sprintf(format, args...)
	}
	t.fresh = append(t.fresh, e)
	b.touch(t)
}

// setState moves a task and says why.
func (b *batch) setState(t *task, s lifecycle.TaskState, why string) {
	if t.State == s {
		return
	}
	t.State, t.Reason = s, why
	b.event(t, "task."+string(s), nil, nil, "%s", why)
}

// finish ends every batch: place what waits, sign, write, and queue what is to
// be said. It runs inside the transaction.
func (c *Control) finish(tx *store.Tx) {
	c.mu.Lock()
	defer c.mu.Unlock()
	b := c.batch(tx)
	for len(b.distrusted) > 0 {
		n := b.distrusted[0]
		b.distrusted = b.distrusted[1:]
		b.distrust(n)
	}
	if b.freed {
		b.placeWaiting()
	}
	b.signVerdicts()
	for _, t := range b.ended {
		b.settleEnded(t)
	}
	b.write()
	tx.After(b.announce)
}

func (b *batch) write() {
	for _, t := range b.tasks {
		if t.isNew {
			b.tx.InsertTask(&t.Task, t.spec, t.input)
			t.isNew = false
		} else {
			b.tx.UpdateTask(&t.Task)
		}
		if len(t.fresh) > 0 {
			b.tx.PutEvents(t.ID, t.fresh)
			t.fresh = nil
		}
		t.dirty = false
	}
	for _, d := range b.parts {
		b.tx.PutPart(d.task.ID, &d.part.Part)
		d.part.dirty = false
	}
	for _, a := range b.accounts {
		b.tx.PutAccount(*a)
	}
	b.writeUsage()
	for _, n := range b.nodes {
		n.rate(b.now)
		b.tx.PutNode(n.doc.ID, &n.doc)
		n.dirty = false
	}
}

// announce runs once the batch is durable.
func (b *batch) announce() {
	c := b.c
	c.mu.Lock()
	if len(b.leaves) > 0 {
		if err := c.cfg.Log.append(b.leaves); err != nil {
			c.log.Error("the log's tiles are behind SQL; a restart rebuilds them", "error", err)
		}
	}
	var wake []func()
	for _, t := range b.tasks {
		if t.Ended() {
			row := t.Task
			for _, w := range t.waiters {
				wake = append(wake, func() { w <- row })
			}
			t.waiters, t.told = nil, true
			c.endPreview(t)
			if t.Settled {
				c.letGo(t)
			}
		}
		if t.changed != nil {
			close(t.changed)
			t.changed = nil
		}
	}
	out := b.messages()
	c.mu.Unlock()
	for _, f := range wake {
		f()
	}
	for _, m := range out {
		if c.outbound == nil {
			m()
		} else {
			select {
			case c.outbound <- m:
			case <-c.store.Stopped(): // a restarted hub says it again
			}
		}
	}
}
