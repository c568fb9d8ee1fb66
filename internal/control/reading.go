package control

import (
	"context"
	"sync"

	"golang.org/x/sync/semaphore"

	"atoll/internal/core"
	"atoll/internal/fetch"
	"atoll/internal/request"
)

const (
	// maxReading is how many submissions of one account may have their inputs
	// fetched or read at a time: slow servers of one hold up nobody else.
	maxReading = 4
	// readingBytes bounds the stored inputs that are in memory at a time, of all
	// accounts together.
	readingBytes = 2 * maxInput
)

// readers are the submissions whose inputs did not come with the request itself.
type readers struct {
	mu    *sync.Mutex
	of    map[core.AccountID]int // guarded by mu
	bytes *semaphore.Weighted
}

func newReaders() readers {
	return readers{mu: new(sync.Mutex), of: map[core.AccountID]int{}, bytes: semaphore.NewWeighted(readingBytes)}
}

// startReading waits until there is room for a submission's inputs. done gives it
// back.
func (c *Control) startReading(ctx context.Context, s *request.Submission) (done func(), err error) {
	r := c.reading
	r.mu.Lock()
	if r.of[s.Account] >= maxReading {
		r.mu.Unlock()
		return nil, core.Errorf(core.Unavailable, "%d inputs of account %s are being read already", maxReading, s.Account).WithHint("try again in a moment")
	}
	r.of[s.Account]++
	r.mu.Unlock()
	leave := func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.of[s.Account]--; r.of[s.Account] == 0 {
			delete(r.of, s.Account)
		}
	}
	size := c.storedBytes(ctx, s)
	if err := r.bytes.Acquire(ctx, size); err != nil {
		leave()
		return nil, core.Errorf(core.Unavailable, "the hub is busy reading other inputs").WithHint("try again in a moment")
	}
	return func() { r.bytes.Release(size); leave() }, nil
}

// storedBytes is how much of a submission's input is in the blob store, as far as
// it will be read at all.
func (c *Control) storedBytes(ctx context.Context, s *request.Submission) (sum int64) {
	for _, in := range s.Spec.Input {
		if p, err := fetch.ParsePointer(in.URI, in.Digest); err == nil && p.Kind == fetch.Blob {
			if size, err := c.uploaded(ctx, s.Account, p.Digest); err == nil {
				sum += size
			}
		}
	}
	return min(sum, maxInput)
}
