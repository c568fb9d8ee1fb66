package openai

import (
	"bytes"
	"context"
	"errors"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"atoll/api"
	"atoll/internal/core"
	"atoll/internal/engine/completion"
	"atoll/internal/httpapi/atoll"
	"atoll/internal/openaiwire"
	"atoll/internal/request"
)

// maxChoices bounds the answers to one request.
const maxChoices = 128

// line is one line of a language engine's input: see internal/engine/llm.
type line struct {
	lineID
	Prompt      *string   `json:"prompt,omitzero"`
	Messages    []message `json:"messages,omitzero"`
	MaxTokens   int       `json:"max_tokens"`
	Temperature float64   `json:"temperature"`
	TopK        *int      `json:"top_k,omitzero"`
	TopP        *float64  `json:"top_p,omitzero"`
	MinP        *float64  `json:"min_p,omitzero"`
	Seed        int64     `json:"seed"`
	Stop        []string  `json:"stop,omitzero"`
	Logprobs    *int      `json:"logprobs,omitzero"`
	// Schema is a JSON schema that the answer is to be of.
	Schema jsontext.Value `json:"schema,omitzero"`
}

// lineID is what the line's answer is found by: a number, or in a batch the name
// that the request has there.
type lineID struct {
	ID any `json:"id"`
}

func (l *lineID) setID(id any) { l.ID = id }

type message struct {
	Role    string `json:"role"`
	Content string `json:"content"`
	Name    string `json:"name,omitzero"`
}

// work is what a request asks for: lines for one part of a task.
type work struct {
	model  string
	lines  []engineLine
	each   int // answers to each prompt
	own    *own
	stream bool
	usage  bool // of a stream is told
	base64 bool // vectors are
}

// engineLine is a *line or an *embedLine.
type engineLine interface{ setID(id any) }

// settings fills a line with what requests for chat and for plain completions have
// in common.
func (s *server) settings(r *openaiwire.Request, l *line) error {
	switch {
	case r.Model == "":
		return invalid("model", "a model is needed")
	case r.N != nil && (*r.N < 1 || *r.N > maxChoices):
		return invalid("n", "want 1 to %d", maxChoices)
	case r.StreamOptions != nil && !r.Stream:
		return invalid("stream_options", "only for stream: true")
	case r.MaxTokens != nil && *r.MaxTokens < 1:
		return invalid("max_tokens", "want 1 or more")
	case r.Temperature != nil && (*r.Temperature < 0 || *r.Temperature > 2):
		return invalid("temperature", "want 0 to 2")
	case r.TopP != nil && (*r.TopP < 0 || *r.TopP > 1):
		return invalid("top_p", "want 0 to 1")
	case r.MinP != nil && (*r.MinP < 0 || *r.MinP > 1):
		return invalid("min_p", "want 0 to 1")
	case r.TopK != nil && *r.TopK < 0:
		return invalid("top_k", "want 0 or more")
	}
	l.Temperature = 1
	if r.Temperature != nil {
		l.Temperature = *r.Temperature
	}
	if r.MaxTokens != nil {
		l.MaxTokens = *r.MaxTokens
	}
	l.TopK, l.TopP, l.MinP, l.Stop = r.TopK, r.TopP, r.MinP, r.Stop
	seed := int64(0)
	switch {
	case r.Seed != nil:
		seed = *r.Seed
	case l.Temperature > 0:
		seed = s.cfg.Seed()
	}
	l.Seed = seed & (1<<63 - 1) // the engine has no negative ones
	return nil
}

// choices makes the lines: for each prompt as many as there are to be answers,
// which differ in their seeds.
func (w *work) choices(prompts []line) error {
	if n := len(prompts) * w.each; n > maxChoices {
		return invalid("n", "%d answers to one request, at most %d", n, maxChoices)
	}
	for _, l := range prompts {
		for i := range w.each {
			c := l
			c.Seed = (l.Seed + int64(i)) & (1<<63 - 1)
			c.setID(len(w.lines))
			w.lines = append(w.lines, &c)
		}
	}
	return nil
}

// input is what the engine is given. What is said once, a prompt or a stop string, is
// in the line of each answer: a body may become very much more than it was.
func (w *work) input() ([]byte, error) {
	var input []byte
	for _, l := range w.lines {
		b, err := json.Marshal(l)
		if err != nil {
			return nil, err
		}
		if len(input)+len(b) >= completion.MaxInput {
			return nil, core.Errorf(core.TooLarge, "%d answers to prompts of this length are over %d bytes of work", len(w.lines), completion.MaxInput).WithHint("ask for fewer at a time")
		}
		input = append(append(input, b...), '\n')
	}
	return input, nil
}

// spec is the task that does the work.
func (w *work) spec() (*api.TaskSpec, error) {
	spec := w.own.Spec(w.model, api.DataPointer{URI: "data:,"})
	if spec.Timeout == nil {
		spec.Timeout = &api.Timeout{Execution: executionTime}
	}
	return fullSpec(spec)
}

// fullSpec checks a task and fills in what it does not say.
func fullSpec(spec *api.TaskSpec) (*api.TaskSpec, error) {
	if err := spec.Validate(); err != nil {
		return nil, ofTask(err)
	}
	full := spec.WithDefaults()
	return &full, nil
}

// within says that what is wrong is in a field of a field.
func within(outer string, err error) error {
	e, ok := errors.AsType[*core.Error](err)
	switch {
	case !ok:
		return err
	case e.Field == "":
		return e.At(outer)
	}
	return e.At(outer + "." + e.Field)
}

// ofTask says where in a request is what is wrong with its task.
func ofTask(err error) error {
	if e, ok := errors.AsType[*core.Error](err); ok && e.Field == "model" {
		return err
	}
	return within(ownField, err)
}

// submit makes a task of the work.
func (s *server) submit(x *atoll.Exchange, w *work, body []byte) (api.Task, error) {
	key, err := x.IdempotencyKey()
	if err != nil {
		return api.Task{}, err
	}
	if w.model, w.own.Terms, err = s.resolve(x.R.Context(), w.model, w.own.Terms); err != nil {
		return api.Task{}, err
	}
	spec, err := w.spec()
	if err != nil {
		return api.Task{}, err
	}
	input, err := w.input()
	if err != nil {
		return api.Task{}, err
	}
	reply, err := s.hub.Submit(x.R.Context(), request.Submission{
		Account: x.Principal.Account, Key: key, Body: bodyDigest(x, body), Spec: spec, Traceparent: x.R.Header.Get("Traceparent"), Preview: w.stream, Input: input,
	})
	if err != nil {
		return api.Task{}, ofTask(err)
	}
	x.W.Header()["Atoll-Task"] = []string{reply.ID.String()}
	return reply.Task, nil
}

// resolve finds the model that is meant by a name, and the terms that its service
// adds to the request's own.
func (s *server) resolve(ctx context.Context, name string, terms api.Terms) (model string, all api.Terms, err error) {
	service, err := s.hub.Service(ctx, name)
	switch {
	case err == nil:
		all = terms.Or(service.Terms)
		if service.Pipeline != "" {
			place := api.Placement{}
			if all.Placement != nil {
				place = *all.Placement
			}
			place.Line, all.Placement = name, &place
		}
		return service.Model, all, nil
	case core.KindOf(err) == core.NotFound:
		return name, terms, nil
	}
	return "", terms, err
}

// bodyDigest is of what an Idempotency-Key stands for.
func bodyDigest(x *atoll.Exchange, body []byte) core.Digest {
	return core.DigestOf(append([]byte(x.R.URL.Path+" "), body...))
}

// await waits for the task's end and returns its result. Nobody waits for the
// answer any more when the client has hung up: then the task is cancelled.
func (s *server) await(x *atoll.Exchange, w *work, id core.TaskID) ([]byte, error) {
	ctx := x.R.Context()
	t, err := s.hub.Wait(ctx, x.Viewer(), id)
	if gone := context.Cause(ctx); gone != nil {
		if !w.own.Keep {
			s.abandon(ctx, x, id)
		}
		return nil, gone
	}
	if err != nil {
		return nil, err
	}
	if t.State != "succeeded" {
		return nil, ended(&t)
	}
	return s.result(ctx, x.Viewer(), id, 0)
}

// maxResult bounds what is read of a part's result, in bytes: a stranger has made it,
// and no engine makes more.
const maxResult = 64 << 20

var errLong = core.Errorf(core.Internal, "the result of the model is over %d bytes", maxResult)

// result reads a part's result.
func (s *server) result(ctx context.Context, v request.Viewer, id core.TaskID, part int) ([]byte, error) {
	var b bounded
	err := s.hub.PartResult(ctx, v, id, part, &b)
	return b.buf.Bytes(), err
}

type bounded struct{ buf bytes.Buffer }

func (b *bounded) Write(p []byte) (int, error) {
	if b.buf.Len()+len(p) > maxResult {
		return 0, errLong
	}
	return b.buf.Write(p)
}

func (s *server) abandon(ctx context.Context, x *atoll.Exchange, id core.TaskID) {
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), cancelWithin)
	defer stop()
	if _, err := s.hub.Cancel(ctx, x.Viewer(), id); err != nil {
		s.cfg.Log.WarnContext(ctx, "a task whose client has gone was not cancelled", "task", id, "err", err)
	}
}
