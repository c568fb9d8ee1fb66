package lifecycle

import (
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

var leaseStates = []LeaseState{Offered, Accepted, Started, Reported, Passed, Rejected, Lost, Refused, Cancelled}

// Final states have no way out, and every other state reaches one.
func TestLeaseMoves(t *testing.T) {
	t.Parallel()
	final := map[LeaseState]bool{Passed: true, Rejected: true, Lost: true, Refused: true, Cancelled: true}
	for _, s := range leaseStates {
		if final[s] != (len(leaseMoves[s]) == 0) {
			t.Errorf("%s: final is %v, but it has %d ways out", s, final[s], len(leaseMoves[s]))
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		l := Lease{State: Offered}
		paid := 0
		for _, to := range rapid.SliceOf(rapid.SampledFrom(leaseStates)).Draw(t, "moves") {
			before := l
			if err := l.Move(to, "why"); err != nil {
				if !reflect.DeepEqual(l, before) {
					t.Fatalf("a refused move changed the lease: %+v", l)
				}
				continue
			}
			if final[before.State] {
				t.Fatalf("left the final state %s for %s", before.State, to)
			}
			if to == Passed {
				if paid++; before.State != Reported {
					t.Fatalf("passed without a report, from %s", before.State)
				}
			}
		}
		if paid > 1 {
			t.Fatalf("passed %d times", paid)
		}
	})
}

func TestCheck(t *testing.T) {
	t.Parallel()
	terms := Terms{QueueMs: 60_000, ExecutionMs: 30_000, LostAfterMs: 3000, Replace: true}
	wait := terms
	wait.Replace = false
	for _, c := range []struct {
		name      string
		terms     Terms
		state     LeaseState
		now, seen int64 // offered, started and first sent at 0
		want      Overdue
	}{
		{"fresh", terms, Offered, 500, 500, OnTime},
		{"say it again", terms, Offered, 1000, 900, Resend},
		{"no answer", terms, Offered, 5001, 5000, NoAnswer},
		{"node silent", terms, Offered, 3000, 0, NodeLost},
		{"node silent while running", terms, Started, 3000, 0, NodeLost},
		{"just in time", terms, Started, 2999, 0, OnTime},
		{"silent, but waited for", wait, Started, 20_000, 0, OnTime},
		{"silent and slow, but waited for", wait, Started, 40_000, 0, OnTime},
		{"too slow, though alive", wait, Started, 33_000, 32_900, TooSlow},
		{"running", terms, Started, 31_000, 30_900, OnTime},
		{"too slow", terms, Started, 32_001, 32_000, TooSlow},
		{"queued at the node", terms, Accepted, 59_000, 58_900, OnTime},
		{"its refusal may be on its way", terms, Accepted, 62_000, 61_900, OnTime},
		{"never ran", terms, Accepted, 62_001, 62_000, NeverRan},
		{"done", terms, Reported, 99_000, 0, OnTime},
	} {
		l := Lease{State: c.state}
		if got := Check(&c.terms, &l, c.now, c.seen, 0); got != c.want {
			t.Errorf("%s: got %d, want %d", c.name, got, c.want)
		}
	}
}

func TestTaskEnd(t *testing.T) {
	t.Parallel()
	one := Task{Parts: 1}
	if s, why := one.End(false, ""); s != Succeeded || why != "done" {
		t.Errorf("its only part is done: %s, %q", s, why)
	}
	one.Short = 1
	if s, why := one.End(false, ""); s != Succeeded || why != "done, decided by fewer owners than asked for" {
		t.Errorf("its only part is done by too few: %s, %q", s, why)
	}
	one.Failed = 1
	if s, why := one.End(false, "boom"); s != Failed || why != "boom" {
		t.Errorf("its only part failed: %s, %q", s, why)
	}
	task := Task{Parts: 3}
	if s, _ := task.End(false, ""); s != Succeeded {
		t.Errorf("no failure: %s", s)
	}
	task.Short = 2
	if s, why := task.End(false, ""); s != Succeeded || !strings.HasPrefix(why, "all 3 parts done, 2 of them decided by fewer") {
		t.Errorf("two done by too few: %s, %q", s, why)
	}
	task.Failed = 1
	if s, _ := task.End(false, "boom"); s != Failed {
		t.Errorf("one failure: %s", s)
	}
	if s, _ := task.End(true, "no node"); s != Expired {
		t.Errorf("a part without a node: %s", s)
	}
	task.CreatedMs, task.Terms.TotalMs = 1000, 500
	if task.DueMs() != 1500 {
		t.Errorf("due at %d, want 1500", task.DueMs())
	}
	task.Terms.DeadlineMs = 1200
	if task.DueMs() != 1200 {
		t.Errorf("due at %d, want the deadline 1200", task.DueMs())
	}
}
