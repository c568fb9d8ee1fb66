package openai

import (
	"context"
	"math"
	"strings"
	"time"

	"atoll/api"
	"atoll/internal/core"
	"atoll/internal/httpapi/atoll"
	"atoll/internal/openaiwire"
	"atoll/internal/request"
)

const (
	maxBatchBody = 64 << 10
	// batchesAtOnce is how many batches are read or counted at a time: an input may
	// take some hundred MB of memory for a few seconds. Others wait so long.
	batchesAtOnce = 2
	batchWait     = 10 * time.Second
	// batchExecution bounds each part's time on a node, unless the batch says so
	// itself: a part has several requests, and slow machines are welcome.
	batchExecution = api.Duration(time.Hour)
	defaultEach    = 16 // requests of a part
	maxMetadata    = 16 // entries, each of 64 and 512 bytes
)

// batchTerms is the field "atoll" of a batch: how its task is to be done.
type batchTerms struct {
	api.Terms
	// Split says how many requests a part has.
	Split *api.Split `json:"split,omitempty"`
}

// createBatch is POST /v1/batches. All that can be wrong with a batch is told here;
// later its requests fail one by one.
func (s *server) createBatch(x *atoll.Exchange) error {
	body, err := x.JSON(maxBatchBody)
	if err != nil {
		return err
	}
	key, err := x.IdempotencyKey()
	if err != nil {
		return err
	}
	var r openaiwire.BatchRequest
	if err := api.Decode(body, &r); err != nil {
		return err
	}
	b, terms, err := readBatchRequest(&r)
	if err != nil {
		return err
	}
	done, err := s.enter(x.R.Context())
	if err != nil {
		return err
	}
	defer done()
	in, err := s.readInput(x, b)
	if err != nil {
		return err
	}
	spec, err := s.batchSpec(x.R.Context(), b, in, terms)
	if err != nil {
		return err
	}
	answer, err := s.hub.Submit(x.R.Context(), request.Submission{
		Account: x.Principal.Account, Key: key, Body: bodyDigest(x, body), Spec: spec, Traceparent: x.R.Header.Get("Traceparent"),
		Input: in.data, Ends: in.parts(b.Each), Batch: b,
	})
	if err != nil {
		return ofTask(err)
	}
	x.W.Header()["Atoll-Task"] = []string{answer.ID.String()}
	return s.replyBatch(x, answer.ID)
}

// readBatchRequest checks what does not depend on the input.
func readBatchRequest(r *openaiwire.BatchRequest) (*request.Batch, *batchTerms, error) {
	for name := range r.Extra {
		if name != ownField {
			return nil, nil, invalid(core.Clip(name, 100), "there is no such field")
		}
	}
	terms := new(batchTerms)
	if raw, ok := r.Extra[ownField]; ok && raw.Kind() != 'n' {
		if err := api.Decode(raw, terms); err != nil {
			return nil, nil, within(ownField, err)
		}
	}
	b := &request.Batch{Endpoint: r.Endpoint, Window: r.CompletionWindow, Metadata: r.Metadata, Each: defaultEach}
	if s := terms.Split; s != nil {
		if b.Each = s.Lines; b.Each < 1 || b.Each > maxEach {
			return nil, nil, invalid(ownField+".split.lines", "want 1 to %d requests for each part", maxEach)
		}
	}
	var err error
	if b.Input, err = core.ParseFileID(r.InputFileID); err != nil {
		return nil, nil, invalid("input_file_id", "want the ID of a file")
	}
	if endpoints[b.Endpoint] == nil {
		return nil, nil, invalid("endpoint", "want /v1/chat/completions, /v1/completions or /v1/embeddings")
	}
	if _, err := window(b); err != nil {
		return nil, nil, err
	}
	if len(b.Metadata) > maxMetadata {
		return nil, nil, invalid("metadata", "want at most %d entries", maxMetadata)
	}
	for k, v := range b.Metadata {
		if len(k) > 64 || len(v) > 512 {
			return nil, nil, invalid("metadata", "want keys of at most 64 bytes and values of at most 512")
		}
	}
	return b, terms, nil
}

// window is how long a batch may take. OpenAI's API knows 24h alone.
func window(b *request.Batch) (time.Duration, error) {
	d, err := time.ParseDuration(b.Window)
	if err != nil || d < time.Minute || d > api.MaxTotal {
		return 0, invalid("completion_window", "want 24h, or another time from 1m to %s", api.MaxTotal)
	}
	return d, nil
}

// batchSpec is the task that does the batch. A request that is refused does not keep
// those in its part from their answers, unless that is asked for.
func (s *server) batchSpec(ctx context.Context, b *request.Batch, in *batchInput, terms *batchTerms) (*api.TaskSpec, error) {
	model, all, err := s.resolve(ctx, in.model, terms.Terms)
	if err != nil {
		return nil, err
	}
	all = api.Terms{Params: endpoints[b.Endpoint].params()}.Or(all)
	if terms.Timeout == nil { // a service's is for a single request
		d, err := window(b)
		if err != nil {
			return nil, err
		}
		all.Timeout = &api.Timeout{Queue: api.Duration(min(d, api.MaxPhase)), Execution: min(batchExecution, api.Duration(d)), Total: api.Duration(d)}
	}
	return fullSpec(all.Spec(model, api.DataPointer{URI: "data:,"}))
}

// enter waits for its turn to hold a batch in memory.
func (s *server) enter(ctx context.Context) (done func(), err error) {
	ctx, stop := context.WithTimeout(ctx, batchWait)
	defer stop()
	if err := s.batches.Acquire(ctx, 1); err != nil {
		return nil, core.Errorf(core.Unavailable, "the hub is busy reading other batches").WithHint("try again in a moment")
	}
	return func() { s.batches.Release(1) }, nil
}

// batchPrefix stands in place of a task ID's own in the ID of a batch.
const (
	batchPrefix = "batch_"
	taskPrefix  = "task_"
)

func batchID(t core.TaskID) string { return batchPrefix + strings.TrimPrefix(t.String(), taskPrefix) }

func parseBatchID(text string) (core.TaskID, error) {
	rest, ok := strings.CutPrefix(text, batchPrefix)
	id, err := core.ParseTaskID(taskPrefix + rest)
	if !ok || err != nil {
		return 0, core.Errorf(core.NotFound, "no batch %.40q", text)
	}
	return id, nil
}

// getBatch is GET /v1/batches/{id}.
func (s *server) getBatch(x *atoll.Exchange) error {
	id, err := parseBatchID(x.R.PathValue("id"))
	if err != nil {
		return err
	}
	return s.replyBatch(x, id)
}

// cancelBatch is POST /v1/batches/{id}/cancel. What has been done stays.
func (s *server) cancelBatch(x *atoll.Exchange) error {
	id, err := parseBatchID(x.R.PathValue("id"))
	if err != nil {
		return err
	}
	if _, err := s.hub.Batch(x.R.Context(), x.Viewer(), id); err != nil {
		return err
	}
	if _, err := s.hub.Cancel(x.R.Context(), x.Viewer(), id); err != nil {
		return err
	}
	return s.replyBatch(x, id)
}

// listBatches is GET /v1/batches.
func (s *server) listBatches(x *atoll.Exchange) error {
	limit, before := 20, core.TaskID(math.MaxInt64)
	err := readQuery(x.R.URL, map[string]func(string) error{
		"limit": func(v string) (err error) { limit, err = readLimit(v, 100); return err },
		"after": func(v string) (err error) {
			if before, err = parseBatchID(v); err != nil {
				return invalid("after", "want the ID of a batch")
			}
			return nil
		},
	})
	if err != nil {
		return err
	}
	rows, err := s.hub.Batches(x.R.Context(), x.Viewer(), before, limit+1)
	if err != nil {
		return err
	}
	views := make([]*openaiwire.Batch, len(rows))
	for i, b := range rows[:min(limit, len(rows))] {
		if views[i], err = s.viewBatch(x, b); err != nil {
			return err
		}
	}
	same := func(b *openaiwire.Batch) *openaiwire.Batch { return b }
	return reply(x, pageOf(views, limit, same, func(b *openaiwire.Batch) string { return b.ID }))
}

func (s *server) replyBatch(x *atoll.Exchange, id core.TaskID) error {
	b, err := s.hub.Batch(x.R.Context(), x.Viewer(), id)
	if err != nil {
		return err
	}
	view, err := s.viewBatch(x, &b)
	if err != nil {
		return err
	}
	return reply(x, view)
}

// viewBatch says how far a batch is. Whoever looks at it first after its end has
// what came of it counted.
func (s *server) viewBatch(x *atoll.Exchange, b *request.Batch) (*openaiwire.Batch, error) {
	t, err := s.hub.Task(x.R.Context(), x.Viewer(), b.Task)
	if err != nil {
		return nil, err
	}
	if t.Ended() && b.Done == nil {
		counted, err := s.finishBatch(x, b, &t)
		switch {
		case err == nil:
			b = counted
		case core.KindOf(err) != core.Gone:
			return nil, err
		}
	}
	out := &openaiwire.Batch{
		ID: batchID(b.Task), Object: openaiwire.ObjectBatch, Endpoint: b.Endpoint, Model: t.Model, InputFileID: b.Input.String(), CompletionWindow: b.Window,
		Status: "in_progress", CreatedAt: t.CreatedAt.Unix(), InProgressAt: t.CreatedAt.Unix(), ExpiresAt: t.CreatedAt.Unix(), Metadata: b.Metadata,
		RequestCounts: openaiwire.RequestCounts{Total: b.Requests, Completed: min(b.Requests, t.Parts.Succeeded*b.Each), Failed: min(b.Requests, t.Parts.Failed*b.Each)},
	}
	if d, err := window(b); err == nil {
		out.ExpiresAt = t.CreatedAt.Add(d).Unix()
	}
	if t.Ended() {
		at := new(t.EndedAt.Unix())
		switch t.State {
		case "expired":
			out.Status, out.ExpiredAt = "expired", at
		case "cancelled":
			out.Status, out.CancelledAt = "cancelled", at
		default: // also if some or all requests have failed, as in OpenAI's API
			out.Status, out.CompletedAt = "completed", at
		}
	}
	if d := b.Done; d != nil {
		out.RequestCounts.Completed, out.RequestCounts.Failed = d.Completed, d.Failed
		out.OutputFileID, out.ErrorFileID = fileRef(d.Output), fileRef(d.Errors)
	}
	return out, nil
}

func fileRef(id core.FileID) *string {
	if id == 0 {
		return nil
	}
	return new(id.String())
}
