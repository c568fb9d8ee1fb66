package durable

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
)

// content reads a file of a directory that must hold nothing else.
func content(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 {
		t.Errorf("the directory holds %v, %v", entries, err)
	}
	return string(b)
}

func TestReplace(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "f")
	if err := WriteFile(path, []byte("one"), Public); err != nil {
		t.Fatal(err)
	}
	if err := WriteFile(path, []byte("two"), Private); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || content(t, path) != "two" || runtime.GOOS != "windows" && info.Mode().Perm() != Private {
		t.Errorf("%q, %v, %v", content(t, path), info, err)
	}
	cause := errors.New("half of it")
	err = Replace(path, Public, func(w io.Writer) error {
		if _, err := io.WriteString(w, strings.Repeat("x", 1<<16)); err != nil {
			return err
		}
		return cause
	})
	if !errors.Is(err, cause) || content(t, path) != "two" {
		t.Errorf("%v, and there is %q", err, content(t, path))
	}
	if err := WriteFile(filepath.Join(path, "f"), nil, Public); err == nil {
		t.Error("a file within a file")
	}
}

func TestCreateLetsTheFirstWin(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "f")
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			if err := Create(path, fmt.Append(nil, "writer ", i), Private); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	first := content(t, path)
	if err := Create(path, []byte("late"), Private); err != nil || content(t, path) != first || !strings.HasPrefix(first, "writer ") {
		t.Errorf("%q, then %q, %v", first, content(t, path), err)
	}
}

func TestLock(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	for range 2 { // given back, it can be taken again
		unlock, err := Lock(dir, "node with a long name")
		if err != nil {
			t.Fatal(err)
		}
		want := fmt.Sprintf("in use by node with a long name, process %d; ", os.Getpid())
		if _, err := Lock(dir, "hub"); !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
		if err := unlock(); err != nil {
			t.Fatal(err)
		}
	}
	unlock, err := Lock(dir, "hub") // the longer words are gone
	if err != nil {
		t.Fatal(err)
	}
	if got := content(t, filepath.Join(dir, lockFile)); got != fmt.Sprintf("hub, process %d\n", os.Getpid()) {
		t.Errorf("%q", got)
	}
	if err := unlock(); err != nil {
		t.Fatal(err)
	}
}

func TestMkdirAll(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "a", "b", "c")
	for range 2 {
		if err := MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		t.Error(err)
	}
	file := filepath.Join(dir, "file")
	if err := WriteFile(file, nil, Private); err != nil {
		t.Fatal(err)
	}
	if err := MkdirAll(filepath.Join(file, "d"), 0o700); err == nil {
		t.Error("a directory in a file")
	}
}
