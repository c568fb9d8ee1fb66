package atoll

import (
	"bytes"
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"

	"atoll/api"
	"atoll/internal/auth"
	"atoll/internal/core"
)

// submitInput documents what submit reads by hand.
type submitInput struct {
	Key  string              `header:"Idempotency-Key" maxLength:"255" doc:"makes repeating safe: the same key with the same body is the same task, with another body it is refused"`
	Wait param[api.Duration] `query:"wait" example:"30s" doc:"answer when the task has ended, or after this time, at most 2m"`
	Body api.TaskSpec
}

type submitOutput struct {
	Location string `header:"Location"`
	Body     api.SubmitReply
}

// submit is the front door. It is on the path of every task, so it does without
// huma: body and answer share one pooled buffer.
func (s *server) submit(w http.ResponseWriter, r *http.Request, p *auth.Principal) {
	wait, err := waitOf(r.URL.RawQuery)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	buf := buffers.Get().(*bytes.Buffer)
	defer putBuffer(buf)
	sub, err := s.submission(w, r, p, buf)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	reply, err := s.hub.Submit(r.Context(), sub)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	status := http.StatusAccepted
	if wait > 0 {
		s.await(r.Context(), viewerOf(p), wait, &reply)
		if reply.Ended() {
			status = http.StatusOK
		}
	}
	buf.Reset()
	if err := json.MarshalWrite(buf, &reply, wire); err != nil {
		s.fail(w, r, err)
		return
	}
	h := w.Header()
	h["Content-Type"] = jsonType
	h["Content-Length"] = []string{strconv.Itoa(buf.Len())}
	h["Location"] = []string{"/v1/tasks/" + reply.ID.String()}
	w.WriteHeader(status)
	_, _ = w.Write(buf.Bytes()) // fails only when the client has gone
}

// submission reads and checks the request. Nothing in it refers to buf.
func (s *server) submission(w http.ResponseWriter, r *http.Request, p *auth.Principal, buf *bytes.Buffer) (Submission, error) {
	key, err := idempotencyKey(r.Header)
	if err != nil {
		return Submission{}, err
	}
	if err := s.readBody(w, r, buf, s.cfg.MaxBody); err != nil {
		return Submission{}, err
	}
	spec, err := api.DecodeTaskSpec(buf.Bytes())
	if err != nil {
		return Submission{}, err
	}
	if err := spec.Validate(); err != nil {
		return Submission{}, err
	}
	full := spec.WithDefaults()
	return Submission{
		Account: p.Account, Key: key, Body: core.DigestOf(buf.Bytes()), Spec: &full, Traceparent: r.Header.Get("Traceparent"),
	}, nil
}

// await waits for the task's end and puts what it is then into reply. The task
// is accepted already: if waiting fails, that is what the answer says.
func (s *server) await(ctx context.Context, v Viewer, wait time.Duration, reply *api.SubmitReply) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	t, err := s.hub.Wait(ctx, v, reply.ID)
	if err != nil {
		s.cfg.Log.DebugContext(ctx, "waiting for a task failed", "task", reply.ID, "err", err)
		return
	}
	reply.Task = t
}

func waitOf(query string) (time.Duration, error) {
	if query == "" {
		return 0, nil
	}
	q, err := url.ParseQuery(query)
	if err != nil {
		return 0, core.Errorf(core.Invalid, "the query cannot be read")
	}
	for k := range q {
		if k != "wait" {
			return 0, core.Errorf(core.Invalid, "there is no such query parameter").At(core.Clip(k, 100)).WithHint("submit-task knows wait")
		}
	}
	var d api.Duration
	if err := d.UnmarshalText([]byte(q.Get("wait"))); err != nil {
		return 0, core.Errorf(core.Invalid, "%w", err).At("wait")
	}
	if d.Std() > maxWait {
		return 0, core.Errorf(core.Invalid, "%s: want at most %s", d.Std(), maxWait).At("wait").WithHint("follow GET /v1/tasks/{id}/events for longer")
	}
	return d.Std(), nil
}

// idempotencyKey returns the header's value; empty means none was sent.
func idempotencyKey(h http.Header) (string, error) {
	v := h["Idempotency-Key"]
	if len(v) == 0 {
		return "", nil
	}
	bad := len(v) > 1 || v[0] == "" || len(v[0]) > maxIdempotent
	for i := 0; !bad && i < len(v[0]); i++ {
		bad = v[0][i] < ' ' || v[0][i] > '~'
	}
	if bad {
		return "", core.Errorf(core.Invalid, "want 1 to %d printable ASCII characters, once", maxIdempotent).At("Idempotency-Key")
	}
	return v[0], nil
}
