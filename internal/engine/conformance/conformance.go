// Package conformance is the one suite that every engine passes: what a node
// relies on when it runs a stranger's part, whatever engine computes it.
//
// An engine's own test fills a [Case] with a small model and calls [Run]. Only
// New, GoodModel and GoodInput are needed; each further field turns on the
// checks that need it, and a check that an engine cannot show is reported as
// skipped, by name, not passed over in silence.
package conformance

import (
	"testing"
	"time"

	"atoll/internal/engine"
)

// Case is one engine with the material to try it on.
type Case struct {
	// New returns a fresh engine. The suite closes it.
	New func(t testing.TB) engine.Engine

	GoodModel []byte            // a model that loads
	GoodInput []byte            // an input that it accepts
	Params    map[string]string // goes with GoodInput, OtherInput and BadInput
	Want      []byte            // the output for GoodInput, byte for byte; nil: any

	// OtherInput is a second accepted input whose output differs from that of
	// GoodInput. With it the concurrency check sees parts that leak into each
	// other.
	OtherInput []byte

	// BadInput is refused by the model; BadInputErr is the sentinel to expect,
	// engine.ErrInput if nil (a wasm module that exits non-zero gives ErrCrashed).
	BadInput    []byte
	BadInputErr error

	// HugeInput is more than the engine takes by default: refused with
	// engine.ErrTooLarge.
	HugeInput []byte

	// SlowInput keeps the model busy for well over a second, if it is let.
	// SlowModel and SlowParams go with it; GoodModel and Params if nil.
	SlowInput  []byte
	SlowModel  []byte
	SlowParams map[string]string

	// ChecksDigest says that Load compares the file with Model.Digest itself.
	ChecksDigest bool

	// BadModels are further files that Load must refuse, by name.
	BadModels map[string][]byte
}

const (
	// shortWall is the limit given to a run that would take much longer.
	shortWall = 150 * time.Millisecond
	// overdue is how long a run that should have stopped may take to do so. It
	// is wide because the race detector and a busy machine are slow; a run that
	// does not stop at all is caught by its success, or by the test's timeout.
	overdue = 10 * time.Second
	// workers and rounds size the concurrency check.
	workers, rounds = 8, 4
)

// Run runs the suite. Subtests run in parallel, each on an engine of its own.
func Run(t *testing.T, c Case) {
	t.Helper()
	if c.New == nil || len(c.GoodModel) == 0 || c.GoodInput == nil {
		t.Fatal("conformance: New, GoodModel and GoodInput are needed")
	}
	for _, check := range []struct {
		name string
		need bool
		run  func(*testing.T, Case)
	}{
		{"SameBytes", true, sameBytes},
		{"Concurrent", true, concurrent},
		{"Progress", true, progress},
		{"OutputLimit", true, outputLimit},
		{"GarbageModel", true, garbageModel},
		{"DigestMismatch", c.ChecksDigest, digestMismatch},
		{"BadInput", c.BadInput != nil, badInput},
		{"HugeInput", c.HugeInput != nil, hugeInput},
		{"DoneContext", true, doneContext},
		{"WallLimit", c.SlowInput != nil, wallLimit},
		{"ContextDeadline", c.SlowInput != nil, contextDeadline},
		{"Cancel", c.SlowInput != nil, cancelled},
		{"Close", true, closing},
	} {
		t.Run(check.name, func(t *testing.T) {
			if !check.need {
				t.Skipf("the case of engine gives nothing to show %s with", check.name)
			}
			t.Parallel()
			check.run(t, c)
		})
	}
}
