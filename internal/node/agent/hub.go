package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"

	"atoll/internal/blob"
	"atoll/internal/core"
	"atoll/internal/identity"
)

// Times and limits of what goes over HTTP.
const (
	httpTries    = 5
	httpRetryMin = 200 * time.Millisecond
	httpRetryMax = 5 * time.Second
	// transferTime bounds one try for an input, a result or a chunk of a model.
	transferTime = 5 * time.Minute
	maxErrorText = 300 // bytes read of an answer that says no
)

// HubHTTP is the part of the hub's API that is for nodes. It is safe for
// concurrent use.
type HubHTTP struct {
	base   string
	key    identity.Token
	client *http.Client
}

// NewHubHTTP returns a client of the hub at base, such as https://hub:8420, with
// the key that the hub has granted. Where client trusts the hub's own CA, its
// transport says so.
func NewHubHTTP(base string, key identity.Token, client *http.Client) (*HubHTTP, error) {
	u, err := url.Parse(base)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, fmt.Errorf("hub URL %.120q: want http://host:port or https://host:port", base)
	}
	// The key must not follow a redirect to somewhere else.
	c := *client
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &HubHTTP{base: strings.TrimRight(base, "/"), key: key, client: &c}, nil
}

// Manifest implements swarm.Origin.
func (h *HubHTTP) Manifest(ctx context.Context, d core.Digest) (m *blob.Manifest, err error) {
	err = retry(ctx, func(ctx context.Context) error {
		body, err := h.do(ctx, http.MethodGet, modelPath(d)+"/chunks", nil)
		if err != nil {
			return err
		}
		defer body.Close()
		m, err = blob.ReadManifest(body)
		return err
	})
	return m, err
}

// Read implements swarm.Origin.
func (h *HubHTTP) Read(ctx context.Context, d core.Digest, b []byte, off int64) error {
	return retry(ctx, func(ctx context.Context) error {
		req, err := h.request(ctx, http.MethodGet, modelPath(d), nil)
		if err != nil {
			return err
		}
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", off, off+int64(len(b))-1))
		res, err := h.send(req)
		if err != nil {
			return err
		}
		defer res.Body.Close()
		if want := fmt.Sprintf("bytes %d-%d/", off, off+int64(len(b))-1); res.StatusCode != http.StatusPartialContent || !strings.HasPrefix(res.Header.Get("Content-Range"), want) {
			return backoff.Permanent(fmt.Errorf("asked for %s the hub answered %s, %q", want, res.Status, res.Header.Get("Content-Range")))
		}
		_, err = io.ReadFull(res.Body, b)
		return err
	})
}

func modelPath(d core.Digest) string { return "/v1/node/models/" + d.String() }

// Input returns the input of a lease, of exactly the given size.
func (h *HubHTTP) Input(ctx context.Context, id core.LeaseID, size int64) (data []byte, err error) {
	err = retry(ctx, func(ctx context.Context) error {
		body, err := h.do(ctx, http.MethodGet, "/v1/node/leases/"+id.String()+"/input", nil)
		if err != nil {
			return err
		}
		defer body.Close()
		var buf bytes.Buffer // grows with what comes, not with what was announced
		n, err := io.Copy(&buf, io.LimitReader(body, size+1))
		if err == nil && n != size {
			err = fmt.Errorf("%d bytes or more in place of %d", n, size)
		}
		data = buf.Bytes()
		return err
	})
	return data, err
}

// PutResult uploads a result. Doing so again changes nothing.
func (h *HubHTTP) PutResult(ctx context.Context, id core.LeaseID, data []byte) error {
	return retry(ctx, func(ctx context.Context) error {
		body, err := h.do(ctx, http.MethodPut, "/v1/node/leases/"+id.String()+"/result", data)
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, io.LimitReader(body, maxErrorText)) // so that the connection is used again
		return errors.Join(err, body.Close())
	})
}

func (h *HubHTTP) do(ctx context.Context, method, path string, data []byte) (io.ReadCloser, error) {
	req, err := h.request(ctx, method, path, data)
	if err != nil {
		return nil, err
	}
	res, err := h.send(req)
	if err != nil {
		return nil, err
	}
	return res.Body, nil
}

func (h *HubHTTP) request(ctx context.Context, method, path string, data []byte) (*http.Request, error) {
	var body io.Reader
	if data != nil {
		body = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, h.base+path, body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+string(h.key))
	if data != nil {
		req.Header.Set("Content-Type", "application/octet-stream")
	}
	return req, nil
}

// send returns a successful answer.
func (h *HubHTTP) send(req *http.Request) (*http.Response, error) {
	res, err := h.client.Do(req)
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err // without the address, which is known
	}
	if err != nil {
		return nil, err
	}
	if res.StatusCode/100 == 2 {
		return res, nil
	}
	text, _ := io.ReadAll(io.LimitReader(res.Body, maxErrorText))
	_ = res.Body.Close() // nothing depends on it any more
	err = core.Errorf(kindOf(res.StatusCode), "the hub answered %s: %s", res.Status, strings.TrimSpace(string(text)))
	if c := res.StatusCode; c/100 != 5 && c != http.StatusTooManyRequests && c != http.StatusRequestTimeout {
		err = backoff.Permanent(err) // asking again would not help
	}
	return nil, err
}

// kindOf tells what a status means.
func kindOf(status int) core.Kind {
	switch {
	case status == http.StatusUnauthorized:
		return core.Unauthorized
	case status == http.StatusForbidden:
		return core.Forbidden
	case status == http.StatusNotFound:
		return core.NotFound
	case status == http.StatusConflict:
		return core.Conflict
	case status == http.StatusTooManyRequests:
		return core.Throttled
	case status/100 == 5:
		return core.Unavailable
	}
	return core.Invalid
}

// Call makes one request, with a body of such a content type, and returns its successful
// answer, whose body is to be closed. Its error has the kind that the status means.
func (h *HubHTTP) Call(ctx context.Context, method, path, kind string, data []byte) (*http.Response, error) {
	req, err := h.request(ctx, method, path, data)
	if err != nil {
		return nil, err
	}
	if data != nil {
		req.Header.Set("Content-Type", kind)
	}
	return h.send(req)
}

// retry calls once until it succeeds, gives up for good, or has had its tries.
func retry(ctx context.Context, once func(context.Context) error) error {
	pause := &backoff.ExponentialBackOff{InitialInterval: httpRetryMin, MaxInterval: httpRetryMax,
		Multiplier: 2, RandomizationFactor: 0.5}
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		ctx, cancel := context.WithTimeout(ctx, transferTime)
		defer cancel()
		return struct{}{}, once(ctx)
	}, backoff.WithBackOff(pause), backoff.WithMaxTries(httpTries), backoff.WithMaxElapsedTime(0))
	if p, ok := errors.AsType[*backoff.PermanentError](err); ok {
		err = p.Err
	}
	return err
}
