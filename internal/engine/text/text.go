// Package text is the engine that routes and grades short texts with a
// classifier from learn/text. It computes in process, in bit-reproducible
// arithmetic: equal model, input and params give equal bytes on every machine.
//
// # Input
//
// JSON Lines in UTF-8. Each line is an object with a string "text", and
// optionally an "id", a string or number that is repeated in the answer; other
// fields are ignored, so that labelled data can be used as it is. A line may
// also be a JSON string, the text itself. Blank lines are read over.
//
// # Output
//
// One line for each line of input that is not blank, in its order:
//
//	{"id":7,"label":"card_lost","p":"0.9312","reasons":[{"feature":"stolen","weight":"1.204"}]}
//
// p is the probability of the label. A reason is a word, or two neighbouring
// ones, of the text (lower case, digits as 0) that spoke for the label, with its
// share of the lead over the next best label, the heaviest first. With
// "top" over 1, "others" lists the labels after the first:
//
//	"others":[{"label":"card_swallowed","p":"0.0501"}]
//
// # Params
//
//   - top: how many labels to give, 1 to 20; 1 if absent.
//   - reasons: how many reasons to give, 0 to 20; 3 if absent. With 0 there is
//     no "reasons" field.
package text

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"time"

	"atoll/internal/core"
	"atoll/internal/engine"
	"atoll/internal/engine/jsonl"
	learn "atoll/internal/learn/text"
)

// Limits. Those on input and output hold where the run sets none.
const (
	MaxModel  = 128 << 20 // bytes of a model file
	MaxInput  = 64 << 20  // bytes of one part
	MaxOutput = 64 << 20  // bytes of one result
	MaxLine   = 1 << 20   // bytes of one line; the text in it at most learn.MaxText

	maxTop, maxReasons = 20, 20
)

// Engine implements engine.Engine. It holds nothing, so its zero value is ready
// for use.
type Engine struct{}

// New returns the engine.
func New() *Engine { return &Engine{} }

// Name implements engine.Engine.
func (*Engine) Name() string { return "text" }

// Reproducible implements engine.Engine.
func (*Engine) Reproducible() bool { return true }

// Close implements engine.Engine.
func (*Engine) Close() error { return nil }

// Load implements engine.Engine. The whole model is read here, so its digest is
// checked on the very bytes that will be used.
func (*Engine) Load(ctx context.Context, m engine.Model) (engine.Instance, error) {
	if err := engine.Ended(ctx); err != nil {
		return nil, err
	}
	b, err := read(m.Path)
	if err != nil {
		return nil, err
	}
	if got := core.DigestOf(b); got != m.Digest {
		return nil, fmt.Errorf("%w: its digest is %s, not %s", engine.ErrModel, got, m.Digest)
	}
	model, err := learn.Parse(b)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", engine.ErrModel, err)
	}
	return &instance{model: model, size: int64(len(b))}, nil
}

func read(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("text: %w", err)
	}
	defer func() { _ = f.Close() }() // only read
	b, err := io.ReadAll(io.LimitReader(f, MaxModel+1))
	if err != nil {
		return nil, fmt.Errorf("text: %w", err)
	}
	if len(b) > MaxModel {
		return nil, fmt.Errorf("%w: over %d bytes", engine.ErrModel, MaxModel)
	}
	return b, nil
}

type instance struct {
	model *learn.Model
	size  int64 // of the model file
}

// Close implements engine.Instance.
func (*instance) Close(context.Context) error { return nil }

// Run implements engine.Instance. A run has one goroutine, so that its wall
// time is the most CPU time it can have used: that is what Usage reports, and
// what Limits.CPU is held against.
func (in *instance) Run(ctx context.Context, input engine.Input) (engine.Output, engine.Usage, error) {
	start := time.Now()
	ctx, cancel := input.Limits.Within(ctx)
	defer cancel()
	r, err := in.newRun(input)
	if err == nil {
		err = r.all(ctx, input.Data)
	}
	use := engine.Usage{CPU: time.Since(start), BytesIn: int64(len(input.Data))}
	if err != nil {
		return engine.Output{}, use, err
	}
	use.BytesOut = int64(len(r.out))
	use.Memory = in.size + int64(len(input.Data)) + int64(cap(r.out))
	return engine.Output{Data: r.out}, use, nil
}

// run is the state of one Run.
type run struct {
	model    *learn.Model
	top      int
	reasons  int
	most     int64 // bytes of output
	shortage error // what to say when output grows over it
	out      []byte
}

func (in *instance) newRun(input engine.Input) (*run, error) {
	if len(input.Data) > MaxInput {
		return nil, fmt.Errorf("%w: %d bytes of input, at most %d", engine.ErrTooLarge, len(input.Data), MaxInput)
	}
	r := &run{model: in.model, top: 1, reasons: 3, most: MaxOutput}
	for _, name := range slices.Sorted(maps.Keys(input.Params)) {
		var err error
		switch value := input.Params[name]; name {
		case "top":
			r.top, err = number(name, value, 1, maxTop)
		case "reasons":
			r.reasons, err = number(name, value, 0, maxReasons)
		default:
			err = fmt.Errorf("%w: unknown param %.40q, want top or reasons", engine.ErrInput, name)
		}
		if err != nil {
			return nil, err
		}
	}
	if n := input.Limits.Output; n > 0 {
		r.most = n
	}
	r.shortage = fmt.Errorf("%w: over %d bytes of output", engine.ErrTooLarge, r.most)
	if n := input.Limits.Memory; n > 0 {
		left := n - in.size - int64(len(input.Data))
		if left <= 0 {
			return nil, fmt.Errorf("%w: model and input alone take over %d bytes of memory", engine.ErrTooLarge, n)
		}
		if left < r.most {
			r.most = left
			r.shortage = fmt.Errorf("%w: over %d bytes of memory", engine.ErrTooLarge, n)
		}
	}
	return r, nil
}

func number(name, value string, low, high int) (int, error) {
	n, err := strconv.Atoi(value)
	if err != nil || n < low || n > high {
		return 0, fmt.Errorf("%w: param %s is %.40q, want %d to %d", engine.ErrInput, name, value, low, high)
	}
	return n, nil
}

// all answers every line.
func (r *run) all(ctx context.Context, data []byte) error {
	answered := 0
	for n, line := range jsonl.Lines(data) {
		if answered%16 == 0 {
			if err := engine.Ended(ctx); err != nil {
				return err
			}
		}
		answered++
		if err := r.line(line); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
		if int64(len(r.out)) > r.most {
			return fmt.Errorf("line %d: %w", n, r.shortage)
		}
	}
	if answered == 0 {
		return jsonl.ErrEmpty
	}
	return nil
}
