package client

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"
	fastjson "github.com/go-json-experiment/json"

	"atoll/api"
)

// call is one request to make.
type call struct {
	method string
	path   string // escaped, with leading slash
	query  url.Values
	body   []byte            // JSON, unless kind is set
	file   *io.SectionReader // in place of body, for what is large
	kind   string            // content type
	safe   bool              // may be repeated

	// Request headers; empty ones are not sent.
	accept, idempotencyKey, lastEventID, traceparent string
}

// idempotent makes a call repeatable by giving it a key, a fresh one if empty.
func (k *call) idempotent(key string) {
	if key == "" {
		key = freshKey(time.Now())
	}
	k.idempotencyKey, k.safe = key, true
}

// freshKey begins with the time: hubs keep keys in order, and write the less the
// closer together new ones are.
func freshKey(now time.Time) string {
	return fmt.Sprintf("%012x-%s", now.UnixMilli(), rand.Text())
}

func get(path string, query url.Values) call {
	return call{method: http.MethodGet, path: path, query: query, safe: true}
}

func post(path string, in any) (call, error) {
	// Not the fast encoder: the wire types' omitempty is the standard library's.
	body, err := json.Marshal(in)
	return call{method: http.MethodPost, path: path, body: body}, err
}

// ask makes a call and decodes its JSON answer into out, if that is not nil.
func (c *Client) ask(ctx context.Context, k call, out any) error {
	b, err := c.bytes(ctx, k)
	if err != nil || out == nil {
		return err
	}
	if err := fastjson.Unmarshal(b, out); err != nil {
		return fmt.Errorf("%s %s: the answer is not what a hub says: %w", k.method, k.path, err)
	}
	return nil
}

// bytes makes a call and returns its whole answer.
func (c *Client) bytes(ctx context.Context, k call) ([]byte, error) {
	return retry(ctx, c, k, func() ([]byte, error) {
		res, err := c.once(ctx, k)
		if err != nil {
			return nil, err
		}
		defer res.Body.Close()
		return readAll(res, maxAnswer)
	})
}

// open makes a call and returns its answer to be read.
func (c *Client) open(ctx context.Context, k call) (*http.Response, error) {
	return retry(ctx, c, k, func() (*http.Response, error) { return c.once(ctx, k) })
}

// retry repeats op as long as its failure is a passing one and the call may be
// sent twice.
func retry[T any](ctx context.Context, c *Client, k call, op func() (T, error)) (T, error) {
	if !k.safe || c.retryFor < 0 {
		return op()
	}
	try := func() (T, error) {
		v, err := op()
		if err != nil && !passing(ctx, err) {
			err = backoff.Permanent(err)
		}
		return v, err
	}
	opts := []backoff.RetryOption{backoff.WithBackOff(newBackOff()), backoff.WithMaxElapsedTime(c.retryFor)}
	if c.onRetry != nil {
		opts = append(opts, backoff.WithNotify(func(err error, _ time.Duration) { c.onRetry(err) }))
	}
	return backoff.Retry(ctx, try, opts...)
}

func newBackOff() *backoff.ExponentialBackOff {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.MaxInterval = 50*time.Millisecond, 3*time.Second
	return b
}

// passing reports whether the same call may well succeed in a moment.
func passing(ctx context.Context, err error) bool {
	if ctx.Err() != nil {
		return false
	}
	if p, ok := asProblem(err); ok {
		switch p.Status {
		case http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
			return true
		}
		return false
	}
	return errors.Is(err, errTransport) && !Untrusted(err) && !errors.Is(err, http.ErrSchemeMismatch)
}

func asProblem(err error) (*api.Problem, bool) { return errors.AsType[*api.Problem](err) }

var errTransport = errors.New("no answer from the hub")

// once sends a call a single time. Answers from 300 on are errors.
func (c *Client) once(ctx context.Context, k call) (*http.Response, error) {
	target := c.base + k.path
	if len(k.query) > 0 {
		target += "?" + k.query.Encode()
	}
	var body io.Reader
	switch {
	case k.body != nil:
		body = bytes.NewReader(k.body)
	case k.file != nil: // from its beginning, however often
		body = io.NewSectionReader(k.file, 0, k.file.Size())
	}
	req, err := http.NewRequestWithContext(ctx, k.method, target, body)
	if err != nil {
		return nil, err
	}
	if k.file != nil {
		req.ContentLength = k.file.Size()
	}
	req.Header = maps.Clone(c.header)
	if body != nil {
		req.Header["Content-Type"] = []string{"application/json"}
		if k.kind != "" {
			req.Header["Content-Type"] = []string{k.kind}
		}
	}
	for _, h := range [...][2]string{{"Accept", k.accept}, {"Idempotency-Key", k.idempotencyKey}, {"Last-Event-Id", k.lastEventID}, {"Traceparent", k.traceparent}} {
		if h[1] != "" {
			req.Header[h[0]] = []string{h[1]}
		}
	}
	res, err := c.http.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, &transportError{err}
	}
	if res.StatusCode < 300 {
		return res, nil
	}
	defer res.Body.Close()
	return nil, refusal(res)
}

// transportError is a failure of the connection: nobody knows whether the hub
// has seen the request.
type transportError struct{ err error }

func (e *transportError) Error() string {
	if Untrusted(e.err) {
		return "the hub's certificate is not trusted: " + e.err.Error()
	}
	return "no answer from the hub: " + e.err.Error()
}

func (e *transportError) Unwrap() []error { return []error{errTransport, e.err} }

// later is a refusal with a time to wait.
type later struct {
	*api.Problem
	wait *backoff.RetryAfterError
}

func (e *later) Unwrap() []error { return []error{e.Problem, e.wait} }

// refusal turns an answer into an *api.Problem, also one that comes from
// something between here and the hub.
func refusal(res *http.Response) error {
	const most = 64 << 10
	body, _ := io.ReadAll(io.LimitReader(res.Body, most)) // what there is will do
	p := new(api.Problem)
	var other openAIError
	if json.Unmarshal(body, &other) == nil && other.Error.Message != "" {
		p = other.problem()
	} else if json.Unmarshal(body, p) != nil || p.Title == "" && p.Detail == "" {
		text := string(bytes.ToValidUTF8(body[:min(len(body), 200)], []byte("?")))
		if strings.HasPrefix(strings.TrimSpace(text), "<") {
			text = "a page for browsers, so it may not be a hub's"
		}
		p = &api.Problem{Type: "about:blank", Title: http.StatusText(res.StatusCode), Detail: "the hub's address answered " + res.Status + ": " + text}
	}
	p.Status = res.StatusCode
	const patience = 60 // seconds
	if s, err := strconv.Atoi(res.Header.Get("Retry-After")); err == nil && s > 0 && s <= patience {
		return &later{p, &backoff.RetryAfterError{Duration: time.Duration(s) * time.Second}}
	}
	return p
}

// readAll reads a body of at most limit bytes.
func readAll(res *http.Response, limit int64) ([]byte, error) {
	if res.ContentLength > limit {
		return nil, fmt.Errorf("the hub's answer has %d bytes, more than %d", res.ContentLength, limit)
	}
	if n := res.ContentLength; n >= 0 && n <= 1<<20 { // the usual case, without growing
		b := make([]byte, n)
		if _, err := io.ReadFull(res.Body, b); err != nil {
			return nil, &transportError{err}
		}
		return b, nil
	}
	b, err := io.ReadAll(io.LimitReader(res.Body, limit+1))
	switch {
	case err != nil:
		return nil, &transportError{err}
	case int64(len(b)) > limit:
		return nil, fmt.Errorf("the hub's answer has more than %d bytes", limit)
	}
	return b, nil
}

// Unreachable reports whether err says that no hub has answered.
func Unreachable(err error) bool { return errors.Is(err, errTransport) }

// Untrusted reports whether err says that something has answered with a
// certificate that is not trusted, see Config.CACert. Asking again is no help.
func Untrusted(err error) bool {
	_, untrusted := errors.AsType[*tls.CertificateVerificationError](err)
	return untrusted
}
