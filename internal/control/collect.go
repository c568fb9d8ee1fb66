package control

import (
	"context"
	"errors"

	"atoll/internal/core"
)

const (
	// collectBlobs bounds the content that one job takes away: the writer is held up
	// for milliseconds.
	collectBlobs = 32
	// collectLooks is how much of what is stored one round looks at, a little more at
	// most, for content that a crash or a refused submission has left: a fraction of
	// a second, however much is stored.
	collectLooks = 1 << 14
	// maxUnnamed bounds what is remembered between two rounds. The rest is come upon.
	maxUnnamed = 1 << 16
)

// unnamed remembers content that something has ceased to name, guarded by Control.mu.
// It may still be named otherwise, and it may be forgotten.
type unnamed struct{ digests []core.Digest }

func (u *unnamed) add(d ...core.Digest) {
	u.digests = append(u.digests, d[:min(len(d), maxUnnamed-len(u.digests))]...)
}

// collect removes content that nothing names any more: what has lost a name since the
// last round, and what it comes upon as it looks through the store, a stretch in each
// round. Candidates are what committed rows do not name. That is looked at again in a
// job, where nothing new can be named meanwhile; whoever is about to name content
// holds a pin until that is durable.
func (c *Control) collect(ctx context.Context) error {
	c.mu.Lock()
	candidates := c.unnamed.digests
	c.unnamed.digests = nil
	c.mu.Unlock()
	stretch, next, err := c.cfg.Blobs.DigestsFrom(c.collectFrom, collectLooks)
	if err != nil {
		return err
	}
	c.collectFrom = next
	models := c.modelDigests()
	var unused []core.Digest
	for _, d := range append(candidates, stretch...) {
		referred, err := c.store.Referred(ctx, d)
		if err != nil {
			return err
		}
		if !referred && !models[d] {
			unused = append(unused, d)
		}
	}
	for len(unused) > 0 {
		n := min(collectBlobs, len(unused))
		if err := c.discard(ctx, unused[:n]); err != nil {
			return err
		}
		unused = unused[n:]
	}
	return nil
}

// modelDigests are of all registered models, and of those that open tasks use.
func (c *Control) modelDigests() map[core.Digest]bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make(map[core.Digest]bool, len(c.models))
	for _, m := range c.models {
		out[m.Digest] = true
	}
	for _, t := range c.tasks {
		out[t.ModelDigest], out[t.Reference] = true, true
	}
	return out
}

func (c *Control) discard(ctx context.Context, unused []core.Digest) error {
	var remove []func() error
	err := c.job(context.WithoutCancel(ctx), func(b *batch) error {
		for _, d := range unused {
			if b.c.isModel(d) {
				continue
			}
			referred, err := b.tx.Referred(d)
			if err != nil {
				return err
			}
			if referred {
				continue
			}
			f, err := c.cfg.Blobs.Discard(d)
			if err != nil {
				c.log.Warn("content could not be removed", "digest", d, "error", err)
			}
			if f != nil {
				remove = append(remove, f)
			}
		}
		return nil
	})
	if err != nil {
		return err // what had named it may be there again: the next Open of the store puts it back
	}
	for _, f := range remove {
		err = errors.Join(err, f())
	}
	return err
}

func (c *Control) isModel(d core.Digest) bool {
	for _, m := range c.models {
		if m.Digest == d {
			return true
		}
	}
	return false
}
