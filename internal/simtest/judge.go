package simtest

import (
	"bytes"
	"context"
	"slices"
	"strings"

	"atoll/internal/core"
	"atoll/internal/lifecycle"
	"atoll/internal/policy"
)

// judge looks at what is left of a run. It trusts the clients' logs and the rows
// on the hub's disk, which it reads by itself once the hub is closed.
func (w *World) judge(ctx context.Context) error {
	if w.hub.c != nil {
		w.hub.watch.checkpoint(ctx, w, w.hub.c)
		w.hub.watch.audit(ctx, w, w.hub.c)
		if err := w.hub.c.Close(); err != nil {
			return err
		}
		w.hub.c = nil
	}
	b, err := readBooks(ctx, w.hub.path())
	if err != nil {
		return err
	}
	w.judgePromises(b)
	w.judgeTasks(b)
	w.judgeMoney(b)
	w.judgeLog(b)
	return nil
}

// judgePromises holds the rows against what each client was told.
func (w *World) judgePromises(b *books) {
	known := map[core.TaskID]string{}
	for _, c := range w.clients {
		for _, j := range c.jobs {
			id, stored := b.keys[j.name()]
			if stored {
				if other, twice := known[id]; twice {
					w.violation("%s and %s are one task, %s", other, j.name(), id)
				}
				known[id] = j.name()
			}
			w.judgeJob(b, j, id, stored)
		}
	}
	for _, t := range b.tasks {
		if known[t.ID] == "" {
			w.violation("%s of %s is charged under no key that its client used", t.ID, t.Account)
		}
	}
}

func (w *World) judgeJob(b *books, j *job, id core.TaskID, stored bool) {
	switch {
	case j.task != 0 && (!stored || b.byID[j.task] == nil):
		w.violation("%s was acknowledged as %s and is lost", j.name(), j.task)
		return
	case j.task != 0 && id != j.task:
		w.violation("%s was acknowledged as %s and is stored as %s", j.name(), j.task, id)
		return
	case j.refused != nil && stored && !passing(j.refused):
		w.violation("%s was refused (%v) and is stored as %s all the same", j.name(), j.refused, id)
		return
	case j.task == 0:
		return
	}
	w.result.Tasks++
	t := b.byID[j.task]
	if j.ended != nil && j.ended.State != string(t.State) {
		w.violation("%s: its client saw it %s, it is stored as %s", j.name(), j.ended.State, t.State)
	}
	if len(t.parts) != len(j.parts) {
		w.violation("%s has %d parts, stored are %d", j.name(), len(j.parts), len(t.parts))
		return
	}
	for i, p := range t.parts {
		if p.Index != i || p.Input != core.DigestOf([]byte(j.parts[i])) {
			w.violation("%s: part %d has another input than its client sent", j.name(), i)
		}
		w.judgePart(b, j, t, p)
	}
	if t.State == lifecycle.Succeeded {
		w.result.Succeeded++
		w.judgeResult(b, j, t)
	} else if j.probe {
		w.violation("with all healed, the probe is %s: %s", t.State, t.Reason)
	}
	if t.State == lifecycle.TaskCancelled && !j.cancelled {
		w.violation("%s is cancelled, and nobody asked for that", j.name())
	}
}

// judgeResult compares what the client got with what is stored.
func (w *World) judgeResult(b *books, j *job, t *taskRows) {
	var all []byte
	for _, p := range t.parts {
		if p.State != lifecycle.PartSucceeded {
			w.violation("%s has succeeded, its part %d is %s", t.ID, p.Index, p.State)
		}
		data, ok := b.results[resultKey(t.ID, p.Index, p.Result)]
		if !ok || core.DigestOf(data) != p.Result {
			w.violation("%s part %d: the bytes of its result are not stored", t.ID, p.Index)
		}
		all = append(all, data...)
	}
	if j.ended != nil && !bytes.Equal(all, j.result) {
		w.violation("%s: its client was given another result than is stored", j.name())
	}
}

// judgePart looks at the leases of one part.
func (w *World) judgePart(b *books, j *job, t *taskRows, p *lifecycle.Part) {
	residency, err := policy.Parse(j.spec.Residency)
	if err != nil {
		w.violation("%s: residency: %v", j.name(), err)
	}
	owners := map[core.AccountID]core.LeaseID{}
	passed, liars := 0, map[core.AccountID]bool{}
	for i := range p.Leases {
		l := &p.Leases[i]
		n := w.byID[string(l.Node)]
		if n == nil || n.owner != l.Owner {
			w.violation("%s is held by %s of %s, which is not so", l.ID, l.Node, l.Owner)
			continue
		}
		if !residency.Allows(n.offer.Country) {
			w.violation("%s went to %s in %s, outside %s", l.ID, n.id, n.offer.Country, residency)
		}
		if l.Live() || (l.State == lifecycle.Reported) {
			w.violation("%s of %s is still %s, its part is %s", l.ID, t.ID, l.State, p.State)
		}
		if l.State == lifecycle.Passed || (l.State == lifecycle.Rejected && t.Terms.Compared() && !lone(t, p, l)) {
			// All of a part's verdicts fall at once, so all of these counted at once.
			if other, twice := owners[l.Owner]; twice && t.Terms.Compared() && !j.line {
				w.violation("%s and %s are replicas of one part of %s, and both of %s", other, l.ID, t.ID, l.Owner)
			}
			owners[l.Owner] = l.ID
			if n.faults.Lie > 0 {
				liars[n.owner] = true
			}
		}
		if l.State == lifecycle.Passed && !l.Audit { // an audit has a result of its own
			if passed++; l.Result != p.Result || p.State != lifecycle.PartSucceeded {
				w.violation("%s has passed with %s, its part is %s with %s", l.ID, l.Result.Short(), p.State, p.Result.Short())
			}
		}
	}
	if passed > t.Terms.Payable() {
		w.violation("%s part %d: %d leases have passed, at most %d may", t.ID, p.Index, passed, t.Terms.Payable())
	}
	if j.line {
		w.judgeLine(j, t, p, b)
		return
	}
	w.judgeTruth(j, t, p, len(liars))
}

// lone reports whether a lease failed before there was anything to compare it with:
// another owner's result, or one that was drawn to be run again.
func lone(t *taskRows, p *lifecycle.Part, l *lifecycle.Lease) bool {
	if t.Terms.Method != lifecycle.Reexecute || l.Failure == "" {
		return false
	}
	tried := p.Drawn()
	return tried == nil || l.Attempt < tried.Attempt
}

// judgeTruth: what a quorum agrees on, or two owners after one another, is true
// unless enough of them lie together. A result that rests on fewer says so.
func (w *World) judgeTruth(j *job, t *taskRows, p *lifecycle.Part, liars int) {
	if p.State != lifecycle.PartSucceeded {
		return
	}
	input := []byte(j.parts[p.Index])
	right := p.Result == core.DigestOf(truth(input)) && compute(input).Failure == ""
	could := liars
	if !w.plan.conspire {
		could = min(liars, 1)
	}
	must := t.Terms.Agree
	if t.Terms.Method == lifecycle.Reexecute && p.Reason == "" { // all are drawn
		must = 2
	}
	if !right && could < must {
		w.violation("%s part %d: a false result, though only %d of its owners lie alike and %d must agree", t.ID, p.Index, could, must)
	}
}

// judgeTasks looks at each task by itself: one end, and a full story.
func (w *World) judgeTasks(b *books) {
	for _, t := range b.tasks {
		if !t.Ended() || t.open || t.state != string(t.State) {
			w.violation("%s is %s (%s), open %t: not over", t.ID, t.State, t.state, t.open)
		}
		var ends []string
		final := map[core.LeaseID]string{}
		for i, e := range t.events {
			if e.ID != int64(i)+1 {
				w.violation("%s: event %d has ID %d", t.ID, i+1, e.ID)
			}
			what, state, _ := strings.Cut(e.Type, ".")
			if what == "task" && lifecycle.TaskState(state).Ended() {
				ends = append(ends, state)
			}
			if what == "lease" && slices.Contains([]string{"passed", "rejected", "lost", "refused", "cancelled"}, state) {
				if had := final[e.Lease]; had != "" {
					w.violation("%s is %s and then %s", e.Lease, had, state)
				}
				final[e.Lease] = state
			}
		}
		if len(ends) != 1 || ends[0] != string(t.State) {
			w.violation("%s has the ends %q, and is %s", t.ID, ends, t.State)
		}
		ok, bad := 0, 0
		for _, p := range t.parts {
			switch p.State {
			case lifecycle.PartSucceeded:
				ok++
			case lifecycle.PartFailed:
				bad++
			}
		}
		if ok != t.Succeeded || bad != t.Failed {
			w.violation("%s counts %d parts done and %d failed, its parts say %d and %d", t.ID, t.Succeeded, t.Failed, ok, bad)
		}
	}
}
