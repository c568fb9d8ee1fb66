package charter

import (
	"testing"
	"time"
)

// What becomes of charters that come again, late, and after the end.
func TestBook(t *testing.T) {
	t.Parallel()
	line := ID{1}
	now := time.Unix(1000, 0)
	said := func(sealed, ttl int64) *Charter { return &Charter{Line: line, SealedMs: sealed, TTLMs: ttl} }
	var b Book
	for i, step := range []struct {
		c      *Charter
		after  time.Duration
		heard  bool
		sealed int64 // of what is in force then; 0: nothing
	}{
		{c: said(10, Over), sealed: 0},
		{c: said(20, 1000), heard: true, sealed: 20},
		{c: said(20, 1000), after: 900 * time.Millisecond, sealed: 20},
		{c: said(15, 1000), sealed: 20},
		{c: said(30, 1000), heard: true, sealed: 30},
		{c: said(25, 9000), after: 999 * time.Millisecond, sealed: 30},
		{c: said(40, Over), heard: true, sealed: 40},
		{c: said(35, 1000), after: time.Millisecond, sealed: 0}, // after the end
		{c: said(50, 1000), heard: true, sealed: 50},            // the hub wants it again
	} {
		now = now.Add(step.after)
		b.Expire(now)
		if heard := b.Hear(step.c, now); heard != step.heard {
			t.Errorf("step %d: heard %t", i, heard)
		}
		sealed := int64(0)
		if c := b.Of(line, now); c != nil {
			sealed = c.SealedMs
		}
		if sealed != step.sealed || len(b.InForce(now)) != min(int(sealed), 1) {
			t.Errorf("step %d: %d is in force, want %d", i, sealed, step.sealed)
		}
	}
	if ended := b.Expire(now.Add(time.Hour)); len(ended) != 1 || ended[0] != line {
		t.Errorf("ended: %v", ended)
	}
}
