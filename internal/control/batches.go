package control

import (
	"context"
	"errors"
	"io"

	"atoll/internal/core"
	"atoll/internal/request"
	"atoll/internal/store"
)

// Batch returns what makes a task of the caller's account a batch.
func (c *Control) Batch(ctx context.Context, v request.Viewer, id core.TaskID) (request.Batch, error) {
	b, err := c.store.Batch(ctx, id)
	if errors.Is(err, store.ErrNoRow) || (err == nil && b.Account != v.Account) {
		return request.Batch{}, core.Errorf(core.NotFound, "no such batch")
	}
	if err != nil {
		return request.Batch{}, err
	}
	return *b, nil
}

// Batches lists the batches of the caller's account that are older than before,
// newest first.
func (c *Control) Batches(ctx context.Context, v request.Viewer, before core.TaskID, limit int) ([]*request.Batch, error) {
	return c.store.Batches(ctx, v.Account, before, limit)
}

// FinishBatch stores what has come of a batch whose task has ended, and makes files
// of its output and errors, which are not made if they have no bytes. What was
// stored first stays.
func (c *Control) FinishBatch(ctx context.Context, id core.TaskID, done request.BatchDone, output, failures request.File) (out request.Batch, err error) {
	err = c.job(ctx, func(b *batch) error {
		row, err := b.tx.FindBatch(id)
		if err != nil {
			return err
		}
		out = *row
		if out.Done != nil {
			return nil
		}
		t, err := b.tx.FindTask(id)
		if err != nil {
			return err
		}
		if !t.Ended() {
			return core.Errorf(core.Conflict, "%s has not ended", id)
		}
		if err := gone(t); err != nil {
			return err
		}
		put := func(f request.File) core.FileID {
			if f.Size == 0 {
				return 0
			}
			f.ID, f.Account, f.Batch, f.CreatedMs = core.FileID(c.ids.Next()), out.Account, id, b.now
			f.ExpiresMs = c.expiry(t.EndedMs, 0) // when the results go
			b.tx.PutFile(&f)
			return f.ID
		}
		done.Output, done.Errors = put(output), put(failures)
		out.Done = &done
		b.tx.PutBatch(&out)
		return nil
	})
	return out, err
}

// PartInput writes the input of one part.
func (c *Control) PartInput(ctx context.Context, v request.Viewer, id core.TaskID, part int, w io.Writer) error {
	t, _, err := c.row(ctx, v, id)
	if err == nil {
		err = gone(t)
	}
	if err != nil {
		return err
	}
	parts, err := c.store.Parts(ctx, id, part, 1)
	if err != nil {
		return err
	}
	if len(parts) == 0 || parts[0].Index != part {
		return core.Errorf(core.NotFound, "the task has parts 0 to %d", t.Parts-1)
	}
	p := parts[0]
	if !t.InputBlob.IsZero() {
		return c.copyBlob(w, t.InputBlob, p.Offset, p.Size)
	}
	input, err := c.store.TaskInput(ctx, id)
	if err != nil {
		return err
	}
	_, err = w.Write(input[p.Offset : p.Offset+p.Size])
	return err
}
