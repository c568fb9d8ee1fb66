package telemetry_test

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/propagation"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/protobuf/proto"

	"atoll/internal/telemetry"
)

const remote = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

func env(m map[string]string) func(string) string { return func(k string) string { return m[k] } }

func TestWithoutCollector(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	tel, err := telemetry.Setup(t.Context(), telemetry.Config{Service: "s", Writer: &log, Format: "json"})
	if err != nil {
		t.Fatal(err)
	}
	if tel.Exporting {
		t.Error("says that it exports")
	}
	ctx, span := tel.Tracer.Start(t.Context(), "x")
	defer span.End()
	if !span.SpanContext().IsValid() || span.IsRecording() {
		t.Errorf("want a trace ID and no recording, got %v, recording %v", span.SpanContext(), span.IsRecording())
	}
	h := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, h)
	if !strings.Contains(h.Get("traceparent"), span.SpanContext().TraceID().String()) {
		t.Errorf("traceparent %q", h.Get("traceparent"))
	}

	// A caller's trace goes on, and its wish to be sampled with it.
	ctx = propagation.TraceContext{}.Extract(t.Context(), propagation.MapCarrier{"traceparent": remote})
	ctx, span = tel.Tracer.Start(ctx, "y")
	defer span.End()
	propagation.TraceContext{}.Inject(ctx, h)
	if got := h.Get("traceparent"); !strings.HasPrefix(got, remote[:36]) || !strings.HasSuffix(got, "-01") || got == remote {
		t.Errorf("traceparent %q does not continue %q", got, remote)
	}

	tel.Logger.With("a", 1).WithGroup("g").InfoContext(ctx, "hello", "b", 2)
	var line map[string]any
	if err := json.Unmarshal(log.Bytes(), &line); err != nil {
		t.Fatal(err)
	}
	if g, _ := line["g"].(map[string]any); g["trace_id"] != remote[3:35] || line["msg"] != "hello" {
		t.Errorf("log line %s", log.Bytes())
	}
	if err := tel.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestSpansReachTheCollector(t *testing.T) {
	t.Parallel()
	got := make(chan *collector.ExportTraceServiceRequest, 1)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		req := new(collector.ExportTraceServiceRequest)
		if err := proto.Unmarshal(body, req); err != nil || r.URL.Path != "/base/v1/traces" {
			t.Errorf("%s: %v", r.URL.Path, err)
		}
		got <- req
	}))
	defer srv.Close()
	tel, err := telemetry.Setup(t.Context(), telemetry.Config{
		Service: "atoll-test", Version: "1", Writer: io.Discard,
		Getenv: env(map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": srv.URL + "/base"}),
	})
	if err != nil {
		t.Fatal(err)
	}
	_, span := tel.Tracer.Start(t.Context(), "task.submit")
	span.End()
	if err := tel.Shutdown(t.Context()); err != nil { // flushes
		t.Fatal(err)
	}
	rs := (<-got).GetResourceSpans()
	if name := rs[0].GetScopeSpans()[0].GetSpans()[0].GetName(); name != "task.submit" || !tel.Exporting {
		t.Errorf("span %q, exporting %v", name, tel.Exporting)
	}
	if a := rs[0].GetResource().GetAttributes()[0]; a.GetValue().GetStringValue() != "atoll-test" {
		t.Errorf("service %v", a)
	}
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	tel, err := telemetry.Setup(t.Context(), telemetry.Config{Writer: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	tel.MetricsHandler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if w.Code != 200 || !strings.Contains(w.Body.String(), "go_goroutines") {
		t.Errorf("%d %.200s", w.Code, w.Body)
	}
}

func TestSetupRefusals(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]telemetry.Config{
		"no writer": {},
		"format":    {Writer: io.Discard, Format: "xml"},
		"endpoint":  {Writer: io.Discard, Getenv: env(map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4318"})},
		"traces":    {Writer: io.Discard, Getenv: env(map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "grpc://x"})},
	} {
		if _, err := telemetry.Setup(t.Context(), c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestLevel(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	tel, err := telemetry.Setup(t.Context(), telemetry.Config{Writer: &log, Level: slog.LevelWarn})
	if err != nil {
		t.Fatal(err)
	}
	tel.Logger.Info("quiet")
	tel.Logger.Warn("loud")
	if s := log.String(); strings.Contains(s, "quiet") || !strings.Contains(s, "loud") || strings.Contains(s, "trace_id") {
		t.Errorf("log %s", s)
	}
}

func BenchmarkSpanWithoutCollector(b *testing.B) {
	tel, err := telemetry.Setup(b.Context(), telemetry.Config{Writer: io.Discard})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		_, span := tel.Tracer.Start(b.Context(), "x")
		span.End()
	}
}
