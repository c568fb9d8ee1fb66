package openai

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/go-json-experiment/json"

	"atoll/api"
	"atoll/internal/core"
	"atoll/internal/openaiwire"
)

// Codes of errors, as OpenAI's API has them where it has them.
const (
	codeModel   = "model_not_found"
	codeContext = "context_length_exceeded"
	codeKey     = "invalid_api_key"
	codeQuota   = "insufficient_quota"
	codeRate    = "rate_limit_exceeded"
)

// fail answers with an error in OpenAI's form.
func fail(w http.ResponseWriter, p *api.Problem) {
	w.Header()["Content-Type"] = []string{"application/json"}
	w.WriteHeader(p.Status)
	_ = json.MarshalWrite(w, errorOf(p)) // fails only when the client has gone
}

// errorOf says a problem in OpenAI's form.
func errorOf(p *api.Problem) openaiwire.ErrorBody {
	kind := p.Type[strings.LastIndexByte(p.Type, ':')+1:]
	e := openaiwire.Error{Message: p.Detail, Type: openaiwire.InvalidRequest}
	if p.Hint != "" {
		e.Message += " (" + p.Hint + ")"
	}
	code := kind
	switch p.Status {
	case http.StatusUnauthorized:
		e.Type, code = openaiwire.Authentication, codeKey
	case http.StatusForbidden:
		e.Type = openaiwire.Permission
	case http.StatusPaymentRequired:
		e.Type, code = openaiwire.Quota, codeQuota
	case http.StatusTooManyRequests:
		e.Type, code = openaiwire.RateLimit, codeRate
	case http.StatusNotFound:
		if p.Field == "model" {
			code = codeModel
		}
	}
	if p.Status >= http.StatusInternalServerError {
		e.Type = openaiwire.ServerError
	}
	if p.Field != "" {
		e.Param = &p.Field
	}
	if strings.Contains(p.Detail, contextWords) {
		code = codeContext
	}
	e.Code = &code
	return openaiwire.ErrorBody{Error: e}
}

// contextWords are how engines say that a prompt is too long.
const contextWords = "the model's context is"

// invalid is an error about a field of the request.
func invalid(field, format string, args ...any) error {
	return core.Errorf(core.Invalid, format, args...).At(field)
}

// ended says why a task has no answer.
func ended(t *api.Task) error {
	switch t.State {
	case "cancelled":
		return core.Errorf(core.Conflict, "%s was cancelled", t.ID)
	case "expired":
		return core.Errorf(core.Unavailable, "%s", t.Reason).WithHint("see which machines there are with atoll market offers")
	case "failed":
		return refusal(t.Reason)
	}
	return core.Errorf(core.Unavailable, "the hub is stopping; %s goes on when it is back", t.ID).WithHint(fmt.Sprintf("its result will be at GET /v1/tasks/%s/result", t.ID))
}

// refusal is what an engine said of a line, or a hub of a part, in place of an
// answer.
func refusal(why string) error {
	for _, class := range []struct {
		words string
		kind  core.Kind
	}{
		{"input refused: ", core.Invalid},
		{"limit exceeded: ", core.Invalid},
		{"deadline exceeded: ", core.Unavailable},
	} {
		if _, rest, ok := strings.Cut(why, class.words); ok {
			rest = strings.TrimPrefix(strings.TrimPrefix(rest, "line 1: "), class.words)
			return core.Errorf(class.kind, "%s", rest)
		}
	}
	return core.Errorf(core.Internal, "%s", why)
}
