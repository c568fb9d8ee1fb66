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
	// pruneRows bounds the rows that one job deletes: the writer is held up for
	// milliseconds.
	pruneRows  = 256
	pruneTasks = 64 // read at a time
)

// Prune deletes what has been kept for the retention: inputs, results, events
// and idempotency keys of ended tasks, callbacks that are delivered or given up, and
// uploads that nobody has used; and files whose own time is over. What is evidence
// stays. Each step is a job of its own, and SQL goes first: a crash leaves content
// that nothing names, which collect comes upon.
func (c *Control) Prune(ctx context.Context) error {
	err := c.pruneFiles(ctx)
	if c.cfg.Retention > 0 {
		cutoff := c.now().Add(-c.cfg.Retention).UnixMilli()
		err = errors.Join(err, c.pruneTasks(ctx, cutoff), c.pruneCallbacks(ctx, cutoff), c.pruneUploads(ctx, cutoff))
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
	done, unnamed := b.tx.PruneTask(t, pruneRows)
	b.c.unnamed.add(unnamed...)
	return done, nil
}

func (c *Control) pruneCallbacks(ctx context.Context, cutoff int64) error {
	before := core.FirstIDAt(moment(cutoff))
	for n := int64(pruneRows); n == pruneRows; {
		err := c.job(ctx, func(b *batch) error {
			n = b.tx.PruneCallbacks(before, pruneRows)
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
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
				b.c.unnamed.add(u.Digest)
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

// gone says that a task's data are no longer kept.
func gone(t *lifecycle.Task) error {
	if t.PrunedMs == 0 {
		return nil
	}
	return core.Errorf(core.Gone, "input, result and events of the task were pruned at %s", moment(t.PrunedMs).Format(time.RFC3339)).
		WithHint("its receipts and its entries in the ledger stay")
}
