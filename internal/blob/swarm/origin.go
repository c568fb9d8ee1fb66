package swarm

import (
	"errors"
	"fmt"
	"time"

	"atoll/internal/blob"
)

// OriginAtOnce is how many chunks a transfer asks of the origin at a time.
const OriginAtOnce = 4

// fromOrigin asks the origin for what nobody else has.
func (t *transfer) fromOrigin(o *source) {
	buf := make([]byte, t.m.Chunk)
	for t.ctx.Err() == nil {
		n, ok, changed := t.pick(o)
		if !ok {
			pause(t.ctx, changed, nil)
			continue
		}
		off, size := t.m.Span(n)
		err := t.s.cfg.Origin.Read(t.ctx, t.digest, buf[:size], off)
		if err == nil {
			err = t.take(o, n, buf[:size])
		}
		if err != nil {
			t.missed(n, fmt.Errorf("chunk %d of %d, from the origin: %w", n, len(t.chunks), err))
		}
	}
}

// missed ends the transfer if the origin has failed and there is nobody else, or it has
// another content than it says.
func (t *transfer) missed(n int, err error) {
	t.mu.Lock()
	others, trouble := len(t.sources) > 0, t.trouble
	t.lack, t.chunks[n].asked = err, nil
	t.mu.Unlock()
	if !others || errors.Is(err, blob.ErrMismatch) {
		t.stop(errors.Join(err, trouble))
		return
	}
	select {
	case <-time.After(retryMax):
	case <-t.ctx.Done():
	}
}
