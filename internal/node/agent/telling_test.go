package agent

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"atoll/internal/bus"
)

// The first piece leaves at once, what follows in few messages, none of it twice
// and none of it missing.
func TestTelling(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		var sent []bus.Progress
		tell := newTelling(func(m bus.Progress) { sent = append(sent, m) })
		go tell.run(ctx)
		a, b := tell.of(&bus.Lease{ID: 1, Progress: true}), tell.of(&bus.Lease{ID: 2, Progress: true})
		began := time.Now()
		a([]byte("on"))
		synctest.Wait()
		if len(sent) != 1 || time.Since(began) != 0 || string(sent[0].Pieces[0].Data) != "on" {
			t.Fatalf("after %s: %+v", time.Since(began), sent)
		}
		for range 100 {
			a([]byte("ce"))
			b([]byte("x"))
		}
		time.Sleep(10 * tellEvery)
		synctest.Wait()
		got := map[string]string{}
		for _, m := range sent {
			for _, p := range m.Pieces {
				if have := got[p.Lease.String()]; p.Offset != len(have) {
					t.Errorf("%s: offset %d after %d bytes", p.Lease, p.Offset, len(have))
				}
				got[p.Lease.String()] += string(p.Data)
			}
		}
		if len(sent) > 3 || got[sent[0].Pieces[0].Lease.String()] != "on"+strings.Repeat("ce", 100) || len(got) != 2 {
			t.Errorf("%d messages: %v", len(sent), got)
		}
	})
}

// What would take too much memory is left to the report, with a gap that shows.
func TestTellingIsBounded(t *testing.T) {
	t.Parallel()
	tell := newTelling(nil)
	a := tell.of(&bus.Lease{ID: 1, Progress: true})
	a([]byte("begin"))
	a(bytes.Repeat([]byte("x"), tellBytes))
	a([]byte("end"))
	m := tell.take()
	if len(m.Pieces) != 1 || string(m.Pieces[0].Data) != "begin" {
		t.Fatalf("%d pieces, %d bytes", len(m.Pieces), len(m.Pieces[0].Data))
	}
	a([]byte("!"))
	if m = tell.take(); m.Pieces[0].Offset != 5+tellBytes+3 {
		t.Errorf("%+v", m)
	}
	if tell.of(&bus.Lease{ID: 2}) != nil {
		t.Error("a lease that does not ask is told of")
	}
}
