package control

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"atoll/internal/tlog"
)

// A database that was put back from a copy must not sign another history than
// the world was shown.
func TestRestoredDatabaseIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.join("a-1", "alice", "FR", 10_000)
	work := func() {
		w.mustSubmit(nil)
		for _, l := range w.leases(a.id) {
			w.report(a, l, "result", nil)
		}
		w.settle()
	}
	work()
	if err := w.hub.Close(); err != nil {
		t.Fatal(err)
	}
	old := t.TempDir()
	paths, err := filepath.Glob(w.hub.cfg.Path + "*")
	if err != nil || len(paths) == 0 {
		t.Fatal(paths, err)
	}
	copyFiles(t, old, paths)
	w.open()
	w.beat(a)
	work()
	if err := w.hub.Close(); err != nil {
		t.Fatal(err)
	}
	for _, p := range paths {
		if err := os.Remove(p); err != nil {
			t.Fatal(err)
		}
	}
	backup, err := filepath.Glob(filepath.Join(old, "*"))
	if err != nil {
		t.Fatal(err)
	}
	copyFiles(t, filepath.Dir(w.hub.cfg.Path), backup)
	if c, err := New(t.Context(), w.hub.cfg); !errors.Is(err, tlog.ErrAhead) {
		if err == nil {
			c.Close()
		}
		t.Errorf("%v, want %v", err, tlog.ErrAhead)
	}
}

func copyFiles(t *testing.T, dir string, paths []string) {
	t.Helper()
	for _, p := range paths {
		data, err := os.ReadFile(p)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, filepath.Base(p)), data, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}
