package agent

import (
	"context"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sync/singleflight"

	"atoll/internal/core"
)

// Blobs is where models are cached: blob.Store.
type Blobs interface {
	Put(ctx context.Context, r io.Reader, want core.Digest, limit int64) (core.Digest, int64, error)
	Pin(d core.Digest) (release func(), ok bool)
	Path(d core.Digest) string
}

// modelFetcher is where models come from: HubHTTP.
type modelFetcher interface {
	Model(ctx context.Context, digest core.Digest, put func(io.Reader) error) error
}

// cache gives models as local files, and fetches each once however many ask.
type cache struct {
	blobs  Blobs
	hub    modelFetcher
	life   context.Context // of the agent: a fetch outlives the lease that began it
	flight singleflight.Group
}

// get returns the path of a model's file, which stays until release is called.
func (c *cache) get(ctx context.Context, d core.Digest, size int64) (path string, release func(), err error) {
	// Twice, for the cache may be so small that the model is gone again at once.
	for range 2 {
		if release, ok := c.blobs.Pin(d); ok {
			return c.blobs.Path(d), release, nil
		}
		done := c.flight.DoChan(d.Hex(), func() (any, error) { return nil, c.fetch(d, size) })
		select {
		case r := <-done:
			if r.Err != nil {
				return "", nil, fmt.Errorf("fetch model %s: %w", d.Short(), r.Err)
			}
		case <-ctx.Done():
			return "", nil, fmt.Errorf("fetch model %s: %w", d.Short(), context.Cause(ctx))
		}
	}
	return "", nil, fmt.Errorf("model %s: %w", d.Short(), errNoRoom)
}

var errNoRoom = errors.New("this node's cache has no room to keep it")

func (c *cache) fetch(d core.Digest, size int64) error {
	return c.hub.Model(c.life, d, func(r io.Reader) error {
		_, _, err := c.blobs.Put(c.life, r, d, size)
		return err
	})
}
