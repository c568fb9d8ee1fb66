package atoll

import (
	"fmt"
	"net/http"
	"net/url"
	"runtime/debug"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"atoll/internal/auth"
	"atoll/internal/core"
)

// server is immutable once New has returned.
type server struct {
	cfg       Config
	hub       Hub
	mux       *http.ServeMux
	doc       huma.API // collects the OpenAPI document
	keys      *auth.Keys
	byKey     *auth.Limiter
	byAddress *auth.Limiter
	routes    map[string]route // by operation ID
	spec      []byte           // the OpenAPI document
}

// New returns the handler of the whole API.
func New(cfg Config) (http.Handler, error) {
	if err := cfg.setDefaults(); err != nil {
		return nil, err
	}
	s := &server{cfg: cfg, hub: cfg.Hub, mux: http.NewServeMux(), routes: map[string]route{}}
	var err error
	if s.keys, err = auth.NewKeys(cfg.Hub, cfg.Now); err != nil {
		return nil, err
	}
	if s.byKey, err = auth.NewLimiter("key", cfg.KeyRate, cfg.Now); err != nil {
		return nil, err
	}
	if s.byAddress, err = auth.NewLimiter("address", cfg.AddressRate, cfg.Now); err != nil {
		return nil, err
	}
	s.doc = newDocument(s)
	s.addTasks()
	s.addMarket()
	s.addModels()
	s.addServices()
	s.addAccounts()
	s.addNodes()
	s.addReceipts()
	if cfg.Federations != nil {
		s.addFederations()
	}
	s.addSystem()
	s.addMounts()
	if s.spec, err = finishDocument(s.doc.OpenAPI()); err != nil {
		return nil, fmt.Errorf("atoll: OpenAPI document: %w", err)
	}
	s.mux.HandleFunc("/", s.unknown)
	return s, nil
}

// ServeHTTP gives each request an ID, a span and a log line, and outlives
// handlers that panic.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := s.cfg.Now()
	x := &exchange{ResponseWriter: w, id: s.requestID(r.Header), timeout: s.cfg.BodyTimeout}
	x.extend(0) // what was set for the answer before, on the same connection
	h := w.Header()
	h["X-Request-Id"] = []string{x.id}
	h["X-Content-Type-Options"] = noSniff
	h["Cache-Control"] = noStore

	ctx := r.Context()
	if len(r.Header["Traceparent"]) > 0 {
		ctx = propagation.TraceContext{}.Extract(ctx, propagation.HeaderCarrier(r.Header))
	}
	ctx, span := s.cfg.Tracer.Start(ctx, "http", trace.WithSpanKind(trace.SpanKindServer))
	r = r.WithContext(ctx)
	defer func() {
		abort := s.recovered(x, r, recover())
		s.finish(x, r, span, s.cfg.Now().Sub(start))
		if abort {
			panic(http.ErrAbortHandler) // the client must see that the answer is cut short
		}
	}()
	if err := checkURL(r.URL); err != nil {
		s.fail(x, r, err)
		return
	}
	s.mux.ServeHTTP(x, r)
}

// checkURL refuses what no route could mean: text that is not UTF-8, and a
// parameter given twice, of which one would be ignored.
func checkURL(u *url.URL) error {
	if !utf8.ValidString(u.Path) {
		return core.Errorf(core.Invalid, "the path is not UTF-8")
	}
	if u.RawQuery == "" {
		return nil
	}
	q, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return core.Errorf(core.Invalid, "the query cannot be read")
	}
	for name, values := range q {
		if !utf8.ValidString(name) || slices.ContainsFunc(values, func(v string) bool { return !utf8.ValidString(v) }) {
			return core.Errorf(core.Invalid, "the query is not UTF-8")
		}
		if len(values) > 1 {
			return core.Errorf(core.Invalid, "given %d times, want it once", len(values)).At(core.Clip(name, 100))
		}
	}
	return nil
}

// Shared header values; nobody may append to them.
var (
	noSniff  = []string{"nosniff"}
	noStore  = []string{"no-store"}
	jsonType = []string{"application/json"}
)

// recovered turns a panic into a problem, or, if the answer has begun, reports
// that the connection has to be cut.
func (s *server) recovered(x *exchange, r *http.Request, v any) (abort bool) {
	switch v {
	case nil:
		return false
	case http.ErrAbortHandler:
		return true
	}
	s.cfg.Log.ErrorContext(r.Context(), "a handler panicked", "request_id", x.id, "path", r.URL.Path, "panic", v, "stack", string(debug.Stack()))
	if x.status != 0 {
		return true
	}
	s.fail(x, r, core.Errorf(core.Internal, "the hub failed on this request"))
	return false
}

// finish ends the span and writes the log line. Neither holds headers, queries
// or bodies, where secrets are.
func (s *server) finish(x *exchange, r *http.Request, span trace.Span, took time.Duration) {
	status := x.status
	if status == 0 {
		status = http.StatusOK
	}
	if span.IsRecording() {
		_, path, _ := strings.Cut(r.Pattern, " ")
		span.SetName(r.Method + " " + path)
		span.SetAttributes(
			attribute.String("http.request.method", r.Method), attribute.String("http.route", path),
			attribute.Int("http.response.status_code", status), attribute.String("atoll.request_id", x.id))
		if status >= http.StatusInternalServerError {
			span.SetStatus(codes.Error, http.StatusText(status))
		}
	}
	span.End()
	if s.cfg.Log.Enabled(r.Context(), levelRequest) {
		s.cfg.Log.LogAttrs(r.Context(), levelRequest, "request", requestAttrs(x, r, status, took)...)
	}
}

// unknown answers what no route matches: 405 if only the method is wrong.
func (s *server) unknown(w http.ResponseWriter, r *http.Request) {
	var allowed []string
	for _, m := range [...]string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodDelete} {
		probe := http.Request{Method: m, URL: r.URL, Host: r.Host}
		if _, pattern := s.mux.Handler(&probe); pattern != "/" && pattern != "" {
			allowed = append(allowed, m)
		}
	}
	if len(allowed) > 0 {
		w.Header().Set("Allow", strings.Join(allowed, ", "))
		s.fail(w, r, problem(http.StatusMethodNotAllowed, "method-not-allowed", "the method is not allowed here", "allowed: "+strings.Join(allowed, ", ")))
		return
	}
	s.fail(w, r, core.Errorf(core.NotFound, "there is no such path").WithHint("see /openapi.json for the paths there are"))
}
