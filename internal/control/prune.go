package control

import (
	"context"
	"errors"
	"time"

	"atoll/internal/core"
	"atoll/internal/lifecycle"
	"atoll/internal/store"
)

const (
	pruneEvery = 15 * time.Minute
	// pruneRows bounds the rows that one job deletes, pruneBlobs the content that
	// one job takes away: the writer is held up for milliseconds.
	pruneRows  = 256
	pruneBlobs = 32
	pruneTasks = 64 // read at a time
)

// Prune deletes what has been kept for the retention: inputs, results, events
// and idempotency keys of ended tasks, and uploads that nobody has used; and files
// whose own time is over. What is evidence stays. Each step is a job of its own, and SQL goes first: a crash
// leaves content that nothing refers to, which the next Prune finds.
func (c *Control) Prune(ctx context.Context) error {
	err := c.pruneFiles(ctx)
	if c.cfg.Retention > 0 {
		cutoff := c.now().Add(-c.cfg.Retention).UnixMilli()
		err = errors.Join(err, c.pruneTasks(ctx, cutoff), c.pruneUploads(ctx, cutoff))
	}
	if err != nil {
		return err
	}
	return c.collect(ctx)
}

func (c *Control) pruneTasks(ctx context.Context, cutoff int64) error {
	for {
		tasks, err := c.store.Prunable(ctx, cutoff, pruneTasks)
		if err != nil || len(tasks) == 0 {
			return err
		}
		for _, t := range tasks {
			for done := false; !done; {
				err := c.job(ctx, func(b *batch) (err error) {
					done, err = b.pruneTask(t.ID)
					return err
				})
				if err != nil {
					return err
				}
			}
		}
	}
}

// pruneTask is one step. The first one says that the task is pruned, so that
// nobody is shown half of what there was, and gives its room back.
func (b *batch) pruneTask(id core.TaskID) (done bool, err error) {
	t, err := b.tx.FindTask(id)
	if err != nil {
		return false, err
	}
	if t.PrunedMs == 0 {
		t.PrunedMs = b.now
		b.charge(t.Account, -t.Bytes)
		t.Bytes = 0
		b.tx.UpdateTask(t)
	}
	return b.tx.PruneTask(t, pruneRows), nil
}

// pruneUploads forgets uploads that are neither models nor used of late.
func (c *Control) pruneUploads(ctx context.Context, cutoff int64) error {
	models := c.modelDigests()
	for last := (store.Upload{}); ; {
		old, err := c.store.OldUploads(ctx, cutoff, last, pruneRows)
		if err != nil || len(old) == 0 {
			return err
		}
		last = old[len(old)-1]
		err = c.job(ctx, func(b *batch) error {
			for _, u := range old {
				if models[u.Digest] || !b.tx.DeleteUpload(u) {
					continue
				}
				if _, err := core.ParseLeaseID(string(u.Account)); err != nil { // results are charged to their task
					b.charge(u.Account, -u.Size)
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
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
		out[t.ModelDigest] = true
	}
	return out
}

// collect removes content to which nothing refers any more. Candidates are what
// committed rows do not name. That is looked at again in a job, where nothing new
// can be referred to meanwhile; whoever is about to refer to content holds a pin
// until that is durable.
func (c *Control) collect(ctx context.Context) error {
	models := c.modelDigests()
	var unused []core.Digest
	for _, d := range c.cfg.Blobs.Digests() {
		referred, err := c.store.Referred(ctx, d)
		if err != nil {
			return err
		}
		if !referred && !models[d] {
			unused = append(unused, d)
		}
	}
	for len(unused) > 0 {
		n := min(pruneBlobs, len(unused))
		if err := c.discard(ctx, unused[:n]); err != nil {
			return err
		}
		unused = unused[n:]
	}
	return nil
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

// gone says that a task's data are no longer kept.
func gone(t *lifecycle.Task) error {
	if t.PrunedMs == 0 {
		return nil
	}
	return core.Errorf(core.Gone, "input, result and events of the task were pruned at %s", moment(t.PrunedMs).Format(time.RFC3339)).
		WithHint("its receipts and its entries in the ledger stay")
}
