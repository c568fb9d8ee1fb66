package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/dustin/go-humanize/english"
	"k8s.io/apimachinery/pkg/api/resource"

	"atoll/api"
	"atoll/internal/core"
	"atoll/internal/fetch"
	"atoll/internal/ledger"
	"atoll/internal/lifecycle"
	"atoll/internal/market"
	"atoll/internal/planted"
	"atoll/internal/policy"
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

// takeInput decides where the input is kept and at whose charge. What is an upload
// already is kept, and charged, once.
func (c *Control) takeInput(ctx context.Context, t *task, spec *api.TaskSpec, input []byte) (err error) {
	large := len(input) > inputInSQL
	if !large {
		t.input = input
	}
	if len(spec.Input) == 1 && strings.HasPrefix(spec.Input[0].URI, "blob:") {
		d := core.DigestOf(input)
		if err := t.intake.use(c, d, int64(len(input))); err != nil || !large {
			return err
		}
		t.InputBlob = d
		return nil
	}
	if large {
		t.InputBlob, err = t.intake.store(ctx, c, input)
		return err
	}
	return t.intake.claim.add(int64(len(input)))
}

// thin returns the specification as it is kept: with digests in place of the
// inline data that the task's input column already holds.
func thin(spec *api.TaskSpec, pinned []core.Digest) *api.TaskSpec {
	kept := *spec
	kept.Input = slices.Clone(spec.Input)
	for i := range kept.Input {
		kept.Input[i].Digest = pinned[i]
		if strings.HasPrefix(kept.Input[i].URI, "data:") {
			kept.Input[i].URI = "data:"
		}
	}
	return &kept
}

// pinInput fetches every data pointer once and joins them. Their digests are
// what nodes are held to: a URL that changes later frames nobody.
func (c *Control) pinInput(ctx context.Context, s *request.Submission, x *reading) (joined []byte, digests []core.Digest, err error) {
	if s.Input != nil {
		return s.Input, []core.Digest{core.DigestOf(s.Input)}, nil
	}
	for i, in := range s.Spec.Input {
		field := fmt.Sprintf("input[%d]", i)
		p, err := fetch.ParsePointer(in.URI, in.Digest)
		if err != nil {
			return nil, nil, at(err, field+".uri")
		}
		data, err := c.read(ctx, x, p, maxInput-int64(len(joined)))
		if err != nil {
			return nil, nil, at(err, field)
		}
		d := core.DigestOf(data)
		if !in.Digest.IsZero() && d != in.Digest {
			return nil, nil, core.Errorf(core.Invalid, "the data has digest %s, not %s", d, in.Digest).At(field + ".digest")
		}
		digests = append(digests, d)
		if joined == nil {
			joined = data
		} else {
			joined = append(joined, data...)
		}
	}
	return joined, digests, nil
}

func at(err error, field string) error {
	if e, ok := errors.AsType[*core.Error](err); ok {
		return e.At(field)
	}
	return core.Errorf(core.Invalid, "%w", err).At(field)
}

// cut returns the byte ranges of the parts. Blank lines do not count, and go with
// the part before them: none is left without work.
func cut(input []byte, split *api.Split) ([][2]int, error) {
	if split == nil {
		return [][2]int{{0, len(input)}}, nil
	}
	var cuts [][2]int
	start, end, lines := 0, 0, 0
	for line := range bytes.Lines(input) {
		blank := len(bytes.TrimSpace(line)) == 0
		if !blank && lines == split.Lines {
			if cuts = append(cuts, [2]int{start, end}); len(cuts) == maxParts {
				return nil, core.Errorf(core.TooLarge, "the input would be cut into more than %d parts", maxParts).At("split.lines").WithHint("put more lines into each part")
			}
			start, lines = end, 0
		}
		if end += len(line); !blank {
			lines++
		}
	}
	if lines == 0 {
		return nil, core.Errorf(core.Invalid, "the input has no line that is not blank, there is nothing to split").At("split")
	}
	return append(cuts, [2]int{start, end}), nil
}

// ranges are the parts that end at the given places.
func ranges(ends []int64) ([][2]int, error) {
	if len(ends) > maxParts {
		return nil, core.Errorf(core.TooLarge, "%d parts, at most %d", len(ends), maxParts)
	}
	out, start := make([][2]int, len(ends)), 0
	for i, end := range ends {
		out[i], start = [2]int{start, int(end)}, int(end)
	}
	return out, nil
}

// readTerms turns the validated specification into terms and a market request.
func (t *task) readTerms(spec *api.TaskSpec) error {
	res, err := policy.Parse(spec.Residency)
	if err != nil {
		return at(err, "residency")
	}
	t.Residency = res.Resolved()
	t.req = market.Request{Account: t.Account, Engine: t.Engine, Model: t.ModelDigest, ModelSize: t.ModelSize, Upstream: t.Upstream, Residency: res}
	t.Terms = lifecycle.Terms{
		QueueMs: spec.Timeout.Queue.Std().Milliseconds(), ExecutionMs: spec.Timeout.Execution.Std().Milliseconds(), TotalMs: spec.Timeout.Total.Std().Milliseconds(),
		MaxAttempts: spec.Retry.MaxAttempts, LostAfterMs: spec.Disconnect.LostAfter.Std().Milliseconds(), Replace: *spec.Disconnect.Replace,
		Method: lifecycle.Method(spec.Verification.Method), Replicas: spec.Verification.Replicas, Agree: spec.Verification.Agree, MaxCost: spec.Budget.MaxCost,
		Rate: spec.Verification.RatePPM(), Span: spec.Verification.Span, Nonce: spec.Verification.Nonce,
	}
	t.req.Distinct = t.Terms.Compared()
	if sla := spec.SLA; sla != nil {
		t.Terms.LatencyMs = sla.Latency.Std().Milliseconds()
		if sla.Deadline != nil {
			t.Terms.DeadlineMs = sla.Deadline.UnixMilli()
		}
		if t.Terms.PenaltyPerMille, err = sla.PenaltyPerMille(); err != nil {
			return at(err, "sla.penalty")
		}
		t.req.MinReliability = sla.MinReliability
	}
	if spec.Callback != nil {
		t.callback = spec.Callback.URL
	}
	if pl := spec.Placement; pl != nil {
		t.req.Regions = pl.Regions
		t.req.Distinct = t.req.Distinct || pl.Spread == "owner"
		if t.req.Selector, err = policy.ParseSelector(pl.Selector); err != nil {
			return at(err, "placement.selector")
		}
	}
	if err := t.readResources(spec.Resources); err != nil {
		return err
	}
	return t.readParams(spec.Params)
}

func (t *task) readResources(r *api.Resources) error {
	if r == nil {
		return nil
	}
	quantity := func(s, field string, milli bool) (int64, error) {
		if s == "" {
			return 0, nil
		}
		q, err := resource.ParseQuantity(s)
		if err != nil || q.Sign() < 0 {
			return 0, core.Errorf(core.Invalid, "%q is not a quantity such as 500m or 512Mi", s).At(field)
		}
		if milli {
			return q.MilliValue(), nil
		}
		return q.Value(), nil
	}
	var err1, err2, err3 error
	t.req.CPUMillis, err1 = quantity(r.CPU, "resources.cpu", true)
	t.req.Memory, err2 = quantity(r.Memory, "resources.memory", false)
	if g := r.GPU; g != nil {
		t.req.GPUs, t.req.GPUType = g.Count, g.Type
		t.req.GPUMemory, err3 = quantity(g.Memory, "resources.gpu.memory", false)
	}
	return errors.Join(err1, err2, err3)
}

// readParams turns JSON parameters into the strings that engines take: a JSON
// string becomes its content, anything else its compact JSON.
func (t *task) readParams(params map[string]json.RawMessage) error {
	if len(params) == 0 {
		t.paramsID = core.DigestOf([]byte("{}"))
		return nil
	}
	t.params = make(map[string]string, len(params))
	size := 0
	for k, raw := range params {
		var s string
		if json.Unmarshal(raw, &s) != nil {
			var buf bytes.Buffer
			if err := json.Compact(&buf, raw); err != nil {
				return core.Errorf(core.Invalid, "not JSON").At("params." + k)
			}
			s = buf.String()
		}
		t.params[k] = s
		size += len(k) + len(s)
	}
	if size > maxParamBytes {
		return core.Errorf(core.TooLarge, "parameters take %d bytes, at most %d", size, maxParamBytes).At("params")
	}
	canonical, err := json.Marshal(t.params) // sorted keys
	t.paramsID = core.DigestOf(canonical)
	return err
}

// seed makes a placement's randomness a function of what is placed.
func seed(t *task, p *part) uint64 {
	return uint64(t.ID)*0x9e3779b97f4a7c15 ^ uint64(p.Index)<<20 ^ uint64(len(p.Leases))
}

// openInput returns the bytes of a part's input.
func (c *Control) openInput(t *task, p *part) ([]byte, error) {
	if t.InputBlob.IsZero() {
		if int64(len(t.input)) < p.Offset+p.Size {
			return nil, fmt.Errorf("input of %s is not in memory", t.ID)
		}
		return t.input[p.Offset : p.Offset+p.Size], nil
	}
	return c.readBlob(t.InputBlob, p.Offset, p.Size)
}
