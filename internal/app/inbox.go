package app

import (
	"context"

	"golang.org/x/sync/errgroup"

	"atoll/internal/bus"
)

const (
	// inboundWorkers check nodes' signatures beside the one writer.
	inboundWorkers = 4
	inboundQueue   = 1024 // messages
)

// inbox hands on what nodes send. While all workers are busy the bus holds messages
// back, and then drops them; nodes send again.
//
// What nodes tell of results that still grow goes another way, with one worker: its
// pieces must stay in order, for after a gap nothing can be shown. Nobody sends it
// again, and nothing waits for it: what finds no room is dropped.
type inbox struct {
	handle   func(bus.Inbound)
	messages chan bus.Inbound
	progress chan bus.Inbound
}

func newInbox(handle func(bus.Inbound)) *inbox {
	return &inbox{handle: handle, messages: make(chan bus.Inbound, inboundQueue), progress: make(chan bus.Inbound, inboundQueue)}
}

// work handles messages until ctx ends.
func (in *inbox) work(ctx context.Context, g *errgroup.Group) {
	worker := func(queue <-chan bus.Inbound) func() error {
		return func() error {
			for {
				select {
				case <-ctx.Done():
					return nil
				case m := <-queue:
					in.handle(m)
				}
			}
		}
	}
	for range inboundWorkers {
		g.Go(worker(in.messages))
	}
	g.Go(worker(in.progress))
}

// put takes a message.
func (in *inbox) put(ctx context.Context, m bus.Inbound) {
	if m.Kind == bus.KindProgress {
		select {
		case in.progress <- m:
		default:
		}
		return
	}
	select {
	case in.messages <- m:
	case <-ctx.Done():
	}
}
