package control

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"strconv"
	"strings"
	"time"

	"atoll/api"
	"atoll/internal/core"
	"atoll/internal/lifecycle"
	"atoll/internal/market"
	"atoll/internal/request"
	"atoll/internal/store"
)

// What the API shows is read from SQL, so that nobody is told what could still
// be lost. Only offers and nodes are soft state.

func (c *Control) row(ctx context.Context, v request.Viewer, id core.TaskID) (*lifecycle.Task, []byte, error) {
	t, spec, err := c.store.Task(ctx, id)
	if errors.Is(err, store.ErrNoRow) || (err == nil && !v.Admin && t.Account != v.Account) {
		return nil, nil, core.Errorf(core.NotFound, "no task %s", id)
	}
	return t, spec, err
}

// Task returns one task.
func (c *Control) Task(ctx context.Context, v request.Viewer, id core.TaskID) (api.Task, error) {
	t, spec, err := c.row(ctx, v, id)
	if err != nil {
		return api.Task{}, err
	}
	out := viewTask(t, spec)
	return out, c.explainRest(ctx, t, &out)
}

// explainRest adds the nodes that could have been used but were ranked lower.
func (c *Control) explainRest(ctx context.Context, t *lifecycle.Task, out *api.Task) error {
	if t.Parts > 64 {
		return nil
	}
	parts, err := c.store.Parts(ctx, t.ID, 0, t.Parts)
	if err != nil {
		return err
	}
	known := map[core.NodeID]bool{}
	for _, p := range parts {
		for i := range p.Leases {
			known[p.Leases[i].Node] = true
		}
	}
	kept := out.NotChosen[:0]
	for _, n := range out.NotChosen {
		if !known[n.Node] {
			kept = append(kept, n)
			known[n.Node] = true
		}
	}
	out.NotChosen = kept
	if len(parts) == 0 || len(known) == len(kept) {
		return nil // nothing was leased: the reasons above are all there is
	}
	req := market.Request{Model: t.ModelDigest, ModelSize: t.ModelSize}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, o := range c.offers {
		if !known[o.Node] && o.Up && len(out.NotChosen) < maxNotChosen {
			out.NotChosen = append(out.NotChosen, api.NotChosen{Node: o.Node, Owner: o.Owner, Reason: "could have done it; others ranked better by price, reliability and load" + toLoad(req.Start(o))})
		}
	}
	return nil
}

// Tasks lists tasks, newest first. The cursor is the last ID seen.
func (c *Control) Tasks(ctx context.Context, v request.Viewer, state string, p request.Page) ([]api.Task, string, error) {
	before := core.TaskID(math.MaxInt64)
	if p.Cursor != "" {
		var err error
		if before, err = core.ParseTaskID(p.Cursor); err != nil {
			return nil, "", badCursor(err)
		}
	}
	account := v.Account
	if v.Admin {
		account = ""
	}
	rows, err := c.store.Tasks(ctx, account, state, before, p.Limit+1)
	if err != nil {
		return nil, "", err
	}
	next := ""
	if len(rows) > p.Limit {
		rows = rows[:p.Limit]
		next = rows[p.Limit-1].ID.String()
	}
	out := make([]api.Task, 0, len(rows))
	for _, t := range rows {
		out = append(out, viewTask(t, nil))
	}
	return out, next, nil
}

func badCursor(err error) error {
	return core.Errorf(core.Invalid, "%w", err).At("cursor").WithHint("use the next value of the page before")
}

// partsPage reads the parts that a page speaks of.
func (c *Control) partsPage(ctx context.Context, v request.Viewer, id core.TaskID, p request.Page) ([]*lifecycle.Part, string, error) {
	t, _, err := c.row(ctx, v, id)
	if err != nil {
		return nil, "", err
	}
	first := 0
	if p.Cursor != "" {
		if first, err = strconv.Atoi(p.Cursor); err != nil || first < 0 {
			return nil, "", badCursor(errors.New("not a cursor of this list"))
		}
	}
	parts, err := c.store.Parts(ctx, id, first, p.Limit)
	next := ""
	if first+len(parts) < t.Parts && len(parts) > 0 {
		next = strconv.Itoa(first + len(parts))
	}
	return parts, next, err
}

// Parts lists a task's parts.
func (c *Control) Parts(ctx context.Context, v request.Viewer, id core.TaskID, p request.Page) ([]api.Part, string, error) {
	parts, next, err := c.partsPage(ctx, v, id, p)
	out := make([]api.Part, 0, len(parts))
	for _, p := range parts {
		out = append(out, api.Part{
			Index: p.Index, State: string(p.State), Reason: p.Reason, Leases: len(p.Leases),
			InputDigest: p.Input, InputSize: p.Size, ResultDigest: p.Result,
		})
	}
	return out, next, err
}

// Leases lists the leases of a page of parts.
func (c *Control) Leases(ctx context.Context, v request.Viewer, id core.TaskID, p request.Page) ([]api.Lease, string, error) {
	parts, next, err := c.partsPage(ctx, v, id, p)
	out := []api.Lease{}
	for _, p := range parts {
		for i := range p.Leases {
			out = append(out, viewLease(id, p, &p.Leases[i]))
		}
	}
	return out, next, err
}

func viewLease(id core.TaskID, p *lifecycle.Part, l *lifecycle.Lease) api.Lease {
	out := api.Lease{
		ID: l.ID, Task: id, Part: p.Index, Attempt: l.Attempt, Node: l.Node, Owner: l.Owner, State: string(l.State), Reason: l.Reason,
		Price: l.Price, Pay: l.Pay, OfferedAt: moment(l.OfferedMs),
	}
	if l.ReportedMs != 0 {
		at := moment(l.ReportedMs)
		out.ReportedAt = &at
	}
	if !p.Hidden() && l.Leaf != 0 {
		out.ResultDigest = l.Result
		out.Receipt = "/v1/receipts/" + l.ID.String()
	}
	return out
}

// Cancel ends a task. Ended tasks stay as they are.
func (c *Control) Cancel(ctx context.Context, v request.Viewer, id core.TaskID) (api.Task, error) {
	if _, _, err := c.row(ctx, v, id); err != nil {
		return api.Task{}, err
	}
	err := c.job(ctx, func(b *batch) error {
		if t := c.tasks[id]; t != nil {
			b.end(t, lifecycle.TaskCancelled, "cancelled by its owner")
		}
		return nil
	})
	if err != nil {
		return api.Task{}, err
	}
	return c.Task(ctx, v, id)
}

// Receipts lists the receipts of a page of parts, once their parts show them.
func (c *Control) Receipts(ctx context.Context, v request.Viewer, id core.TaskID, p request.Page) ([]api.ReceiptRef, string, error) {
	parts, next, err := c.partsPage(ctx, v, id, p)
	out := []api.ReceiptRef{}
	for _, p := range parts {
		if p.Hidden() {
			continue
		}
		for i := range p.Leases {
			l := &p.Leases[i]
			if l.Leaf == 0 {
				continue
			}
			ref := api.ReceiptRef{Lease: l.ID, Part: p.Index, Node: l.Node, State: string(l.State), Bundle: "/v1/receipts/" + l.ID.String(), LogIndex: l.Leaf - 1, ResultDigest: l.Result}
			if l.VerdictLeaf != 0 {
				ref.Verdict = ref.Bundle + "/verdict"
			}
			out = append(out, ref)
		}
	}
	return out, next, err
}

func moment(ms int64) time.Time { return time.UnixMilli(ms).UTC() }

func viewTask(t *lifecycle.Task, spec []byte) api.Task {
	out := api.Task{
		ID: t.ID, Account: t.Account, State: string(t.State), Reason: t.Reason, Model: t.Model, ModelDigest: t.ModelDigest, CreatedAt: moment(t.CreatedMs),
		Cost: api.Cost{Max: t.Terms.MaxCost, Paid: t.Paid, Pending: t.Pending, Refunded: t.Refunded},
	}
	waiting := 0
	if t.State == lifecycle.Placing || t.State == lifecycle.Queued {
		waiting = t.Parts - t.Succeeded - t.Failed
	}
	out.Parts = api.PartCounts{Total: t.Parts, Waiting: waiting, Running: t.Parts - t.Succeeded - t.Failed - waiting, Succeeded: t.Succeeded, Failed: t.Failed, Short: t.Short, Moved: t.Moved}
	if t.Ended() {
		at := moment(t.EndedMs)
		out.EndedAt = &at
		out.Parts.Waiting, out.Parts.Running = 0, 0
	}
	for _, n := range t.NotChosen {
		out.NotChosen = append(out.NotChosen, api.NotChosen(n))
	}
	if f := strings.Split(t.Traceparent, "-"); len(f) == 4 {
		out.TraceID = f[1]
	}
	if spec != nil {
		out.Spec = new(api.TaskSpec)
		if json.Unmarshal(spec, out.Spec) != nil {
			out.Spec = nil
		}
	}
	return out
}
