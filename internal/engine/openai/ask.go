package openai

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"

	"atoll/internal/engine"
	"atoll/internal/engine/completion"
	"atoll/internal/openaiwire"
)

// How a request is sent again.
const (
	tries    = 4
	pauseMin = 250 * time.Millisecond // doubled each time
	pauseMax = 30 * time.Second       // a server that asks for more is left to others
)

// again is a failure before anything of an answer came, so that the request may be
// sent once more.
type again struct {
	error
	after time.Duration // as the server asks; 0: it does not say
}

func (a again) Unwrap() error { return a.error }

// answer has one line answered. Errors that are engine.ErrInput or ErrTooLarge are
// the line's fault, all others the server's.
func (e *Engine) answer(ctx context.Context, model string, l *completion.Line, told func(more string)) (*answer, error) {
	if l.Refused != nil {
		return nil, l.Refused
	}
	path, body, err := request(model, l)
	if err != nil {
		return nil, err
	}
	select {
	case e.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-e.slots }()
	for pause, try := pauseMin, 1; ; try++ {
		a, err := e.ask(ctx, path, body, &answer{line: l, told: told, key: e.cfg.Key})
		a2, retry := errors.AsType[again](err)
		if !retry || try == tries || a2.after > pauseMax {
			return a, err
		}
		select {
		case <-time.After(max(pause, a2.after)):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		pause *= 2
	}
}

// request is the body that asks for a line's answer, and the path it is sent to.
func request(model string, l *completion.Line) (path string, body []byte, err error) {
	if l.Regex != nil || l.Schema != nil {
		return "", nil, fmt.Errorf("%w: regex and schema: servers differ in how they hold answers to a form, if they do; use a model of the engine llm", engine.ErrInput)
	}
	if l.Known != nil {
		return "", nil, fmt.Errorf("%w: known: servers take no tokens by their numbers; use a model of the engine llm", engine.ErrInput)
	}
	maxTokens := completion.Value(l.MaxTokens, completion.DefaultTokens)
	seed := int64(completion.Value(l.Seed, 0)) // below 2^63, as completion checks
	temperature := 0.0
	if l.Temperature != nil {
		temperature = decimal(*l.Temperature)
	}
	r := openaiwire.Request{
		Model: model, Stream: true, StreamOptions: &openaiwire.StreamOptions{IncludeUsage: true},
		MaxTokens: &maxTokens, Temperature: &temperature, Seed: &seed, Stop: openaiwire.Strings(l.Stop),
	}
	if temperature > 0 { // said in full: servers cut by defaults of their own (llama.cpp, Ollama), or by the model's (vLLM)
		topK, topP, minP := completion.Value(l.TopK, 0), decimal(completion.Value(l.TopP, 1)), decimal(completion.Value(l.MinP, 0))
		if topP == 0 { // which keeps all here, and nothing but the first token there
			topP = 1
		}
		r.TopK, r.TopP, r.MinP = &topK, &topP, &minP
	}
	var best *int
	if l.Logprobs != nil { // llama.cpp takes 0 for none at all; what is told too much is left out
		n := max(*l.Logprobs, 1)
		best = &n
	}
	if l.Prompt != nil {
		body, err = json.Marshal(&openaiwire.TextRequest{Request: r, Prompt: openaiwire.Prompt{*l.Prompt}, Logprobs: best})
		return "/completions", body, err
	}
	c := openaiwire.ChatRequest{Request: r}
	if err := json.Unmarshal(l.Messages, &c.Messages, json.RejectUnknownMembers(true)); err != nil || len(c.Messages) == 0 {
		return "", nil, fmt.Errorf(`%w: messages: want objects with "role" and "content"`, engine.ErrInput)
	}
	if best != nil {
		yes := true
		c.Logprobs, c.TopLogprobs = &yes, best
	}
	body, err = json.Marshal(&c)
	return "/chat/completions", body, err
}

// decimal is the number as it was written: 0.1 of binary32 is not 0.1 of binary64.
func decimal(f float32) float64 {
	d, _ := strconv.ParseFloat(strconv.FormatFloat(float64(f), 'g', -1, 32), 64)
	return d
}

var errSilent = errors.New("silent")

// ask sends a request once and fills a, which it returns.
func (e *Engine) ask(ctx context.Context, path string, body []byte, a *answer) (*answer, error) {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	silence := time.AfterFunc(e.cfg.First, func() { stop(errSilent) })
	defer silence.Stop()
	res, err := e.do(ctx, http.MethodPost, path, body)
	if err != nil {
		if errors.Is(context.Cause(ctx), errSilent) {
			return nil, fmt.Errorf("the server did not answer for %s", e.cfg.First)
		}
		return nil, again{err, 0}
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, refused(res, e.cfg.Key)
	}
	err = a.read(&watched{Reader: res.Body, most: a.mostBytes(), alive: func() { silence.Reset(e.cfg.Idle) }}, res.Header.Get("Content-Type"))
	if err != nil && errors.Is(context.Cause(ctx), errSilent) {
		err = fmt.Errorf("the server fell silent for %s in the middle of an answer", e.cfg.Idle)
	}
	if err != nil {
		return nil, err
	}
	return a, a.meter()
}

// do sends a request. Its errors do not tell the server's address.
func (e *Engine) do(ctx context.Context, method, path string, body []byte) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, e.base+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if e.cfg.Key != "" {
		req.Header.Set("Authorization", "Bearer "+e.cfg.Key)
	}
	res, err := e.http.Do(req)
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err
	}
	if op, ok := errors.AsType[*net.OpError](err); ok {
		err = op.Err
	}
	if err != nil {
		return nil, fmt.Errorf("the server cannot be reached: %w", err)
	}
	return res, nil
}
