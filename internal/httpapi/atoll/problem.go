package atoll

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-json-experiment/json"
	jsonv1 "github.com/go-json-experiment/json/v1"

	"atoll/api"
	"atoll/internal/core"
)

const (
	// maxDetail bounds each text of a problem, in bytes. Some hold what the caller
	// sent, which need not even be UTF-8.
	maxDetail   = 2000
	problemType = "application/problem+json"
	problemURN  = "urn:atoll:problem:"
)

// wire is how all answers are written: empty lists as [], and omitempty as
// the standard library means it.
var wire = json.JoinOptions(jsonv1.OmitEmptyWithLegacySemantics(true))

// statuses and titles of core's kinds. See the package comment for the choice.
var kinds = map[core.Kind]struct {
	status int
	title  string
}{
	core.Invalid:      {http.StatusBadRequest, "The request is not valid"},
	core.Unauthorized: {http.StatusUnauthorized, "Who are you?"},
	core.Forbidden:    {http.StatusForbidden, "Not allowed"},
	core.NotFound:     {http.StatusNotFound, "Not found"},
	core.Gone:         {http.StatusGone, "Kept no more"},
	core.Conflict:     {http.StatusConflict, "Not possible in this state"},
	core.Mismatch:     {http.StatusUnprocessableEntity, "The Idempotency-Key belongs to another request"},
	core.Unsupported:  {http.StatusUnprocessableEntity, "Not supported yet"},
	core.TooLarge:     {http.StatusRequestEntityTooLarge, "Too large"},
	core.Insufficient: {http.StatusPaymentRequired, "Not enough credit"},
	core.Throttled:    {http.StatusTooManyRequests, "Too many requests"},
	core.StorageFull:  {http.StatusInsufficientStorage, "No room on the hub's disk"},
	core.Unavailable:  {http.StatusServiceUnavailable, "Not available now"},
	core.Internal:     {http.StatusInternalServerError, "The hub failed"},
}

// problem returns an error of HTTP's own, which has no core.Kind.
func problem(status int, kind, detail, hint string) *api.Problem {
	return &api.Problem{Type: problemURN + kind, Title: http.StatusText(status), Status: status, Detail: detail, Hint: hint}
}

// problemOf says what the caller may know of an error.
func problemOf(err error) api.Problem {
	if p, ok := errors.AsType[*api.Problem](err); ok {
		return *p
	}
	if e, ok := errors.AsType[*http.MaxBytesError](err); ok {
		err = tooLarge(e.Limit)
	}
	kind, e := core.Internal, &core.Error{Message: "the hub failed on this request", Hint: "its log says why, under the request ID"}
	if ce, ok := errors.AsType[*core.Error](err); ok {
		kind, e = ce.Kind, ce
	} else if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		kind, e = core.Unavailable, &core.Error{Message: "the request was given up before it was done"}
	}
	k, ok := kinds[kind]
	if !ok {
		kind, k = core.Internal, kinds[core.Internal]
	}
	return api.Problem{Type: problemURN + string(kind), Title: k.title, Status: k.status, Detail: core.Clip(e.Message, maxDetail), Field: core.Clip(e.Field, maxDetail), Hint: core.Clip(e.Hint, maxDetail)}
}

func tooLarge(limit int64) error {
	return core.Errorf(core.TooLarge, "the body is larger than %d bytes", limit).WithHint("upload large data with POST /v1/blobs and point to it")
}

// fail answers with a problem document. Failures of the hub itself are logged.
func (s *server) fail(w http.ResponseWriter, r *http.Request, err error) {
	s.failAs(w, r, err, writeProblem)
}

// failAs is fail in another form.
func (s *server) failAs(w http.ResponseWriter, r *http.Request, err error, write func(http.ResponseWriter, *api.Problem)) {
	write(w, s.prepare(w, r, err))
}

func writeProblem(w http.ResponseWriter, p *api.Problem) {
	w.Header()["Content-Type"] = []string{problemType}
	w.WriteHeader(p.Status)
	_ = json.MarshalWrite(w, p, wire) // fails only when the client has gone
}

// prepare makes the problem of an error, sets its headers, and logs its cause
// where it is not the caller's fault.
func (s *server) prepare(w http.ResponseWriter, r *http.Request, err error) *api.Problem {
	p := problemOf(err)
	p.RequestID = exchangeOf(w).id
	h := w.Header()
	switch p.Status {
	case http.StatusUnauthorized:
		h["Www-Authenticate"] = []string{`Bearer realm="atoll"`}
	case http.StatusServiceUnavailable:
		if h["Retry-After"] == nil {
			h["Retry-After"] = []string{"1"}
		}
	}
	if p.Status >= http.StatusInternalServerError && r.Context().Err() == nil {
		level := slog.LevelError
		if p.Status == http.StatusServiceUnavailable {
			level = levelRequest // "not yet" is part of the protocol: a receipt before its checkpoint, a hub that starts
		}
		s.cfg.Log.Log(r.Context(), level, "request failed", "request_id", p.RequestID, "path", r.URL.Path, "err", err, "cause", errors.Unwrap(err))
	}
	return &p
}

// failure carries a problem through huma, which takes errors with a status.
type failure struct{ *api.Problem }

func (f failure) GetStatus() int               { return f.Status }
func (f failure) ContentType(string) string    { return problemType }
func (f failure) MarshalJSON() ([]byte, error) { return json.Marshal(f.Problem, wire) }

// humaProblem rewrites the errors that huma makes itself, about parameters, in
// our form. They are 400 like all that is malformed.
func humaProblem(ctx huma.Context, _ string, v any) (any, error) {
	m, ok := v.(*huma.ErrorModel)
	if !ok {
		return v, nil
	}
	c, ok := ctx.(*humaContext)
	if !ok {
		return v, nil
	}
	e := core.Errorf(core.Invalid, "%s", m.Detail)
	if m.Status >= http.StatusInternalServerError {
		e = core.Errorf(core.Internal, "the hub failed on this request")
	} else if len(m.Errors) > 0 {
		where, name, _ := strings.Cut(m.Errors[0].Location, ".")
		e = core.Errorf(core.Invalid, "%s parameter: %s", where, m.Errors[0].Message).At(name)
	}
	p := c.server.prepare(c.w, c.r, e)
	c.status = p.Status
	return p, nil
}

// bodyError says what a failure to read a body means.
func bodyError(err error) error {
	if n, ok := errors.AsType[net.Error](err); ok && n.Timeout() {
		return problem(http.StatusRequestTimeout, "timeout", "the body did not arrive in time", "send it faster, or in smaller pieces")
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return err
	}
	return core.Errorf(core.Invalid, "the body could not be read: %w", err)
}
