package control

import (
	"context"
	"io"

	"atoll/internal/core"
	"atoll/internal/lifecycle"
	"atoll/internal/request"
)

// Result writes the results of all parts in order.
func (c *Control) Result(ctx context.Context, v request.Viewer, id core.TaskID, w io.Writer) error {
	t, _, err := c.row(ctx, v, id)
	if err == nil {
		err = gone(t)
	}
	if err != nil {
		return err
	}
	if t.State != lifecycle.Succeeded {
		hint := "ask for one part with ?part=N, or wait for the task to succeed"
		if t.Ended() {
			hint = "see why with GET /v1/tasks/" + id.String() + "/events; parts that succeeded keep their results: ask with ?part=N"
		}
		return core.Errorf(core.Conflict, "the task is %s: %s", t.State, t.Reason).WithHint(hint)
	}
	const page = 256
	for first := 0; first < t.Parts; first += page {
		parts, err := c.store.Parts(ctx, id, first, page)
		if err != nil {
			return err
		}
		for _, p := range parts {
			if err := c.writeResult(ctx, w, id, p); err != nil {
				return err
			}
		}
	}
	return nil
}

// PartResult writes the result of one part, also of a task that goes on.
func (c *Control) PartResult(ctx context.Context, v request.Viewer, id core.TaskID, part int, w io.Writer) error {
	t, _, err := c.row(ctx, v, id)
	if err == nil {
		err = gone(t)
	}
	if err != nil {
		return err
	}
	if part < 0 || part >= t.Parts {
		return core.Errorf(core.NotFound, "the task has parts 0 to %d", t.Parts-1)
	}
	parts, err := c.store.Parts(ctx, id, part, 1)
	if err != nil {
		return err
	}
	if p := parts[0]; p.State != lifecycle.PartSucceeded {
		return core.Errorf(core.Conflict, "the part is %s: %s", p.State, p.Reason)
	}
	return c.writeResult(ctx, w, id, parts[0])
}

var emptyDigest = core.DigestOf(nil)

// writeResult writes a part's result without holding a large one in memory.
func (c *Control) writeResult(ctx context.Context, w io.Writer, id core.TaskID, p *lifecycle.Part) error {
	return c.writeStored(ctx, w, id, p.Index, p.Result)
}

// writeStored writes bytes that are kept with a part's results.
func (c *Control) writeStored(ctx context.Context, w io.Writer, id core.TaskID, part int, d core.Digest) error {
	if d == emptyDigest {
		return nil
	}
	data, err := c.store.Result(ctx, id, part, d)
	switch {
	case err != nil:
		return err
	case data != nil:
		_, err = w.Write(data)
		return err
	}
	f, _, err := c.cfg.Blobs.Open(d)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(w, f)
	return err
}
