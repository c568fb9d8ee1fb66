package atoll

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"atoll/internal/auth"
)

const levelRequest = slog.LevelDebug

// exchange is one request's ResponseWriter, which remembers what was answered.
type exchange struct {
	http.ResponseWriter
	id     string // X-Request-ID
	status int    // 0 until the answer has begun
	key    string // ID of the API key, for the log
	// timeout is how long the client may take for an answer, so that one who does
	// not read it holds up nothing. Streams extend it piece by piece.
	timeout time.Duration
}

func (x *exchange) WriteHeader(status int) {
	if x.status == 0 && status >= http.StatusOK {
		x.begin(status)
	}
	x.ResponseWriter.WriteHeader(status)
}

func (x *exchange) Write(b []byte) (int, error) {
	if x.status == 0 {
		x.begin(http.StatusOK)
	}
	return x.ResponseWriter.Write(b)
}

func (x *exchange) begin(status int) {
	x.status = status
	x.extend(x.timeout)
}

// extend gives the client so much time for what is written, 0 for any. A
// connection that takes no deadline is closed already: Write will say so.
func (x *exchange) extend(d time.Duration) {
	_ = setDeadline(http.NewResponseController(x.ResponseWriter).SetWriteDeadline, d)
}

// Unwrap is for http.ResponseController.
func (x *exchange) Unwrap() http.ResponseWriter { return x.ResponseWriter }

// exchangeOf finds the exchange behind w.
func exchangeOf(w http.ResponseWriter) *exchange {
	for {
		switch t := w.(type) {
		case *exchange:
			return t
		case interface{ Unwrap() http.ResponseWriter }:
			w = t.Unwrap()
		default:
			return &exchange{ResponseWriter: w}
		}
	}
}

// call is what a huma handler finds in its context besides its input.
type call struct {
	w http.ResponseWriter
	r *http.Request
	p *auth.Principal // nil on public routes
}

type callKey struct{}

func withCall(r *http.Request, c *call) *http.Request {
	c.r = r
	return r.WithContext(context.WithValue(r.Context(), callKey{}, c))
}

func callOf(ctx context.Context) *call { return ctx.Value(callKey{}).(*call) }

// viewer is on whose behalf the call reads.
func viewer(ctx context.Context) Viewer { return viewerOf(callOf(ctx).p) }

func viewerOf(p *auth.Principal) Viewer { return Viewer{Account: p.Account, Admin: p.IsAdmin()} }

// requestID returns the client's X-Request-ID if it is harmless, or a new one.
func (s *server) requestID(h http.Header) string {
	if v := h["X-Request-Id"]; len(v) == 1 && harmless(v[0]) {
		return v[0]
	}
	return s.cfg.RequestID()
}

func harmless(id string) bool {
	for i := range len(id) {
		c := id[i]
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !letter && c != '-' && c != '_' && c != '.' {
			return false
		}
	}
	return id != "" && len(id) <= maxRequestID
}

func requestAttrs(x *exchange, r *http.Request, status int, took time.Duration) []slog.Attr {
	return []slog.Attr{
		slog.String("request_id", x.id), slog.String("method", r.Method), slog.String("path", r.URL.Path),
		slog.Int("status", status), slog.Duration("took", took), slog.String("key_id", x.key),
	}
}
