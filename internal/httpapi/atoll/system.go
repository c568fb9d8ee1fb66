package atoll

import (
	"bytes"
	"context"
	"net/http"
	"strings"

	"github.com/go-json-experiment/json"

	"atoll/internal/auth"
	"atoll/internal/core"
)

// health answers /healthz and /readyz.
type health struct {
	Status  string `json:"status" enum:"ok"`
	Version string `json:"version"`
}

func (s *server) addSystem() {
	const tag = "system"
	up := health{Status: "ok", Version: s.cfg.Version}
	add(s, route{method: "GET", path: "/healthz", id: "get-health", tag: tag, scope: open, summary: "Is the process alive?"},
		func(context.Context, *none) (*reply[health], error) { return &reply[health]{up}, nil })
	add(s, route{method: "GET", path: "/readyz", id: "get-ready", tag: tag, scope: open, summary: "Can the hub take tasks?", about: "503 says what it waits for."},
		func(ctx context.Context, _ *none) (*reply[health], error) { return replyOf(up, s.hub.Ready(ctx)) })
	addRaw[none, raw](s, route{method: "GET", path: "/openapi.json", id: "get-openapi", tag: tag, scope: open, produces: "application/openapi+json", summary: "Get this document", serve: s.openAPI})
	if s.cfg.MetricsHandler != nil {
		addRaw[none, raw](s, route{method: "GET", path: "/metrics", id: "get-metrics", tag: tag, scope: open, produces: "text/plain", summary: "Get Prometheus metrics",
			serve: func(w http.ResponseWriter, r *http.Request, _ *auth.Principal) { s.cfg.MetricsHandler.ServeHTTP(w, r) }})
	}
}

func (s *server) openAPI(w http.ResponseWriter, _ *http.Request, _ *auth.Principal) {
	w.Header().Set("Content-Type", "application/openapi+json")
	_, _ = w.Write(s.spec) // fails only when the client has gone
}

// answer writes a JSON answer.
func (s *server) answer(w http.ResponseWriter, status int, v any) {
	w.Header()["Content-Type"] = jsonType
	w.WriteHeader(status)
	_ = json.MarshalWrite(w, v, wire) // fails only when the client has gone
}

// log serves the transparency log, and puts its refusals, which are plain text,
// into problem documents.
func (s *server) log(w http.ResponseWriter, r *http.Request, _ *auth.Principal) {
	t := &translator{ResponseWriter: w}
	http.StripPrefix("/v1/log", s.cfg.LogHandler).ServeHTTP(t, r)
	if t.status == 0 {
		return
	}
	kind := core.Internal
	switch t.status {
	case http.StatusBadRequest:
		kind = core.Invalid
	case http.StatusNotFound:
		kind = core.NotFound
	case http.StatusServiceUnavailable:
		kind = core.Unavailable
	}
	w.Header().Del("Content-Length")
	s.fail(w, r, core.Errorf(kind, "%s", strings.TrimSpace(t.text.String())))
}

// translator holds back an answer that is an error.
type translator struct {
	http.ResponseWriter
	status int // of an error
	text   bytes.Buffer
}

func (t *translator) WriteHeader(status int) {
	if status >= http.StatusBadRequest {
		t.status = status
		return
	}
	t.ResponseWriter.WriteHeader(status)
}

func (t *translator) Write(b []byte) (int, error) {
	const most = 1 << 10
	if t.status == 0 {
		return t.ResponseWriter.Write(b)
	}
	if t.text.Len()+len(b) <= most {
		t.text.Write(b)
	}
	return len(b), nil
}

// Unwrap is for http.ResponseController.
func (t *translator) Unwrap() http.ResponseWriter { return t.ResponseWriter }
