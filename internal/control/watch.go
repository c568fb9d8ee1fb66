package control

import (
	"context"

	"atoll/api"
	"atoll/internal/core"
	"atoll/internal/lifecycle"
	"atoll/internal/request"
)

// Wait returns when the task has ended or ctx is done.
func (c *Control) Wait(ctx context.Context, v request.Viewer, id core.TaskID) (api.Task, error) {
	ended := make(chan lifecycle.Task, 1)
	c.mu.Lock()
	t := c.tasks[id]
	watch := t != nil && (v.Admin || t.Account == v.Account) && !t.told
	if watch {
		t.waiters = append(t.waiters, ended)
	}
	c.mu.Unlock()
	if watch {
		select {
		case row := <-ended:
			return viewTask(&row, nil), nil
		case <-ctx.Done():
			c.unwatch(id, ended)
		case <-c.store.Stopped():
		}
		ctx = context.WithoutCancel(ctx)
	}
	return c.Task(ctx, v, id)
}

func (c *Control) unwatch(id core.TaskID, w chan lifecycle.Task) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t := c.tasks[id]; t != nil {
		for i := range t.waiters {
			if t.waiters[i] == w {
				t.waiters = append(t.waiters[:i], t.waiters[i+1:]...)
				return
			}
		}
	}
}

// Events returns a task's events after the given ID.
func (c *Control) Events(ctx context.Context, v request.Viewer, id core.TaskID, after int64) ([]api.Event, bool, <-chan struct{}, error) {
	c.mu.Lock()
	var changed <-chan struct{}
	if t := c.tasks[id]; t != nil {
		if t.changed == nil {
			t.changed = make(chan struct{})
		}
		changed = t.changed // taken before reading: nothing falls between
	}
	c.mu.Unlock()
	t, _, err := c.row(ctx, v, id)
	if err == nil {
		err = gone(t)
	}
	if err != nil {
		return nil, false, nil, err
	}
	const page = 1000
	rows, err := c.store.Events(ctx, id, after, page)
	if err != nil {
		return nil, false, nil, err
	}
	out := make([]api.Event, 0, len(rows))
	for _, e := range rows {
		x := api.Event{ID: e.ID, Time: moment(e.Ms), Type: e.Type, Lease: e.Lease, Node: e.Node, Message: e.Message}
		if e.Part >= 0 {
			x.Part = &e.Part
		}
		out = append(out, x)
		after = e.ID
	}
	if changed == nil || len(rows) >= page {
		now := make(chan struct{})
		close(now) // settled, or more to read: no need to wait
		changed = now
	}
	last := t.Ended() && after >= t.Events
	if err := c.store.Err(); err != nil && !last {
		return nil, false, nil, stopping(err)
	}
	return out, last, changed, nil
}
