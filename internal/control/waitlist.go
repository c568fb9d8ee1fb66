package control

import (
	"math"
	"slices"

	"atoll/internal/lifecycle"
)

// wait is what a task's parts wait for.
type wait struct {
	queue  []*part // parts that need leases, in order
	parts  int     // of the task, in state waiting
	why    string  // what the last of them waits for
	full   bool    // nodes that fit have no room now
	parked bool    // no node fits, however much room it has
	lookMs int64   // before then none of them has waited too long
}

// waitlist is the tasks with parts that need leases, in order of arrival.
type waitlist struct {
	tasks []*task
	// contended says that some of them wait for nodes which are merely full, so
	// that who comes later must stand in line.
	contended bool
}

// add puts a task at the end.
func (w *waitlist) add(t *task) { w.tasks = append(w.tasks, t) }

// leave takes out the task that was added last.
func (w *waitlist) leave() { w.tasks = w.tasks[:len(w.tasks)-1] }

// turn shows each task to place, the oldest first, until that says it is enough.
// A task that still waits goes to the end, so that each gets its turn. Parked ones
// are passed by.
func (w *waitlist) turn(place func(*task) (enough bool)) {
	for range len(w.tasks) {
		t := w.tasks[0]
		w.tasks = w.tasks[1:]
		enough := len(t.wait.queue) > 0 && !t.wait.parked && place(t)
		if len(t.wait.queue) > 0 {
			w.tasks = append(w.tasks, t)
		}
		if enough {
			return
		}
	}
}

// unpark lets the market be asked again for up to n parked tasks, oldest first.
func (w *waitlist) unpark(n int) {
	for _, t := range w.tasks {
		if n == 0 {
			return
		}
		if t.wait.parked {
			t.wait.parked = false
			n--
		}
	}
}

// tidy drops tasks that wait no longer.
func (w *waitlist) tidy() {
	w.tasks = slices.DeleteFunc(w.tasks, func(t *task) bool { return len(t.wait.queue) == 0 })
	w.contended = slices.ContainsFunc(w.tasks, func(t *task) bool { return t.wait.full })
}

// waitsUntil is when a part has waited for a node for too long: never, if it does
// not wait.
func (t *task) waitsUntil(p *part) int64 {
	if p.State != lifecycle.PartWaiting {
		return math.MaxInt64
	}
	return p.SinceMs + t.Terms.QueueMs + 1
}

// waitedTooLong reports whether a part has waited for too long, and has no lease out
// that may still change that. It is asked all the time, and looks at the parts only
// when the first of them can have: those that come to wait later do so longer.
func (t *task) waitedTooLong(now int64) bool {
	if now < t.wait.lookMs {
		return false
	}
	t.wait.lookMs = now + t.Terms.QueueMs
	for _, p := range t.wait.queue {
		until := t.waitsUntil(p)
		if t.wait.lookMs = min(t.wait.lookMs, until); now >= until && p.Live() == 0 {
			return true
		}
	}
	return false
}

// setPart moves a part, and keeps count of those that wait.
func (b *batch) setPart(t *task, p *part, to lifecycle.PartState, why string) {
	switch {
	case p.State == to:
	case to == lifecycle.PartWaiting:
		t.wait.parts++
		p.SinceMs = b.now
	case p.State == lifecycle.PartWaiting:
		t.wait.parts--
	}
	if to == lifecycle.PartWaiting {
		t.wait.why = why
	}
	if p.State != to || p.Reason != why {
		p.State, p.Reason = to, why
		b.touchPart(t, p)
	}
}

// restate derives a task's state from its parts.
func (b *batch) restate(t *task) {
	switch {
	case t.Ended():
	case t.Parts-t.Succeeded-t.Failed > t.wait.parts:
		b.setState(t, lifecycle.Running, "leases are out")
	case t.wait.parts > 0 && t.wait.why != "":
		b.setState(t, lifecycle.Placing, t.wait.why)
	}
}
