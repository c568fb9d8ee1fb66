package bench

import (
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"atoll/internal/repro"
)

// python writes a program that stands in for a Python with NumPy.
func python(t *testing.T, script string) string {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("needs a shell")
	}
	path := filepath.Join(t.TempDir(), "python")
	// A process that another test begins meanwhile must not inherit the open file: it
	// could not be run then.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script+"\n"), 0o700); err != nil { //nolint:gosec // is to be run
		t.Fatal(err)
	}
	return path
}

func TestFloatsBesideNumPy(t *testing.T) {
	t.Parallel()
	pool, err := repro.NewPool(1, repro.Portable)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	np, name, err := startNumPy(t.Context(), python(t, `echo NumPy 9; while read rows cols vectors least; do echo $((rows * cols * vectors)); done`))
	if err != nil || name != "NumPy 9" {
		t.Fatal(name, err)
	}
	defer np.stop()
	row := FloatRow{Rows: 3, Cols: 5, Vectors: 2}
	if err := row.measure(1, pool, np); err != nil {
		t.Fatal(err)
	}
	if row.GFLOPPerS <= 0 || *row.NumPy != 2 || math.Abs(*row.NumPyRatio/row.GFLOPPerS-0.5) > 1e-9 {
		t.Errorf("%+v, %v, %v", row, *row.NumPy, *row.NumPyRatio)
	}
	row = FloatRow{Rows: 3, Cols: 5, Vectors: 2}
	if err := row.measure(1, pool, nil); err != nil || row.GFLOPPerS <= 0 || row.NumPy != nil || row.NumPyRatio != nil {
		t.Errorf("alone: %+v, %v", row, err)
	}
}

// One that is not there is reported, one that fails ends the benchmark.
func TestNumPyIsAbsent(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"no-such-python", python(t, "echo absent: this Python has no NumPy")} {
		if np, name, err := startNumPy(t.Context(), path); np != nil || !strings.HasPrefix(name, "absent: ") || err != nil {
			t.Errorf("%s: %v, %q, %v", path, np, name, err)
		}
	}
	if _, _, err := startNumPy(t.Context(), python(t, "exit 1")); err == nil {
		t.Error("a Python that fails is taken")
	}
	for _, says := range []string{"soon", "0", "-3"} {
		np, _, err := startNumPy(t.Context(), python(t, "echo NumPy; read x; echo "+says))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := np.perCall(1, 1, 1); err == nil {
			t.Errorf("%s is taken for a time", says)
		}
		np.stop()
	}
}
