package bus

import (
	"context"
	"maps"
	"slices"

	"github.com/nats-io/nats.go"
	"go.opentelemetry.io/otel/propagation"
)

const traceparentKey = "traceparent"

// HeaderCarrier carries W3C trace context in the headers of a message. Both ends
// of the bus read and write headers through it. Keys are case-sensitive and lower
// case, as the specification writes them.
type HeaderCarrier nats.Header

var _ propagation.TextMapCarrier = HeaderCarrier(nil)

// Get returns the first value of key, or "".
func (c HeaderCarrier) Get(key string) string { return nats.Header(c).Get(key) }

// Set replaces the values of key.
func (c HeaderCarrier) Set(key, value string) { nats.Header(c).Set(key, value) }

// Keys lists the keys in order.
func (c HeaderCarrier) Keys() []string { return slices.Sorted(maps.Keys(c)) }

// Traceparent returns the trace context of ctx as it goes into a message, or ""
// if ctx is in no trace.
func Traceparent(ctx context.Context) string {
	c := HeaderCarrier{}
	propagation.TraceContext{}.Inject(ctx, c)
	return c.Get(traceparentKey)
}

// WithTraceparent returns ctx continued in the trace of a received message. A
// malformed traceparent leaves ctx as it is.
func WithTraceparent(ctx context.Context, traceparent string) context.Context {
	if traceparent == "" {
		return ctx
	}
	c := HeaderCarrier{}
	c.Set(traceparentKey, traceparent)
	return propagation.TraceContext{}.Extract(ctx, c)
}
