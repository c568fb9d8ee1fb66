package atoll_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"atoll/api"
	"atoll/internal/auth"
	"atoll/internal/core"
	"atoll/internal/httpapi/atoll"
	"atoll/internal/peer/relay"
)

// logBuffer is a log that tests read.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// bench is a running API over a fake hub.
type bench struct {
	t   testing.TB
	hub *fakeHub
	url string
	log *logBuffer
}

func start(t testing.TB, edit func(*atoll.Config)) *bench {
	t.Helper()
	b := &bench{t: t, hub: newFakeHub(), log: &logBuffer{}}
	cfg := atoll.Config{
		Hub: b.hub, Federations: fakeFederations{}, Log: slog.New(slog.NewTextHandler(b.log, &slog.HandlerOptions{Level: slog.LevelDebug})), Version: "test",
		MetricsHandler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "metric 1\n") }),
		LogHandler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/checkpoint" || strings.HasPrefix(r.URL.Path, "/tile/") {
				io.WriteString(w, "log "+r.URL.Path)
				return
			}
			http.Error(w, "no such tile", http.StatusNotFound)
		}),
	}
	var err error
	if cfg.Relay, err = relay.NewHub(relay.Config{Log: cfg.Log}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cfg.Relay.Close)
	if edit != nil {
		edit(&cfg)
	}
	h, err := atoll.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	b.url = srv.URL
	return b
}

// do sends a request with "Name: value" headers and returns the answer, read.
func (b *bench) do(method, path, key, body string, headers ...string) (*http.Response, []byte) {
	b.t.Helper()
	res, err := b.send(method, path, key, body, headers...)
	if err != nil {
		b.t.Fatal(err)
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return res, data
}

// send is do for answers that the caller reads, and closes, itself.
func (b *bench) send(method, path, key, body string, headers ...string) (*http.Response, error) {
	b.t.Helper()
	var r io.Reader
	if body != "" {
		r = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(b.t.Context(), method, b.url+path, r)
	if err != nil {
		b.t.Fatal(err)
	}
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
	}
	return http.DefaultClient.Do(req)
}

// get decodes a successful answer.
func get[T any](b *bench, path, key string, headers ...string) T {
	b.t.Helper()
	var v T
	res, data := b.do("GET", path, key, "", headers...)
	if res.StatusCode != http.StatusOK {
		b.t.Fatalf("GET %s: %d %s", path, res.StatusCode, data)
	}
	if err := json.Unmarshal(data, &v); err != nil {
		b.t.Fatalf("GET %s: %v in %s", path, err, data)
	}
	return v
}

// wantProblem checks that an answer is a problem document, whole.
func wantProblem(t *testing.T, res *http.Response, data []byte, status int, kind string) api.Problem {
	t.Helper()
	var p api.Problem
	if err := json.Unmarshal(data, &p); err != nil {
		t.Fatalf("%d %s: not a problem: %s", res.StatusCode, res.Header.Get("Content-Type"), data)
	}
	if res.StatusCode != status || p.Status != status || p.Type != "urn:atoll:problem:"+kind || res.Header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("got %d %s %s, want %d %s", res.StatusCode, res.Header.Get("Content-Type"), data, status, kind)
	}
	if p.Title == "" || p.Detail == "" || p.RequestID == "" || p.RequestID != res.Header.Get("X-Request-ID") {
		t.Errorf("incomplete: %s (X-Request-ID %q)", data, res.Header.Get("X-Request-ID"))
	}
	return p
}

// task makes a task of ann's with three parts.
func (b *bench) task(state string) *fakeTask {
	b.hub.mu.Lock()
	defer b.hub.mu.Unlock()
	t := b.hub.newTask("ann")
	t.parts = [][]byte{[]byte("one\n"), []byte("two\n"), []byte("three\n")}
	if state != "" {
		t.end(state)
	}
	return t
}

func TestProblems(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	id := b.task("").task.ID.String()
	for _, c := range []struct {
		method, path, key, body string
		status                  int
		kind, field             string
	}{
		{"GET", "/nothing", "", "", 404, "not-found", ""},
		{"GET", "/v1/tasks/" + id + "/nothing", "ann-key", "", 404, "not-found", ""},
		{"PATCH", "/v1/tasks/" + id, "ann-key", "{}", 405, "method-not-allowed", ""},
		{"GET", "/v1/submit-task", "ann-key", "", 405, "method-not-allowed", ""},
		{"POST", "/openapi.json", "", "", 405, "method-not-allowed", ""},
		{"GET", "/v1/tasks", "", "", 401, "unauthorized", ""},
		{"GET", "/v1/tasks", "no-such-key", "", 401, "unauthorized", ""},
		{"GET", "/v1/tasks/nonsense", "ann-key", "", 400, "invalid", "id"},
		{"GET", "/v1/tasks/nonsense/result", "ann-key", "", 400, "invalid", "id"},
		{"GET", "/v1/tasks/nonsense/events", "ann-key", "", 400, "invalid", "id"},
		{"GET", "/v1/tasks/" + core.TaskID(5).String(), "ann-key", "", 404, "not-found", ""},
		{"GET", "/v1/tasks?limit=0", "ann-key", "", 400, "invalid", "limit"},
		{"GET", "/v1/tasks?limit=1001", "ann-key", "", 400, "invalid", "limit"},
		{"GET", "/v1/tasks?limit=many", "ann-key", "", 400, "invalid", "limit"},
		{"GET", "/v1/tasks?state=fine", "ann-key", "", 400, "invalid", "state"},
		{"GET", "/v1/tasks?cursor=x", "ann-key", "", 400, "invalid", "cursor"},
		{"GET", "/v1/tasks?stat=failed", "ann-key", "", 400, "invalid", "stat"},
		{"GET", "/v1/models?cursor=x", "ann-key", "", 400, "invalid", "cursor"},
		{"GET", "/v1/tasks/" + id + "/result", "ann-key", "", 409, "conflict", ""},
		{"GET", "/v1/tasks/" + id + "/result?part=-1", "ann-key", "", 400, "invalid", "part"},
		{"GET", "/v1/tasks/" + id + "/result?part=", "ann-key", "", 400, "invalid", "part"},
		{"GET", "/v1/tasks/" + id + "/result?piece=1", "ann-key", "", 400, "invalid", "piece"},
		{"GET", "/v1/tasks/" + id + "/result?part=9", "ann-key", "", 404, "not-found", ""},
		{"GET", "/v1/receipts/lease_x", "ann-key", "", 400, "invalid", "id"},
		{"GET", "/v1/receipts/" + core.LeaseID(2).String(), "ann-key", "", 503, "unavailable", ""},
		{"GET", "/v1/market/offers?sort=luck", "ann-key", "", 400, "invalid", "sort"},
		{"GET", "/v1/market/offers?min_reliability=NaN", "ann-key", "", 400, "invalid", "min_reliability"},
		{"GET", "/v1/market/offers?min_reliability=2", "ann-key", "", 400, "invalid", "min_reliability"},
		{"GET", "/v1/market/offers?max_price=NaN", "ann-key", "", 400, "invalid", "max_price"},
		{"GET", "/v1/market/offers?selector=tier+in+(", "ann-key", "", 400, "invalid", "selector"},
		{"GET", "/v1/market/offers?cursor=!!", "ann-key", "", 400, "invalid", "cursor"},
		{"POST", "/v1/accounts", "admin-key", `{"id":"carol","credits":"1"}`, 400, "invalid", "credits"},
		{"POST", "/v1/accounts", "admin-key", `{"id":"carol","credit":1}`, 400, "invalid", "credit"},
		{"POST", "/v1/accounts", "admin-key", `{"id":"carol","credit":"NaN"}`, 400, "invalid", "credit"},
		{"POST", "/v1/accounts", "admin-key", `{"id":"ann"}`, 409, "conflict", ""},
		{"POST", "/v1/accounts", "admin-key", `{`, 400, "invalid", ""},
		{"POST", "/v1/accounts", "admin-key", strings.Repeat(" ", 70<<10), 413, "too-large", ""},
		{"POST", "/v1/accounts/ann/credit", "admin-key", `{"amount":"0"}`, 400, "invalid", "amount"},
		{"POST", "/v1/accounts/ann/credit", "admin-key", `{"amount":"99999999999999999999"}`, 400, "invalid", "amount"},
		{"GET", "/v1/accounts/bob/statement", "ann-key", "", 404, "not-found", ""},
		{"POST", "/v1/join-tokens", "admin-key", `{"owner":"ann","ttl":"0s"}`, 400, "invalid", "ttl"},
		{"POST", "/v1/nodes/rome-1/drain", "ann-key", `{"on":true}`, 404, "not-found", ""},
		{"POST", "/v1/nodes/paris-1/drain", "ann-key", `{"on":"yes"}`, 400, "invalid", "on"},
		{"POST", "/v1/nodes/paris-1/drain", "ann-key", `{}`, 400, "invalid", "on"},
		{"DELETE", "/v1/nodes/none", "admin-key", "", 404, "not-found", ""},
		{"DELETE", "/v1/nodes/%ff", "admin-key", "", 400, "invalid", ""},
		{"GET", "/v1/accounts/%ff/statement", "ann-key", "", 400, "invalid", ""},
		{"GET", "/v1/tasks?%ff=1", "ann-key", "", 400, "invalid", ""},
		{"GET", "/v1/tasks?limit=%zz", "ann-key", "", 400, "invalid", ""},
		{"GET", "/v1/tasks?limit=1&limit=2", "ann-key", "", 400, "invalid", "limit"},
		{"POST", "/v1/submit-task?wait=1s&wait=2s", "ann-key", `{}`, 400, "invalid", "wait"},
		{"POST", "/v1/nodes/join", "", `{"token":"bad","node":"x"}`, 401, "unauthorized", ""},
		{"POST", "/v1/nodes/join", "", `{"token":"bad","owner":"me"}`, 400, "invalid", "owner"},
		{"POST", "/v1/models", "ann-key", `{"name":"m","engine":"wasm","digest":"` + core.DigestOf(nil).String() + `"}`, 404, "not-found", "digest"},
		{"POST", "/v1/models", "ann-key", `{"name":"m","engine":"wasm","digest":"sha256:../../x"}`, 400, "invalid", "digest"},
		{"GET", "/v1/node/models/sha256:..", "node-key", "", 400, "invalid", "digest"},
		{"GET", "/v1/node/leases/" + core.LeaseID(9).String() + "/input", "node-key", "", 404, "not-found", ""},
		{"PUT", "/v1/node/leases/" + core.LeaseID(9).String() + "/result", "node-key", "x", 404, "not-found", ""},
		{"PUT", "/v1/node/leases/x/result", "node-key", "x", 400, "invalid", "id"},
	} {
		res, data := b.do(c.method, c.path, c.key, c.body)
		p := wantProblem(t, res, data, c.status, c.kind)
		if p.Field != c.field || t.Failed() {
			t.Fatalf("%s %s: field %q, want %q (%s)", c.method, c.path, p.Field, c.field, p.Detail)
		}
	}
	res, _ := b.do("GET", "/v1/submit-task", "", "")
	if a := res.Header.Get("Allow"); a != "POST" {
		t.Errorf("Allow %q", a)
	}
	if res, _ = b.do("GET", "/v1/tasks", "", ""); res.Header.Get("WWW-Authenticate") == "" {
		t.Error("401 without WWW-Authenticate")
	}
	if res, _ = b.do("GET", "/v1/receipts/"+core.LeaseID(2).String(), "ann-key", ""); res.Header.Get("Retry-After") == "" {
		t.Error("503 without Retry-After")
	}
}

// Every kind of error has its status, and nothing that is not meant for the
// public gets out.
func TestKinds(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	alarms := func() int { return strings.Count(b.log.String(), "level=ERROR") }
	for kind, status := range map[core.Kind]int{
		core.Invalid: 400, core.Unauthorized: 401, core.Insufficient: 402, core.Forbidden: 403, core.NotFound: 404, core.Conflict: 409,
		core.TooLarge: 413, core.Mismatch: 422, core.Unsupported: 422, core.Throttled: 429, core.Internal: 500, core.Unavailable: 503,
	} {
		before := alarms()
		b.hub.explode = core.Errorf(kind, "said so").At("some.field").WithHint("do something")
		res, data := b.do("GET", "/v1/tasks/"+core.TaskID(1).String(), "ann-key", "")
		p := wantProblem(t, res, data, status, string(kind))
		if p.Detail != "said so" || p.Field != "some.field" || p.Hint != "do something" {
			t.Errorf("%s: %s", kind, data)
		}
		if alarm := alarms() > before; alarm != (kind == core.Internal) {
			t.Errorf("%s: logged as an error of the hub: %v", kind, alarm)
		}
	}
	for _, err := range []error{errors.New("dial tcp 10.1.2.3: password=hunter2"), fmt.Errorf("x: %w", context.DeadlineExceeded), core.Errorf("newkind", "odd")} {
		b.hub.explode = err
		res, data := b.do("GET", "/v1/tasks/"+core.TaskID(1).String(), "ann-key", "")
		if res.StatusCode < http.StatusInternalServerError || strings.Contains(string(data), "hunter2") {
			t.Errorf("%v became %d %s", err, res.StatusCode, data)
		}
	}
	if !strings.Contains(b.log.String(), "hunter2") {
		t.Error("the cause is not in the hub's own log")
	}
}

func TestPanics(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	b.hub.panics = true
	res, data := b.do("GET", "/v1/tasks/"+core.TaskID(1).String(), "ann-key", "")
	wantProblem(t, res, data, 500, "internal")
	if strings.Contains(string(data), "a bug") || !strings.Contains(b.log.String(), "a bug") {
		t.Errorf("answer %s, log %s", data, b.log)
	}
	if res, _ := b.do("GET", "/healthz", "", ""); res.StatusCode != http.StatusOK {
		t.Errorf("after a panic: %d", res.StatusCode)
	}
}

func TestRequestID(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	seen := map[string]bool{}
	for sent, echoed := range map[string]bool{"abc-DEF_1.2": true, "": false, "a b": false, "a\tb": false, strings.Repeat("x", 65): false, "é": false, "<script>": false} {
		res, _ := b.do("GET", "/healthz", "", "", "X-Request-ID: "+sent)
		got := res.Header.Get("X-Request-ID")
		if (got == sent) != echoed || got == "" || seen[got] {
			t.Errorf("sent %q, got %q", sent, got)
		}
		seen[got] = true
	}
}

func TestLogHoldsNoSecrets(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	b.do("POST", "/v1/submit-task?wait=oops-secret-query", "ann-key", `{"model":"secret-body"}`, "Idempotency-Key: secret-idem")
	b.do("GET", "/v1/tasks", "secret-wrong-key", "")
	b.do("POST", "/v1/nodes/join", "", `{"token":"secret-token","node":"x"}`)
	b.do("POST", "/v1/keys", "admin-key", `{"account":"ann","scopes":["read"]}`)
	log := b.log.String()
	for _, s := range []string{"secret", "ann-key", "admin-key"} {
		if strings.Contains(log, s) {
			t.Errorf("the log holds %q:\n%s", s, log)
		}
	}
	if !strings.Contains(log, "key_id=k-ann\n") || !strings.Contains(log, "path=/v1/submit-task") || !strings.Contains(log, "status=400") {
		t.Errorf("the log says too little:\n%s", log)
	}
}

func TestRateLimit(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	b := start(t, func(c *atoll.Config) {
		c.KeyRate = auth.Rate{PerSecond: 1, Burst: 2}
		c.AddressRate = auth.Rate{PerSecond: 1, Burst: 3}
		c.Now = func() time.Time { return now }
	})
	for i := range 3 {
		res, data := b.do("GET", "/v1/tasks", "ann-key", "")
		if res.Header.Get("RateLimit-Policy") != `"key";q=2;w=2` || res.Header.Get("RateLimit") == "" {
			t.Errorf("headers %v", res.Header)
		}
		if i == 2 {
			wantProblem(t, res, data, 429, "rate-limited")
			if res.Header.Get("Retry-After") != "1" {
				t.Errorf("Retry-After %q", res.Header.Get("Retry-After"))
			}
		}
	}
	if res, _ := b.do("GET", "/v1/tasks", "bob-key", ""); res.StatusCode != http.StatusOK {
		t.Errorf("another key: %d", res.StatusCode)
	}
	for i := range 4 { // guessing
		res, _ := b.do("GET", "/v1/tasks", fmt.Sprint("guess-", i), "")
		if want := []int{401, 401, 401, 429}[i]; res.StatusCode != want {
			t.Errorf("guess %d: %d, want %d", i, res.StatusCode, want)
		}
	}
	if res, _ := b.do("POST", "/v1/nodes/join", "", `{}`); res.StatusCode != http.StatusTooManyRequests {
		t.Errorf("join from the same address: %d", res.StatusCode)
	}
	if res, _ := b.do("GET", "/healthz", "", ""); res.StatusCode != http.StatusOK || res.Header.Get("RateLimit") != "" {
		t.Errorf("health is limited: %d", res.StatusCode)
	}
}

func TestTraceGoesOn(t *testing.T) {
	t.Parallel()
	spans := tracetest.NewSpanRecorder()
	tp := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))
	b := start(t, func(c *atoll.Config) { c.Tracer = tp.Tracer("t") })
	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	res, data := b.do("POST", "/v1/submit-task", "ann-key", minimal, "Traceparent: "+parent)
	if res.StatusCode != http.StatusAccepted {
		t.Fatalf("%d %s", res.StatusCode, data)
	}
	b.do("GET", "/nothing", "", "")
	ended := spans.Ended()
	if len(ended) != 2 {
		t.Fatalf("%d spans", len(ended))
	}
	s := ended[0]
	if s.SpanContext().TraceID().String() != parent[3:35] || s.Parent().SpanID().String() != parent[36:52] || s.Name() != "POST /v1/submit-task" {
		t.Errorf("span %q in %v, parent %v", s.Name(), s.SpanContext(), s.Parent())
	}
	if !strings.Contains(fmt.Sprint(s.Attributes()), "202") {
		t.Errorf("attributes %v", s.Attributes())
	}
	if b.hub.last.Traceparent != parent {
		t.Errorf("traceparent %q", b.hub.last.Traceparent)
	}
}

func TestHostIsNotTrusted(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	for _, path := range []string{"/v1/submit-task", "//v1/submit-task", "/v1/../v1/submit-task", "/openapi.json"} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(b.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: evil.example\r\nAuthorization: Bearer ann-key\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", path, len(minimal), minimal)
		answer, err := io.ReadAll(conn)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(answer), "evil.example") {
			t.Errorf("%s: the answer repeats the Host header:\n%s", path, answer)
		}
	}
}

// A body that stops arriving is given up, and the connection with it.
func TestSlowBody(t *testing.T) {
	t.Parallel()
	b := start(t, func(c *atoll.Config) { c.BodyTimeout = 20 * time.Millisecond })
	for _, path := range []string{"/v1/submit-task", "/v1/blobs", "/v1/models"} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(b.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer ann-key\r\nContent-Length: 100\r\n\r\n{", path)
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		data, _ := io.ReadAll(res.Body)
		wantProblem(t, res, data, 408, "timeout")
	}
}

// slowHub lets submitters wait for a while, and notices when one goes away.
type slowHub struct{ *instantHub }

func (h slowHub) Wait(ctx context.Context, v atoll.Viewer, id core.TaskID) (api.Task, error) {
	select {
	case <-ctx.Done():
		return api.Task{}, ctx.Err()
	case <-time.After(30 * time.Millisecond):
		return h.instantHub.Wait(ctx, v, id)
	}
}

// The deadline for the arrival of a body must not cut off the wait that follows.
func TestWaitOutlivesBodyTimeout(t *testing.T) {
	t.Parallel()
	b := start(t, func(c *atoll.Config) {
		c.Hub = slowHub{&instantHub{newFakeHub()}}
		c.BodyTimeout = 10 * time.Millisecond
	})
	if res, data := b.do("POST", "/v1/submit-task?wait=30s", "ann-key", minimal); res.StatusCode != http.StatusOK {
		t.Errorf("%d %s\n%s", res.StatusCode, data, b.log)
	}
}

// A client that does not read its answer holds up its handler for a while only.
func TestAnswersHaveDeadlines(t *testing.T) {
	t.Parallel()
	h, err := atoll.New(atoll.Config{Hub: newFakeHub(), Log: slog.New(slog.DiscardHandler), BodyTimeout: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/healthz", "/v1/tasks", "/nowhere"} {
		w := &deadlines{ResponseRecorder: httptest.NewRecorder()}
		before := time.Now()
		h.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		if len(w.set) != 2 || !w.set[0].IsZero() || w.set[1].Before(before.Add(time.Hour)) {
			t.Errorf("%s: deadlines %v, want none and then one in an hour", path, w.set)
		}
	}
}

type deadlines struct {
	*httptest.ResponseRecorder
	set []time.Time
}

func (d *deadlines) SetWriteDeadline(t time.Time) error {
	d.set = append(d.set, t)
	return nil
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	log := slog.New(slog.DiscardHandler)
	for name, c := range map[string]atoll.Config{
		"no hub": {Log: log}, "no log": {Hub: newFakeHub()},
		"negative": {Hub: newFakeHub(), Log: log, MaxBody: -1},
		"rate":     {Hub: newFakeHub(), Log: log, KeyRate: auth.Rate{PerSecond: 1}},
	} {
		if _, err := atoll.New(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
