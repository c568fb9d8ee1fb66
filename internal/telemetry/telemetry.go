// Package telemetry makes the three things with which a process is watched, and
// hands them over as values; it sets no globals:
//
//	Logger    structured, text for people or JSON for machines
//	Tracer    spans to an OTLP/HTTP collector if one is configured; without one,
//	          spans are not recorded, but trace IDs are still made and carried on,
//	          so that a task can be followed through logs and receipts
//	Registry  Prometheus metrics, with the Go runtime's and the process's own
//
// The collector is configured by the standard OTEL_EXPORTER_OTLP_… variables.
package telemetry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// Config for Setup.
type Config struct {
	Service string // "atoll-hub", "atoll-node": names the process in traces
	Version string
	Writer  io.Writer  // where log lines go; required
	Format  string     // "text" (default) or "json"
	Level   slog.Level // default info
	// Getenv reads the OTEL_ variables; os.Getenv in a real process.
	Getenv func(string) string
	// ExportTimeout bounds each upload of spans; default 10 s.
	ExportTimeout time.Duration
}

// Telemetry is what Setup made. Its fields are never nil.
type Telemetry struct {
	Logger   *slog.Logger
	Tracer   trace.Tracer
	Registry *prometheus.Registry
	// Exporting says whether spans go anywhere.
	Exporting bool

	provider *sdktrace.TracerProvider
}

// Setup makes the logger, the tracer and the metrics registry. It connects to
// nothing; a collector that cannot be reached later costs spans and nothing else.
func Setup(ctx context.Context, c Config) (*Telemetry, error) {
	logger, err := newLogger(c)
	if err != nil {
		return nil, err
	}
	t := &Telemetry{Logger: logger, Registry: prometheus.NewRegistry()}
	for _, m := range []prometheus.Collector{collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})} {
		if err := t.Registry.Register(m); err != nil {
			return nil, fmt.Errorf("telemetry: %w", err)
		}
	}
	if t.provider, err = newProvider(ctx, c); err != nil {
		return nil, err
	}
	t.Exporting = endpoint(c) != ""
	t.Tracer = t.provider.Tracer("atoll")
	return t, nil
}

// MetricsHandler serves the registry in Prometheus's formats.
func (t *Telemetry) MetricsHandler() http.Handler {
	return promhttp.HandlerFor(t.Registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4})
}

// Shutdown sends what spans are left and stops. It gives up when ctx ends.
func (t *Telemetry) Shutdown(ctx context.Context) error {
	if err := t.provider.Shutdown(ctx); err != nil {
		return fmt.Errorf("telemetry: the last spans were not sent: %w", err)
	}
	return nil
}

func newLogger(c Config) (*slog.Logger, error) {
	if c.Writer == nil {
		return nil, errors.New("telemetry: no writer for log lines")
	}
	o := &slog.HandlerOptions{Level: c.Level}
	switch c.Format {
	case "", "text":
		return slog.New(withTrace{slog.NewTextHandler(c.Writer, o)}), nil
	case "json":
		return slog.New(withTrace{slog.NewJSONHandler(c.Writer, o)}), nil
	}
	return nil, fmt.Errorf("telemetry: log format %.40q: want text or json", c.Format)
}

// endpoint returns the configured collector, or "".
func endpoint(c Config) string {
	if c.Getenv == nil {
		return ""
	}
	if u := c.Getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"); u != "" {
		return u
	}
	if u := c.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT"); u != "" {
		if joined, err := url.JoinPath(u, "v1", "traces"); err == nil {
			return joined
		}
		return u
	}
	return ""
}

func newProvider(ctx context.Context, c Config) (*sdktrace.TracerProvider, error) {
	about := resource.NewSchemaless(attribute.String("service.name", c.Service), attribute.String("service.version", c.Version))
	target := endpoint(c)
	if target == "" {
		// Nothing is recorded, but a caller's wish to sample is passed on.
		return sdktrace.NewTracerProvider(sdktrace.WithResource(about), sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.NeverSample()))), nil
	}
	if u, err := url.Parse(target); err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return nil, errors.New("telemetry: OTEL_EXPORTER_OTLP_ENDPOINT is not an http or https URL")
	}
	timeout := c.ExportTimeout
	if timeout == 0 {
		timeout = 10 * time.Second
	}
	// Headers, TLS and compression come from the environment, as the exporter reads it.
	exporter, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(target), otlptracehttp.WithTimeout(timeout))
	if err != nil {
		return nil, fmt.Errorf("telemetry: OTLP exporter: %w", err)
	}
	return sdktrace.NewTracerProvider(
		sdktrace.WithResource(about),
		sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.AlwaysSample())),
		sdktrace.WithBatcher(exporter, sdktrace.WithExportTimeout(timeout)),
	), nil
}
