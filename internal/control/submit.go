package control

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/dustin/go-humanize/english"

	"atoll/api"
	"atoll/internal/core"
	"atoll/internal/ledger"
	"atoll/internal/lifecycle"
	"atoll/internal/planted"
	"atoll/internal/request"
	"atoll/internal/store"
)

// Limits of one task.
const (
	maxParts      = 20_000
	maxOpenParts  = 100_000 // of one account: each is about 1 KB of the hub's memory
	maxInput      = 1 << 30
	inputInSQL    = 64 << 10 // larger inputs go to the blob store
	maxParamBytes = 64 << 10
)

// Submit stores a task and holds its budget. When it returns without error the
// task is durable. With the idempotency key of an earlier task and the same
// body it returns that task.
func (c *Control) Submit(ctx context.Context, s request.Submission) (api.SubmitReply, error) {
	ctx, span := c.cfg.Tracer.Start(ctx, "task.submit")
	defer span.End()
	in := c.newIntake(s.Account)
	defer in.release()
	t, err := c.prepare(ctx, &s, in)
	if err != nil {
		return c.submittedBefore(ctx, &s, err)
	}
	t.Traceparent = traceparent(ctx, s.Traceparent)
	if s.Preview && !t.Terms.Compared() && t.Parts == 1 { // else another could copy it
		t.preview = newPreview()
	}
	var row lifecycle.Task
	var earlier core.TaskID
	// The intake must outlive the job, so the caller may not go before it.
	err = c.job(context.WithoutCancel(ctx), func(b *batch) error {
		if s.Key != "" {
			id, body, ok := b.tx.FindIdempotency(s.Account, s.Key)
			if ok && body != s.Body {
				return keyReused(s.Key)
			}
			if ok && !planted.Dedupe {
				earlier = id
				return nil
			}
		}
		if err := b.accept(t, s.Key, s.Body); err != nil {
			return err
		}
		row = t.Task
		return nil
	})
	if err != nil {
		return api.SubmitReply{}, err
	}
	if earlier != 0 {
		have, err := c.Task(ctx, request.Viewer{Account: s.Account}, earlier)
		return api.SubmitReply{Task: have, Duplicate: true}, err
	}
	c.cfg.Metrics.Submitted.Inc()
	return api.SubmitReply{Task: viewTask(&row, nil)}, nil
}

func keyReused(key string) error {
	return core.Errorf(core.Mismatch, "the Idempotency-Key %.80q was used for another request", key).WithHint("use a new key for a new task")
}

// submittedBefore answers a submission that could not be prepared: with the task
// that its key has made before, when all was still at hand, or else with why not.
func (c *Control) submittedBefore(ctx context.Context, s *request.Submission, why error) (api.SubmitReply, error) {
	if s.Key == "" {
		return api.SubmitReply{}, why
	}
	id, body, err := c.store.Idempotency(ctx, s.Account, s.Key)
	switch {
	case errors.Is(err, store.ErrNoRow):
		return api.SubmitReply{}, why
	case err != nil:
		return api.SubmitReply{}, err
	case body != s.Body:
		return api.SubmitReply{}, keyReused(s.Key)
	}
	t, err := c.Task(ctx, request.Viewer{Account: s.Account}, id)
	return api.SubmitReply{Task: t, Duplicate: true}, err
}

// accept is the job of Submit: decide first, then change.
func (b *batch) accept(t *task, key string, body core.Digest) error {
	c := b.c
	acc := c.accounts[t.Account]
	if acc == nil {
		return core.Errorf(core.NotFound, "account %s does not exist", t.Account)
	}
	if n := c.parts[t.Account]; n+t.Parts > maxOpenParts {
		return core.Errorf(core.Throttled, "%d parts of this account's tasks have not ended; with the %d of this one they would be more than %d", n, t.Parts, maxOpenParts).WithHint("wait for some to end, or cancel tasks: atoll task list")
	}
	t.ID = core.TaskID(c.ids.Next())
	t.CreatedMs = b.now
	if due := t.DueMs(); due <= b.now {
		return core.Errorf(core.Invalid, "the deadline has passed").At("sla.deadline")
	}
	hold := ledger.Transfer{ID: core.TransferID(c.ids.Next()), Ms: b.now, Kind: ledger.Hold, Debit: t.Account, Credit: t.Account, Amount: t.Terms.MaxCost, Task: t.ID}
	st, err := ledger.Apply(ledger.State{Debit: *acc}, hold)
	if err != nil {
		var e *core.Error
		if errors.As(err, &e) {
			return e.At("budget.max_cost").WithHint("ask the operator for credit, or lower max_cost")
		}
		return err
	}
	*acc, t.escrow = st.Debit, st.Escrow
	b.touchAccount(acc)
	b.tx.PutTransfer(hold)
	if key != "" {
		t.Key = key
		b.tx.PutIdempotency(t.Account, key, t.ID, body)
	}
	b.admit(t)
	c.hold(t)
	c.stats.submitted++
	t.isNew = true
	t.State, t.Reason = lifecycle.Queued, "accepted"
	b.event(t, "task.queued", nil, nil, "%s, up to %s held", english.Plural(t.Parts, "part", ""), t.Terms.MaxCost)
	t.wait.parts = len(t.parts)
	for _, p := range t.parts {
		p.SinceMs = b.now
		b.touchPart(t, p)
		b.enqueuePart(t, p)
	}
	b.placeTask(t)
	return nil
}

// prepare does all that needs no lock: find the model, fetch and pin the input,
// cut it into parts, read the terms. It changes nothing but the intake.
func (c *Control) prepare(ctx context.Context, s *request.Submission, in *intake) (*task, error) {
	if err := c.cfg.Blobs.Room(); err != nil {
		return nil, err // what is accepted already needs the rest of the disk
	}
	spec := s.Spec
	t := &task{intake: in, batch: s.Batch}
	t.Account = s.Account
	if err := c.resolveModel(ctx, t, spec); err != nil {
		return nil, err
	}
	if err := t.readTerms(spec); err != nil {
		return nil, err
	}
	if t.callback != "" && c.cfg.Fetch != nil {
		if _, err := c.cfg.Fetch.CheckURL(t.callback); err != nil {
			return nil, at(err, "callback.url")
		}
	}
	input, pinned, err := c.pinInput(ctx, s, in.reading)
	if err != nil {
		return nil, err
	}
	cuts, err := cut(input, spec.Split)
	if s.Ends != nil {
		cuts, err = ranges(s.Ends)
	}
	if err != nil {
		return nil, err
	}
	for i, r := range cuts {
		piece := input[r[0]:r[1]]
		p := &part{Part: lifecycle.Part{Index: i, State: lifecycle.PartWaiting, Offset: int64(r[0]), Size: int64(len(piece)), Input: core.DigestOf(piece)}}
		t.parts = append(t.parts, p)
	}
	t.Parts = len(t.parts)
	if err := c.takeInput(ctx, t, spec, input); err != nil {
		return nil, err
	}
	t.spec, err = json.Marshal(thin(spec, pinned))
	return t, err
}

func at(err error, field string) error {
	if e, ok := errors.AsType[*core.Error](err); ok {
		return e.At(field)
	}
	return core.Errorf(core.Invalid, "%w", err).At(field)
}
