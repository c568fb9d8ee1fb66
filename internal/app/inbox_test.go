package app

import (
	"context"
	"testing"

	"golang.org/x/sync/errgroup"

	"atoll/internal/bus"
)

// Progress is handled in the order in which it came, also while all workers are
// held up by reports; what is too much of it is dropped and holds up nobody.
func TestProgressStaysInOrder(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithCancel(t.Context())
	release, seen := make(chan struct{}), make(chan byte, inboundQueue)
	in := newInbox(func(m bus.Inbound) {
		if m.Kind == bus.KindReport {
			<-release
			return
		}
		seen <- m.Data[0]
	})
	var g errgroup.Group
	in.work(ctx, &g)
	for range inboundWorkers {
		in.put(ctx, bus.Inbound{Kind: bus.KindReport})
	}
	for i := range 200 {
		in.put(ctx, bus.Inbound{Kind: bus.KindProgress, Data: []byte{byte(i)}})
	}
	for i := range 200 {
		if got := <-seen; got != byte(i) {
			t.Fatalf("message %d comes in the place of %d", got, i)
		}
	}
	for range 4 * inboundQueue { // seen has room for a quarter of them
		in.put(ctx, bus.Inbound{Kind: bus.KindProgress, Data: []byte{0}})
	}
	close(release)
	stop()
	done := make(chan error, 1)
	go func() { done <- g.Wait() }()
	for {
		select {
		case <-seen:
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
			return
		}
	}
}
