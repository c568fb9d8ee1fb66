package conformance_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"atoll/internal/engine"
	"atoll/internal/engine/conformance"
)

// toy is an engine that reverses its input. Its model is the word "reverse".
// Input "slow…" takes a minute, input "bad…" is refused. fault names one thing
// that it does wrong.
type toy struct {
	fault string
	runs  atomic.Int64
	last  atomic.Pointer[[]byte]
}

func (*toy) Name() string       { return "toy" }
func (*toy) Reproducible() bool { return true }
func (*toy) Close() error       { return nil }

func (e *toy) Load(_ context.Context, m engine.Model) (engine.Instance, error) {
	b, err := os.ReadFile(m.Path)
	if err != nil {
		return nil, err
	}
	switch {
	case e.fault == "vague refusal" && string(b) != "reverse":
		return nil, errors.New("no")
	case e.fault == "prefix is enough" && len(b) > 0 && strings.HasPrefix("reverse", string(b)), string(b) == "reverse":
		return &toyInstance{e}, nil
	}
	return nil, fmt.Errorf("%w: not the word", engine.ErrModel)
}

type toyInstance struct{ *toy }

func (*toyInstance) Close(context.Context) error { return nil }

func (in *toyInstance) Run(ctx context.Context, input engine.Input) (engine.Output, engine.Usage, error) {
	var out engine.Output
	use := engine.Usage{BytesIn: int64(len(input.Data))}
	if in.fault != "deaf to contexts" {
		if w := input.Limits.Wall; w > 0 && in.fault != "deaf to wall" {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, w)
			defer cancel()
		}
		wait := time.Duration(0)
		if bytes.HasPrefix(input.Data, []byte("slow")) {
			wait = time.Minute
		}
		if in.fault == "deaf to wall" {
			wait = min(wait, time.Second)
		}
		if err := sleep(ctx, wait); err != nil {
			if errors.Is(err, context.DeadlineExceeded) && in.fault != "bare deadline" {
				err = engine.ErrDeadline
			}
			return out, use, err
		}
	}
	if bytes.HasPrefix(input.Data, []byte("bad")) {
		return out, use, engine.ErrInput
	}
	n := in.runs.Add(1)
	data := bytes.Clone(input.Data)
	switch in.fault {
	case "changes its input":
		data = input.Data
	case "shares memory":
		in.last.Store(&data)
		_ = sleep(context.Background(), time.Millisecond)
		data = bytes.Clone(*in.last.Load())
	case "counts":
		data = fmt.Append(data, n)
	}
	slices.Reverse(data)
	use.BytesOut = int64(len(data))
	if in.fault == "wrong usage" {
		use.BytesOut = 0
	}
	if l := input.Limits.Output; l > 0 && use.BytesOut > l && in.fault != "no output limit" {
		return out, use, engine.ErrTooLarge
	}
	out.Data = data
	return out, use, nil
}

// sleep waits until d has passed or ctx has ended.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

const faultVar = "ATOLL_CONFORMANCE_FAULT"

// TestToy runs the suite on the toy, which passes unless the environment asks
// for a fault.
func TestToy(t *testing.T) {
	fault := os.Getenv(faultVar)
	conformance.Run(t, conformance.Case{
		New:        func(testing.TB) engine.Engine { return &toy{fault: fault} },
		GoodModel:  []byte("reverse"),
		GoodInput:  []byte("abc"),
		OtherInput: []byte("xyz"),
		BadInput:   []byte("bad"),
		SlowInput:  []byte("slow"),
		Want:       []byte("cba"),
	})
}

// TestFaultsAreFound runs TestToy with each fault in a process of its own,
// where it must fail in the check that is there for it.
func TestFaultsAreFound(t *testing.T) {
	t.Parallel()
	for fault, check := range map[string]string{
		"counts":            "SameBytes",
		"wrong usage":       "SameBytes",
		"changes its input": "Concurrent",
		"shares memory":     "Concurrent",
		"no output limit":   "OutputLimit",
		"prefix is enough":  "GarbageModel",
		"vague refusal":     "GarbageModel",
		"deaf to contexts":  "DoneContext",
		"bare deadline":     "ContextDeadline",
		"deaf to wall":      "WallLimit",
	} {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestToy$", "-test.v")
			cmd.Env = append(os.Environ(), faultVar+"="+fault)
			out, err := cmd.CombinedOutput()
			if err == nil {
				t.Fatalf("the suite passes an engine with the fault %q", fault)
			}
			if want := "--- FAIL: TestToy/" + check; !bytes.Contains(out, []byte(want)) {
				t.Errorf("no %q in:\n%s", want, out)
			}
		})
	}
}
