package control

import (
	"bytes"
	"context"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"atoll/internal/core"
	"atoll/internal/fetch"
)

const (
	// maxReading is how many submissions of one account may have their inputs
	// fetched or read at a time: slow servers of one hold up nobody else.
	maxReading = 4
	// readingBytes bounds the inputs that are in memory at a time, of all accounts
	// together, but for those that came with the request itself.
	readingBytes = 2 * maxInput
	// readingWait is how long a submission waits for others to be done.
	readingWait = 10 * time.Second
)

// readers are the submissions whose inputs do not come with the request itself.
type readers struct {
	mu    sync.Mutex
	of    map[core.AccountID]int // guarded by mu
	bytes *semaphore.Weighted
}

func newReaders() *readers {
	return &readers{of: map[core.AccountID]int{}, bytes: semaphore.NewWeighted(readingBytes)}
}

// reading is what one submission reads. Its bytes are counted as they come: what
// a server says of their number proves nothing.
type reading struct {
	all     *readers
	account core.AccountID
	entered bool
	held    int64
}

func (r *readers) begin(a core.AccountID) *reading { return &reading{all: r, account: a} }

// enter takes one of the account's places.
func (x *reading) enter() error {
	if x.entered {
		return nil
	}
	x.all.mu.Lock()
	defer x.all.mu.Unlock()
	if x.all.of[x.account] >= maxReading {
		return core.Errorf(core.Unavailable, "%d inputs of account %s are being read already", maxReading, x.account).WithHint("try again in a moment")
	}
	x.all.of[x.account]++
	x.entered = true
	return nil
}

// take makes room for n more bytes, if others leave it in time.
func (x *reading) take(ctx context.Context, n int64) error {
	ctx, stop := context.WithTimeout(ctx, readingWait)
	defer stop()
	if err := x.all.bytes.Acquire(ctx, n); err != nil {
		return core.Errorf(core.Unavailable, "the hub is busy reading other inputs").WithHint("try again in a moment")
	}
	x.held += n
	return nil
}

// end gives all of it back.
func (x *reading) end() {
	x.all.bytes.Release(x.held)
	if !x.entered {
		return
	}
	x.all.mu.Lock()
	defer x.all.mu.Unlock()
	if x.all.of[x.account]--; x.all.of[x.account] == 0 {
		delete(x.all.of, x.account)
	}
}

// buffer keeps what is fetched, as far as there is room.
type buffer struct {
	bytes.Buffer
	ctx context.Context
	x   *reading
}

func (b *buffer) Write(p []byte) (int, error) {
	if err := b.x.take(b.ctx, int64(len(p))); err != nil {
		return 0, err
	}
	return b.Buffer.Write(p)
}

// read returns what a data pointer of the submission's account points to.
func (c *Control) read(ctx context.Context, x *reading, p fetch.Pointer, limit int64) ([]byte, error) {
	if p.Kind == fetch.Inline {
		if int64(len(p.Data)) > limit {
			return nil, core.Errorf(core.TooLarge, "the input is larger than %d bytes", int64(maxInput))
		}
		return p.Data, nil
	}
	if err := x.enter(); err != nil {
		return nil, err
	}
	if p.Kind == fetch.Blob {
		size, err := c.uploaded(ctx, x.account, p.Digest)
		if err != nil {
			return nil, err
		}
		if size > limit {
			return nil, core.Errorf(core.TooLarge, "the input is larger than %d bytes", int64(maxInput))
		}
		if err := x.take(ctx, size); err != nil {
			return nil, err
		}
		return c.readBlob(p.Digest, 0, -1)
	}
	if c.cfg.Fetch == nil {
		return nil, core.Errorf(core.Unsupported, "this hub fetches nothing").WithHint("send the data inline or upload it with POST /v1/blobs")
	}
	b := &buffer{ctx: ctx, x: x}
	if _, _, err := c.cfg.Fetch.Copy(ctx, b, p, limit); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
