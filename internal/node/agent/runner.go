package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"atoll/internal/bus"
	"atoll/internal/core"
	"atoll/internal/engine"
)

// runner runs one part at a time, on as many goroutines as there are slots.
type runner struct {
	instances *instances
	inputs    inputSource
	telling   *telling
	tracer    trace.Tracer
	log       *slog.Logger
}

// inputSource is where inputs come from that are too large for a message:
// HubHTTP.
type inputSource interface {
	Input(ctx context.Context, id core.LeaseID, size int64) ([]byte, error)
}

// run does a part from fetching to result. begun is called when model and input
// are at hand and the clock of the execution limit starts.
func (r *runner) run(ctx context.Context, s Start, begun func()) Outcome {
	l := s.Lease
	ctx, span := r.tracer.Start(bus.WithTraceparent(ctx, l.Traceparent), "lease.run",
		trace.WithSpanKind(trace.SpanKindConsumer))
	defer span.End()
	if span.IsRecording() {
		span.SetAttributes(attribute.Stringer("atoll.lease", l.ID), attribute.Stringer("atoll.task", l.Task),
			attribute.Int("atoll.part", l.Part), attribute.String("atoll.engine", l.Engine))
	}
	model, err := r.instances.acquire(ctx, l)
	if err != nil {
		return r.ended(span, l, Outcome{}, err)
	}
	defer r.instances.giveBack(model)
	data, err := r.input(ctx, l)
	if err != nil {
		return r.ended(span, l, Outcome{}, err)
	}
	begun()
	out := Outcome{Started: time.Now()}
	if err = r.compute(ctx, s, model.inst, data, &out); err != nil {
		err = pathless{err, model.path}
	}
	out.Finished = time.Now()
	return r.ended(span, l, out, err)
}

func (r *runner) input(ctx context.Context, l *bus.Lease) ([]byte, error) {
	if l.InputSize <= bus.InlineLimit {
		return l.Data, nil // checked at admission
	}
	data, err := r.inputs.Input(ctx, l.ID, l.InputSize)
	if err != nil {
		return nil, fmt.Errorf("fetch input: %w", err)
	}
	if core.DigestOf(data) != l.Input {
		return nil, errors.New("fetch input: what came does not match the digest in the lease")
	}
	return data, nil
}

// errStopped is why a run ends whose result nobody wants.
var errStopped = errors.New("stopped")

var errPanic = errors.New("the engine failed badly; see this node's log")

func (r *runner) compute(ctx context.Context, s Start, inst engine.Instance, data []byte, out *Outcome) (err error) {
	limit := time.Duration(s.Lease.ExecutionMs) * time.Millisecond
	ctx, cancel := context.WithTimeoutCause(ctx, limit, engine.ErrDeadline)
	defer cancel()
	defer func() { // an engine's bug on one strange input must not take the node along
		if p := recover(); p != nil {
			r.log.Error("engine panicked", "lease", s.Lease.ID, "engine", s.Lease.Engine, "panic", p, "stack", string(debug.Stack()))
			err = errPanic
		}
	}()
	res, usage, err := inst.Run(ctx, engine.Input{
		Data: data, Params: s.Lease.Params, Progress: r.telling.of(s.Lease),
		Limits: engine.Limits{Wall: limit, CPU: limit, Memory: s.Lease.Memory},
	})
	out.Data, out.Accounts, out.Usage = res.Data, res.Accounts, usage
	if err == nil && s.Delay > 0 {
		select {
		case <-time.After(s.Delay):
		case <-ctx.Done():
		}
	}
	if err == nil || ctx.Err() != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
	}
	return err
}

// ended sorts an error into whose fault it is.
func (r *runner) ended(span trace.Span, l *bus.Lease, out Outcome, err error) Outcome {
	if err == nil {
		return out
	}
	span.SetStatus(codes.Error, err.Error())
	out.Data, out.Accounts = nil, nil
	if out.Failure = failureText(err, l); out.Failure == "" {
		out.Fault = "this node could not do it: " + clean(err.Error())
		if !errors.Is(err, errStopped) {
			r.log.Warn("lease not done", "lease", l.ID, "error", err)
		}
	}
	return out
}

// failureText says how a part or its model failed, in words that are the same on
// every node, so that failures can agree like results; empty if the failure is
// not the part's.
func failureText(err error, l *bus.Lease) string {
	if errors.Is(err, engine.ErrDeadline) { // what else it says is as timing had it
		return fmt.Sprintf("%s: the part may take %d ms", engine.ErrDeadline, l.ExecutionMs)
	}
	for _, class := range []error{engine.ErrModel, engine.ErrInput, engine.ErrTooLarge, engine.ErrCrashed} {
		if !errors.Is(err, class) {
			continue
		}
		text := clean(err.Error())
		if !strings.Contains(text, class.Error()) {
			text = class.Error() + ": " + text
		}
		return text
	}
	return ""
}

// pathless is an error about a model that does not say where its file is.
type pathless struct {
	error
	path string
}

func (e pathless) Error() string {
	if e.path == "" { // a line's
		return e.error.Error()
	}
	return strings.ReplaceAll(e.error.Error(), e.path, "the model")
}
func (e pathless) Unwrap() error { return e.error }

// clean takes this machine's paths, and control characters, out of a text that
// will be read elsewhere.
func clean(text string) string {
	words := strings.FieldsFunc(text, func(r rune) bool { return r <= ' ' || r == 0x7f })
	for i, w := range words {
		if bare := strings.TrimLeft(w, `"'(`); strings.HasPrefix(bare, "/") || (len(bare) > 2 && bare[1:3] == `:\`) {
			words[i] = "(path)"
		}
	}
	return strings.Join(words, " ")
}
