package atoll

import (
	"crypto/rand"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"atoll/internal/auth"
	"atoll/internal/peer/relay"
)

// Config for New. Hub and Log are required.
type Config struct {
	Hub     Hub
	Log     *slog.Logger
	Tracer  trace.Tracer // optional: no spans
	Version string       // of this build, for the OpenAPI document

	MetricsHandler http.Handler // optional: serves /metrics
	// LogHandler, optional, serves the transparency log below /v1/log, and sees
	// paths without that prefix: /checkpoint, /tile/….
	LogHandler http.Handler
	Mounts     []Mount // other APIs on the same server
	// Federations, optional, is federated learning on this hub.
	Federations Federations
	// Relay, optional, joins nodes that cannot dial one another. It stays the
	// caller's to close.
	Relay *relay.Hub

	// KeyRate bounds each API key, AddressRate each address that shows no valid
	// one. A zero Rate means the default.
	KeyRate, AddressRate auth.Rate

	MaxBody   int64 // bytes of a task specification; default 8 MiB
	MaxBlob   int64 // bytes of an upload; default 8 GiB
	MaxResult int64 // bytes of a part's result from a node; default 1 GiB
	// BodyTimeout bounds the arrival of a JSON body, and of each piece of a
	// stream in either direction; default 30 s.
	BodyTimeout time.Duration
	Heartbeat   time.Duration // between signs of life in an event stream; default 15 s

	Now       func() time.Time // optional
	RequestID func() string    // optional
}

// Limits that no operator needs to change.
const (
	maxSmallBody  = 64 << 10          // bytes of any JSON body but a task's
	maxWait       = 120 * time.Second // of submit-task?wait=
	maxIdempotent = 255               // characters of an Idempotency-Key
	maxRequestID  = 64                // characters of an X-Request-ID that is echoed
	maxPage       = 1000              // rows of a page
	keepBuffer    = 256 << 10         // bytes of a buffer that is worth keeping
)

func (c *Config) setDefaults() error {
	if c.Hub == nil || c.Log == nil {
		return errors.New("atoll: Hub and Log are required")
	}
	if c.MaxBody < 0 || c.MaxBlob < 0 || c.MaxResult < 0 || c.BodyTimeout < 0 || c.Heartbeat < 0 {
		return errors.New("atoll: limits must not be negative")
	}
	if c.Tracer == nil {
		c.Tracer = noop.NewTracerProvider().Tracer("")
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.RequestID == nil {
		c.RequestID = rand.Text
	}
	if c.KeyRate == (auth.Rate{}) {
		c.KeyRate = auth.Rate{PerSecond: 10_000, Burst: 20_000}
	}
	if c.AddressRate == (auth.Rate{}) {
		c.AddressRate = auth.Rate{PerSecond: 50, Burst: 500}
	}
	setDefault(&c.MaxBody, 8<<20)
	setDefault(&c.MaxBlob, 8<<30)
	setDefault(&c.MaxResult, 1<<30)
	setDefault(&c.BodyTimeout, 30*time.Second)
	setDefault(&c.Heartbeat, 15*time.Second)
	return nil
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
