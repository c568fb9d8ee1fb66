package blob

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"pgregory.net/rapid"

	"atoll/internal/core"
)

func open(t testing.TB, dir string, o Options) *Store {
	t.Helper()
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func put(t testing.TB, s *Store, content string) core.Digest {
	t.Helper()
	d, n, err := s.Put(t.Context(), strings.NewReader(content), core.Digest{}, math.MaxInt64)
	if err != nil || n != int64(len(content)) || d != core.DigestOf([]byte(content)) {
		t.Fatalf("put %.20q: %v, %d, %v", content, d, n, err)
	}
	return d
}

func read(s *Store, d core.Digest) (string, error) {
	r, size, err := s.Open(d)
	if err != nil {
		return "", err
	}
	defer r.Close()
	b := make([]byte, size) // as callers do: ReadFull never sees io.EOF
	_, err = io.ReadFull(r, b)
	return string(b), err
}

// temps counts what is in the temporary directory.
func temps(t testing.TB, dir string) int {
	t.Helper()
	files, err := os.ReadDir(filepath.Join(dir, tempDir))
	if err != nil {
		t.Fatal(err)
	}
	return len(files)
}

func TestPutAndRead(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir, Options{})
	long := strings.Repeat("0123456789", 100_000)
	for _, content := range []string{"", "a", long, "a"} {
		d := put(t, s, content)
		if got, err := read(s, d); err != nil || got != content || !s.Has(d) {
			t.Errorf("%.20q: %.20q, %v", content, got, err)
		}
		r, _, err := s.Open(d)
		if err != nil {
			t.Fatal(err)
		}
		if err := iotest.TestReader(r, []byte(content)); err != nil {
			t.Error(err)
		}
		if err := errors.Join(r.Close(), r.Close()); err != nil {
			t.Error(err)
		}
	}
	if s.Used() != int64(len(long)+1) || temps(t, dir) != 0 {
		t.Errorf("%d bytes used, %d temporary files", s.Used(), temps(t, dir))
	}
	if b, err := os.ReadFile(s.Path(core.DigestOf([]byte("a")))); err != nil || string(b) != "a" {
		t.Errorf("path: %q, %v", b, err)
	}
}

func TestPutRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir, Options{MaxBytes: 100})
	stored := put(t, s, "stored")
	endless := iotest.TimeoutReader(neverEnds{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for name, tc := range map[string]struct {
		ctx   context.Context
		r     io.Reader
		want  core.Digest
		limit int64
		is    error
		kind  core.Kind
	}{
		"other content":               {t.Context(), strings.NewReader("x"), core.DigestOf([]byte("y")), 10, ErrMismatch, core.Invalid},
		"a claim of what is stored":   {t.Context(), strings.NewReader("x"), stored, 10, ErrMismatch, core.Invalid},
		"one byte over the limit":     {t.Context(), strings.NewReader("123"), core.Digest{}, 2, ErrTooLarge, core.TooLarge},
		"no limit left":               {t.Context(), strings.NewReader("1"), core.Digest{}, 0, ErrTooLarge, core.TooLarge},
		"a negative limit":            {t.Context(), strings.NewReader("1"), core.Digest{}, -5, ErrTooLarge, core.TooLarge},
		"more than the store holds":   {t.Context(), strings.NewReader(strings.Repeat("x", 101)), core.Digest{}, 1000, ErrTooLarge, core.TooLarge},
		"no end":                      {t.Context(), neverEnds{}, core.Digest{}, 1000, ErrTooLarge, core.TooLarge},
		"a reader that fails":         {t.Context(), io.MultiReader(strings.NewReader("x"), iotest.ErrReader(io.ErrUnexpectedEOF)), core.Digest{}, 9, io.ErrUnexpectedEOF, core.Internal},
		"a caller that has gone away": {ctx, endless, core.Digest{}, 9, context.Canceled, core.Internal},
	} {
		_, _, err := s.Put(tc.ctx, tc.r, tc.want, tc.limit)
		if !errors.Is(err, tc.is) || core.KindOf(err) != tc.kind {
			t.Errorf("%s: %v (%s)", name, err, core.KindOf(err))
		}
	}
	if s.Used() != 6 || temps(t, dir) != 0 {
		t.Errorf("left behind: %d bytes, %d files", s.Used(), temps(t, dir))
	}
	if _, _, err := s.Open(core.Digest{1}); !errors.Is(err, ErrNotFound) || core.KindOf(err) != core.NotFound {
		t.Errorf("open: %v", err)
	}
	if _, err := Open(t.TempDir(), Options{MaxBytes: -1}); err == nil {
		t.Error("a negative limit was accepted")
	}
}

type neverEnds struct{}

func (neverEnds) Read(p []byte) (int, error) { return len(p), nil }

func TestOpenCleansAndRemembers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir, Options{})
	var ds []core.Digest
	start := time.Now().Add(-time.Hour)
	for i := range 5 {
		d := put(t, s, fmt.Sprint("content ", i)) // 9 bytes each
		ds = append(ds, d)
		if err := os.Chtimes(s.Path(d), time.Time{}, start.Add(time.Duration(i)*time.Minute)); err != nil {
			t.Fatal(err)
		}
	}
	foreign := filepath.Join(s.shard(7), "README")
	if err := os.MkdirAll(s.shard(7), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{filepath.Join(dir, tempDir, "put-torn"), foreign} {
		if err := os.WriteFile(path, []byte("torn"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s = open(t, dir, Options{MaxBytes: 27})
	for i, d := range ds {
		if _, err := os.Stat(s.Path(d)); s.Has(d) != (i >= 2) || (err == nil) != (i >= 2) {
			t.Errorf("content %d: %v, %v; the oldest two should have gone", i, s.Has(d), err)
		}
	}
	if _, err := os.Stat(foreign); err != nil || s.Used() != 27 || temps(t, dir) != 0 {
		t.Errorf("foreign file: %v; %d bytes; %d torn", err, s.Used(), temps(t, dir))
	}
}

func TestDamageIsFoundAndRemoved(t *testing.T) {
	t.Parallel()
	content := strings.Repeat("weights ", 100_000)
	flip := func(b []byte) []byte { b[len(b)-1] ^= 1; return b }
	for name, tc := range map[string]struct {
		damage func([]byte) []byte
		find   func(*Store, core.Digest) error
	}{
		"bit, by ReadFull": {flip, func(s *Store, d core.Digest) error { _, err := read(s, d); return err }},
		"bit, by Copy": {flip, func(s *Store, d core.Digest) error {
			r, _, err := s.Open(d)
			if err != nil {
				return err
			}
			defer r.Close()
			var got bytes.Buffer
			if _, err = io.Copy(&got, r); err == nil || got.Len() >= len(content) {
				t.Errorf("%d bytes were let through: %v", got.Len(), err)
			}
			return err
		}},
		"bit, by Verify":    {flip, func(s *Store, d core.Digest) error { return s.Verify(t.Context(), d) }},
		"shorter, by Open":  {func(b []byte) []byte { return b[:10] }, func(s *Store, d core.Digest) error { _, _, err := s.Open(d); return err }},
		"longer, by Verify": {func(b []byte) []byte { return append(b, 0) }, func(s *Store, d core.Digest) error { return s.Verify(t.Context(), d) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var logged bytes.Buffer
			s := open(t, t.TempDir(), Options{Log: slog.New(slog.NewTextHandler(&logged, nil))})
			d := put(t, s, content)
			if err := s.Verify(t.Context(), d); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(s.Path(d), tc.damage([]byte(content)), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := tc.find(s, d); !errors.Is(err, ErrCorrupt) {
				t.Errorf("found: %v", err)
			}
			if _, err := os.Stat(s.Path(d)); err == nil || s.Has(d) || s.Used() != 0 {
				t.Error("the damaged content is still there")
			}
			if strings.Count(logged.String(), "level=ERROR") != 1 || !strings.Contains(logged.String(), d.String()) {
				t.Errorf("log: %s", &logged)
			}
			put(t, s, content)
			if err := s.Verify(t.Context(), d); err != nil {
				t.Errorf("after a new Put: %v", err)
			}
		})
	}
}

func TestInUseContentStays(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir(), Options{MaxBytes: 20})
	a, b := put(t, s, "aaaaaaaaaa"), put(t, s, "bbbbbbbbbb")
	release, ok := s.Pin(a)
	r, _, err := s.Open(b)
	if !ok || err != nil {
		t.Fatal(ok, err)
	}
	if _, _, err := s.Put(t.Context(), strings.NewReader("c"), core.Digest{}, 9); !errors.Is(err, ErrFull) {
		t.Errorf("all in use: %v", err)
	}
	release()
	release()
	if put(t, s, "cccccccccc"); s.Has(a) || !s.Has(b) {
		t.Error("the released one should have gone")
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if release, ok := s.Pin(a); ok {
		t.Error("pinned what is gone")
	} else {
		release()
	}
	if err := errors.Join(s.Delete(b), s.Delete(b)); err != nil || s.Has(b) || s.Used() != 10 {
		t.Errorf("delete: %v, %d bytes", err, s.Used())
	}
}

// TestAgainstModel drives the store and a list that says what should be in it.
func TestAgainstModel(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(root, "")
		if err != nil {
			rt.Fatal(err)
		}
		const limit = 30
		s := open(t, dir, Options{MaxBytes: limit, FS: fastFS{}})
		var model []string // most recently used last
		use := func(c string, add bool) {
			for i, m := range model {
				if m == c {
					model, add = append(model[:i:i], model[i+1:]...), true
					break
				}
			}
			if add {
				model = append(model, c)
			}
		}
		content := rapid.Custom(func(t *rapid.T) string {
			return strings.Repeat(rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(t, "letter"), rapid.IntRange(1, 15).Draw(t, "len"))
		})
		for range rapid.IntRange(1, 25).Draw(rt, "steps") {
			c := content.Draw(rt, "content")
			d := core.DigestOf([]byte(c))
			switch rapid.SampledFrom([]string{"put", "put", "read", "delete"}).Draw(rt, "op") {
			case "put":
				put(t, s, c)
				use(c, true)
				for len(strings.Join(model, "")) > limit {
					model = model[1:]
				}
			case "read":
				use(c, false)
				_, _ = read(s, d)
			case "delete":
				if use(c, false); len(model) > 0 && model[len(model)-1] == c {
					model = model[:len(model)-1]
				}
				if err := s.Delete(d); err != nil {
					rt.Fatal(err)
				}
			}
			if want := int64(len(strings.Join(model, ""))); s.Used() != want || len(s.entries) != len(model) {
				rt.Fatalf("%d bytes in %d, want %d in %q", s.Used(), len(s.entries), want, model)
			}
			for _, m := range model {
				if got, err := os.ReadFile(s.Path(core.DigestOf([]byte(m)))); err != nil || string(got) != m {
					rt.Fatalf("%q: %q, %v", m, got, err)
				}
			}
		}
		if again := open(t, dir, Options{}); again.Used() != s.Used() {
			rt.Fatalf("%d bytes after reopening, not %d", again.Used(), s.Used())
		}
	})
}

func TestConcurrent(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir, Options{MaxBytes: 4000, FS: fastFS{}})
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 30 {
				c := strings.Repeat(fmt.Sprint((g+i)%6), 1000)
				d := core.DigestOf([]byte(c))
				if _, _, err := s.Put(t.Context(), strings.NewReader(c), d, 1000); err != nil && !errors.Is(err, ErrFull) {
					t.Error(err)
				}
				if got, err := read(s, d); err == nil && got != c || err != nil && !errors.Is(err, ErrNotFound) {
					t.Errorf("%.5q: %.5q, %v", c, got, err)
				}
				if i%10 == 9 {
					if err := s.Delete(d); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	if s.Used() > 4000 || temps(t, dir) != 0 {
		t.Errorf("%d bytes, %d temporary files", s.Used(), temps(t, dir))
	}
	if again := open(t, dir, Options{}); again.Used() != s.Used() {
		t.Errorf("%d bytes on disk, %d counted", again.Used(), s.Used())
	}
}

func BenchmarkPut(b *testing.B) {
	for _, size := range []int{1 << 10, 1 << 20} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			s := open(b, b.TempDir(), Options{MaxBytes: 64 << 20})
			data := make([]byte, size)
			b.SetBytes(int64(size))
			for i := 0; b.Loop(); i++ {
				copy(data, fmt.Sprint(i, "\n"))
				if _, _, err := s.Put(b.Context(), bytes.NewReader(data), core.Digest{}, int64(size)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
