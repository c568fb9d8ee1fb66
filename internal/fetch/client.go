package fetch

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	"atoll/internal/core"
)

// Config of a Client. The zero value reaches public addresses over https on
// port 443 and nothing else.
type Config struct {
	// AllowPrivate also allows loopback, private and shared addresses, and with
	// them http and every port: a consortium's own network, or a laptop. Link-local
	// addresses and those of cloud metadata services stay refused.
	AllowPrivate bool
	// AllowedCIDRs are allowed whatever else is refused.
	AllowedCIDRs []netip.Prefix
	AllowHTTP    bool     // also http://, on port 80
	Ports        []uint16 // in place of 443 (and 80)

	MaxBytes int64          // cap on every Get; 0: 1 GiB
	Timeout  time.Duration  // of a whole exchange; 0: one minute
	Resolver *net.Resolver  // nil: the system's
	RootCAs  *x509.CertPool // nil: the system's
	Log      *slog.Logger   // nil: slog.Default()
}

// Client fetches from addresses that strangers chose. It is immutable and safe
// for concurrent use, and holds no connections between calls.
type Client struct {
	http      *http.Client
	allowHTTP bool
	max       int64
	timeout   time.Duration
	log       *slog.Logger
}

// New returns a client.
func New(c Config) (*Client, error) {
	if c.MaxBytes < 0 || c.Timeout < 0 {
		return nil, fmt.Errorf("fetch: limits of %d bytes and %s", c.MaxBytes, c.Timeout)
	}
	g, err := newGuard(c)
	if err != nil {
		return nil, err
	}
	f := &Client{allowHTTP: c.AllowHTTP || c.AllowPrivate, max: c.MaxBytes, timeout: c.Timeout, log: c.Log}
	if f.max == 0 {
		f.max = defaultMax
	}
	if f.timeout == 0 {
		f.timeout = defaultTimeout
	}
	if f.log == nil {
		f.log = slog.Default()
	}
	dialer := &net.Dialer{Timeout: f.timeout, Resolver: c.Resolver, Control: g.control}
	f.http = &http.Client{
		Transport: &http.Transport{
			// Proxy stays nil: one from the environment would dial for us, unguarded.
			DialContext:            dialer.DialContext,
			TLSClientConfig:        &tls.Config{RootCAs: c.RootCAs, MinVersion: tls.VersionTLS12},
			TLSHandshakeTimeout:    f.timeout,
			DisableCompression:     true,
			DisableKeepAlives:      true, // every exchange dials, and is judged, anew
			MaxResponseHeaderBytes: maxHeader,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return f, nil
}

// CheckURL reads a URL and refuses it with a core.Error if the client would not
// even dial it, as a service to whoever wrote it. The host's address is judged
// only at the dial.
func (c *Client) CheckURL(raw string) (*url.URL, error) {
	u, err := parseURL(raw)
	if err != nil {
		return nil, err
	}
	if u.Scheme == "http" && !c.allowHTTP {
		return nil, core.Errorf(core.Invalid, "URL refused: http is not allowed here").WithHint("use https")
	}
	return u, nil
}

// Do sends a request through the guard, after CheckURL has accepted its URL. It
// does not follow redirects, nor does it bound the response's body or time:
// that is left to the caller. Errors do not repeat the URL, which may hold a
// token; those of the guard are ErrRefused.
func (c *Client) Do(req *http.Request) (*http.Response, error) {
	resp, err := c.http.Do(req)
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err
	}
	return resp, err
}

// Get returns the bytes of a Remote or Inline pointer, at most limit of them
// and never more than Config.MaxBytes, and checks their digest if the pointer
// has one. Errors are core.Errors fit to be shown to whoever wrote the pointer.
func (c *Client) Get(ctx context.Context, p Pointer, limit int64) ([]byte, error) {
	var buf bytes.Buffer
	if _, _, err := c.Copy(ctx, &buf, p, limit); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

// Copy writes what Get would return to w, for content that memory should not
// hold, and returns its digest and size. What w has got before an error,
// ErrMismatch included, must be thrown away.
func (c *Client) Copy(ctx context.Context, w io.Writer, p Pointer, limit int64) (core.Digest, int64, error) {
	limit = max(min(limit, c.max), 0)
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	var body io.Reader
	switch p.Kind {
	case Inline:
		body = bytes.NewReader(p.Data)
	case Remote:
		resp, err := c.get(ctx, p.URI)
		if err != nil {
			return core.Digest{}, 0, err
		}
		defer resp.Body.Close()
		if err := checkResponse(resp, limit); err != nil {
			return core.Digest{}, 0, err
		}
		if buf, ok := w.(*bytes.Buffer); ok && resp.ContentLength > 0 {
			buf.Grow(int(min(resp.ContentLength, presize)))
		}
		body = resp.Body
	default:
		return core.Digest{}, 0, core.Errorf(core.Invalid, "a pointer of kind %d is not fetched over the network", p.Kind)
	}
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(w, h), io.LimitReader(body, limit+1))
	if err == nil && p.Kind == Remote {
		// A server may answer our hanging up with a proper end of what it had sent
		// so far, and that can still arrive: after the deadline no end is the end.
		err = ctx.Err()
	}
	switch {
	case err != nil:
		return core.Digest{}, 0, core.Errorf(core.Unavailable, "the transfer broke off after %d bytes: %w", n, err)
	case n > limit:
		return core.Digest{}, 0, tooLarge(limit)
	}
	d := core.Digest(h.Sum(nil))
	if !p.Digest.IsZero() && d != p.Digest {
		return core.Digest{}, 0, core.Errorf(core.Invalid, "the data has digest %s, not %s: %w", d, p.Digest, ErrMismatch)
	}
	return d, n, nil
}

// ErrMismatch is wrapped by the error for data that is not what its pointer's
// digest promised.
var ErrMismatch = errors.New("fetch: digest mismatch")

func tooLarge(limit int64) error {
	return core.Errorf(core.TooLarge, "the data is larger than %d bytes", limit)
}

func (c *Client) get(ctx context.Context, uri string) (*http.Response, error) {
	u, err := c.CheckURL(uri)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, core.Errorf(core.Invalid, "URL refused: %w", err)
	}
	req.Header.Set("User-Agent", "atoll")
	req.Header.Set("Accept-Encoding", "identity")
	resp, err := c.Do(req)
	switch {
	case errors.Is(err, ErrRefused):
		c.log.WarnContext(ctx, "fetch refused by the guard", "host", u.Host, "error", err)
		// The address is not told: strangers are not to map the inside by asking.
		return nil, &core.Error{
			Kind: core.Forbidden, Message: "the address or port of " + u.Host + " may not be fetched from", Err: err,
			Hint: "only public addresses at port 443 are reached, unless the operator runs the hub with --allow-private",
		}
	case err != nil:
		return nil, core.Errorf(core.Unavailable, "%s could not be fetched from: %w", u.Host, err)
	}
	return resp, nil
}

// checkResponse refuses responses that are not the data itself.
func checkResponse(resp *http.Response, limit int64) error {
	host := resp.Request.URL.Host
	switch s := resp.StatusCode; {
	case s >= 300 && s < 400:
		return core.Errorf(core.Invalid, "%s redirects, and redirects are not followed", host).WithHint("give the final URL")
	case s == http.StatusNotFound || s == http.StatusGone:
		return core.Errorf(core.NotFound, "%s answered %d", host, s)
	case s == http.StatusTooManyRequests || s >= 500:
		return core.Errorf(core.Unavailable, "%s answered %d", host, s)
	case s != http.StatusOK:
		return core.Errorf(core.Invalid, "%s answered %d, not 200", host, s)
	}
	if e := resp.Header.Get("Content-Encoding"); e != "" && e != "identity" {
		return core.Errorf(core.Invalid, "%s sent the data encoded as %.20q, which was not asked for", host, e)
	}
	if resp.ContentLength > limit {
		return tooLarge(limit)
	}
	return nil
}
