package control

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"atoll/internal/core"
	"atoll/internal/lifecycle"
)

// waiter is a task with n parts that have waited since sinceMs.
func waiter(id core.TaskID, n int, sinceMs int64) *task {
	t := &task{Task: lifecycle.Task{ID: id, Terms: lifecycle.Terms{QueueMs: 1000}}}
	for i := range n {
		t.wait.queue = append(t.wait.queue, &part{Part: lifecycle.Part{Index: i, State: lifecycle.PartWaiting, SinceMs: sinceMs}})
	}
	return t
}

func order(w *waitlist) (ids []core.TaskID) {
	for _, t := range w.tasks {
		ids = append(ids, t.ID)
	}
	return ids
}

// Each task gets its turn, the oldest first; who still waits goes to the end.
func TestWaitlistTurns(t *testing.T) {
	t.Parallel()
	var w waitlist
	for id := range core.TaskID(5) {
		w.add(waiter(id, 1, 0))
	}
	w.tasks[1].wait.parked = true
	w.tasks[2].wait.queue = nil // placed meanwhile
	var seen []core.TaskID
	show := func(most int) {
		seen = nil
		w.turn(func(t *task) bool {
			seen = append(seen, t.ID)
			if t.ID == 3 {
				t.wait.queue = nil
			}
			return len(seen) == most
		})
	}
	for i, step := range []struct {
		most       int
		seen, left []core.TaskID
	}{
		{1, []core.TaskID{0}, []core.TaskID{1, 2, 3, 4, 0}},
		{2, []core.TaskID{3, 4}, []core.TaskID{0, 1, 4}},
		{9, []core.TaskID{0, 4}, []core.TaskID{0, 1, 4}}, // nobody is shown twice
	} {
		if show(step.most); !slices.Equal(seen, step.seen) || !slices.Equal(order(&w), step.left) {
			t.Errorf("turn %d: %v were seen and %v wait, want %v and %v", i, seen, order(&w), step.seen, step.left)
		}
	}
}

// Only so many parked tasks are looked at again at a time, the oldest first; what
// waits for full nodes only makes others stand in line as long as it waits.
func TestWaitlistParksAndTidies(t *testing.T) {
	t.Parallel()
	var w waitlist
	for id := range core.TaskID(4) {
		w.add(waiter(id, 1, 0))
		w.tasks[id].wait.parked = id > 0
	}
	w.unpark(2)
	for id, want := range []bool{false, false, false, true} {
		if w.tasks[id].wait.parked != want {
			t.Errorf("task %d is parked: %v", id, !want)
		}
	}
	w.tasks[2].wait.full = true
	if w.tidy(); !w.contended || len(w.tasks) != 4 {
		t.Error("a task that waits for full nodes is forgotten")
	}
	w.tasks[2].wait.queue = nil
	if w.tidy(); w.contended || !slices.Equal(order(&w), []core.TaskID{0, 1, 3}) {
		t.Errorf("%v wait and stand in line: %v", order(&w), w.contended)
	}
}

// Whatever comes, goes, gets leases and loses them: waitedTooLong says the same as
// a look at every part would.
func TestWaitedTooLong(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		tk, now := waiter(1, 0, 0), int64(0)
		wait := func(p *part) { p.State, p.SinceMs = lifecycle.PartWaiting, now }
		pick := func(t *rapid.T) *part {
			if len(tk.wait.queue) == 0 {
				t.Skip("nothing waits")
			}
			return rapid.SampledFrom(tk.wait.queue).Draw(t, "part")
		}
		t.Repeat(map[string]func(*rapid.T){
			"comes": func(*rapid.T) {
				p := &part{}
				wait(p)
				tk.wait.queue = append(tk.wait.queue, p)
			},
			"goes": func(t *rapid.T) {
				p := pick(t)
				tk.wait.queue = slices.DeleteFunc(tk.wait.queue, func(o *part) bool { return o == p })
			},
			"runs":         func(t *rapid.T) { pick(t).State = lifecycle.PartRunning },
			"waits again":  func(t *rapid.T) { wait(pick(t)) },
			"gets a lease": func(t *rapid.T) { pick(t).Leases = []lifecycle.Lease{{State: lifecycle.Offered}} },
			"loses it":     func(t *rapid.T) { pick(t).Leases = nil },
			"time passes":  func(t *rapid.T) { now += rapid.Int64Range(1, 700).Draw(t, "ms") },
			"": func(t *rapid.T) {
				want := slices.ContainsFunc(tk.wait.queue, func(p *part) bool {
					return p.State == lifecycle.PartWaiting && now-p.SinceMs > tk.Terms.QueueMs && p.Live() == 0
				})
				if got := tk.waitedTooLong(now); got != want {
					t.Fatalf("at %d: %v, want %v", now, got, want)
				}
			},
		})
	})
}

// A sweep over a task with very many parts that nobody can take costs no more than
// one over a task with a few.
func BenchmarkSweepWaiting(b *testing.B) {
	for name, parts := range map[string]int{"few": 10, "many": maxParts} {
		b.Run(name, func(b *testing.B) {
			t := waiter(1, parts, 0)
			t.Terms.TotalMs = 1 << 40
			c := &Control{tasks: map[core.TaskID]*task{1: t}}
			for b.Loop() {
				if c.overdue(1) {
					b.Fatal("nothing is overdue")
				}
			}
		})
	}
}
