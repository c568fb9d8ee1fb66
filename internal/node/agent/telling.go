package agent

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"time"

	"atoll/internal/bus"
	"atoll/internal/core"
)

const (
	// tellEvery is the pause between two messages about growing results. The first
	// piece of a result that comes after a pause waits for nothing.
	tellEvery = 20 * time.Millisecond
	// tellBytes bounds what waits to be told; what comes on top is left to the
	// report.
	tellBytes = 1 << 20
)

// telling sends the beginnings of results to hubs that ask for them, many pieces in
// one message. It is not the Core's: nothing of it is promised.
type telling struct {
	send func(bus.Progress)
	wake chan struct{} // holds at most one: there is something to send

	mu     sync.Mutex
	pieces map[core.LeaseID]*bus.Piece // to be sent
	bytes  int                         // of them all
}

func newTelling(send func(bus.Progress)) *telling {
	return &telling{send: send, wake: make(chan struct{}, 1), pieces: map[core.LeaseID]*bus.Piece{}}
}

// of returns what a lease's engine is to tell, or nil if the hub does not ask.
func (t *telling) of(l *bus.Lease) func(more []byte) {
	if !l.Progress {
		return nil
	}
	id, offset := l.ID, 0
	return func(more []byte) {
		t.add(id, offset, more)
		offset += len(more)
	}
}

func (t *telling) add(id core.LeaseID, offset int, more []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.pieces[id]
	if t.bytes+len(more) > tellBytes || (p != nil && p.Offset+len(p.Data) != offset) {
		return
	}
	if p == nil {
		p = &bus.Piece{Lease: id, Offset: offset}
		t.pieces[id] = p
	}
	p.Data = append(p.Data, more...)
	t.bytes += len(more)
	select {
	case t.wake <- struct{}{}:
	default: // is known already
	}
}

func (t *telling) take() (m bus.Progress) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, p := range t.pieces {
		m.Pieces = append(m.Pieces, *p)
	}
	clear(t.pieces)
	t.bytes = 0
	return m
}

// run sends until ctx ends.
func (t *telling) run(ctx context.Context) {
	pause := time.NewTimer(tellEvery)
	defer pause.Stop()
	for {
		select {
		case <-t.wake:
		case <-ctx.Done():
			return
		}
		t.send(t.take())
		pause.Reset(tellEvery)
		select {
		case <-pause.C:
		case <-ctx.Done():
			return
		}
	}
}

func (a *Agent) sendProgress(m bus.Progress) {
	data, err := json.Marshal(m)
	if err == nil {
		err = a.link.Send(bus.KindProgress, data, "")
	}
	if err != nil && !errors.Is(err, bus.ErrDisconnected) && !errors.Is(err, bus.ErrClosed) {
		a.cfg.Log.Warn("progress not sent", "bytes", len(data), "error", err)
	}
}
