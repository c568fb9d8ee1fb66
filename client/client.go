// Package client is the Go SDK of Atoll's HTTP API. It speaks the types of
// package api, so that what compiles here is what a hub understands.
//
//	c, err := client.New(client.Config{URL: "http://127.0.0.1:8420", Key: key})
//	reply, err := c.Submit(ctx, &api.TaskSpec{
//		Model: "triage@1",
//		Input: []api.DataPointer{client.Inline(data)},
//	}, client.SubmitOptions{})
//	task, err := c.Wait(ctx, reply.ID)
//	err = c.Result(ctx, task.ID, os.Stdout)
//
// # Errors
//
// What the hub refuses is an *api.Problem: errors.As finds it behind any error
// of this package, with the HTTP status, the field to blame and a hint. What
// never reached the hub is the transport's own error.
//
// # Retries
//
// Reading is repeated after broken connections and answers that say "later"
// (429, 500, 502, 503, 504), with exponential backoff and the hub's Retry-After. So
// is Submit, because each submission carries an Idempotency-Key: however often
// it is sent, there is one task and one charge. Calls that would do a thing
// twice are never repeated.
//
// # Lists
//
// Lists and events are iterators that fetch the next page when it is wanted. A
// failure is the last pair: a zero value with the error.
package client

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Limits of what a hub may answer. A hub is not trusted with this process's
// memory. Results are streamed and have no limit here.
const (
	maxAnswer = 128 << 20 // bytes of one JSON answer, bundle or part
	maxEvent  = 1 << 20   // bytes of one event
)

// DefaultRetryFor bounds how long one call goes on trying, unless Config says
// otherwise.
const DefaultRetryFor = 30 * time.Second

// Config says which hub to talk to.
type Config struct {
	URL string // of the hub, as http://127.0.0.1:8420
	Key string // API key; empty for what needs none
	// CACert is the certificate, as PEM, of a hub that has its own CA. Only this
	// one is trusted then.
	CACert []byte
	// HTTP replaces the tuned default. CACert cannot be given beside it.
	HTTP *http.Client
	// RetryFor bounds the time that one call spends on repeating what failed
	// for a passing reason; 0: DefaultRetryFor, negative: nothing is repeated.
	RetryFor time.Duration
	// OnRetry, if set, is told of each failure after which a call is repeated.
	OnRetry func(error)
}

// Client talks to one hub. It is safe for concurrent use.
type Client struct {
	base     string
	header   http.Header // shared by all requests, never changed
	http     *http.Client
	retryFor time.Duration
	onRetry  func(error)
}

// New checks cfg and returns a client. It does not connect.
func New(cfg Config) (*Client, error) {
	u, err := url.Parse(cfg.URL)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("hub address %.200q: want http://host:port or https://host:port", cfg.URL)
	}
	if strings.ContainsFunc(cfg.Key, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, errors.New("the API key holds characters that no key has; was it copied whole?")
	}
	c := &Client{base: strings.TrimRight(u.String(), "/"), http: cfg.HTTP, retryFor: cfg.RetryFor, onRetry: cfg.OnRetry}
	if c.retryFor == 0 {
		c.retryFor = DefaultRetryFor
	}
	c.header = http.Header{"User-Agent": {"atoll-go"}}
	if cfg.Key != "" {
		c.header.Set("Authorization", "Bearer "+cfg.Key)
	}
	switch {
	case c.http == nil:
		c.http, err = newHTTP(cfg.CACert)
	case cfg.CACert != nil:
		err = errors.New("client: CACert and HTTP are both given; put the certificate into HTTP's transport")
	}
	return c, err
}

// URL returns the hub's address without a final slash.
func (c *Client) URL() string { return c.base }

// Close gives idle connections back. The client stays usable.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// newHTTP returns an HTTP client for many small calls in flight at once: the
// standard transport keeps two idle connections to a host, so that under load
// nearly each call would dial anew.
func newHTTP(ca []byte) (*http.Client, error) {
	const idle = 1024
	t := &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		MaxIdleConns:        idle,
		MaxIdleConnsPerHost: idle,
		IdleConnTimeout:     90 * time.Second,
		TLSHandshakeTimeout: 10 * time.Second,
		DisableCompression:  true, // small JSON: it costs more than it saves
		ForceAttemptHTTP2:   true,
	}
	if ca != nil {
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(ca) {
			return nil, errors.New("the CA certificate is not PEM")
		}
		t.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS13}
	}
	return &http.Client{
		Transport: t,
		// An API that redirects is not the hub that the key belongs to.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, nil
}
