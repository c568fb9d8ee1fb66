package blob

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"atoll/internal/core"
)

func part(t testing.TB, s *Store, m *Manifest) (*Part, func()) {
	t.Helper()
	p, release, err := s.NewPart(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	return p, release
}

// fill writes chunks of content.
func fill(t testing.TB, p *Part, content []byte, chunks ...int) {
	t.Helper()
	for _, n := range chunks {
		off, size := p.Manifest().Span(n)
		if err := p.Write(n, content[off:off+size]); err != nil {
			t.Fatalf("chunk %d: %v", n, err)
		}
	}
}

func held(p *Part) []uint32 {
	order, _ := p.Arrived(0)
	return order
}

func TestPartBecomesContent(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir, Options{})
	content := noise(4500)
	m := describe(t, content, 1024)
	p, release := part(t, s, m)
	fill(t, p, content, 3, 0, 0, 4)
	if !slices.Equal(held(p), []uint32{3, 0, 4}) || s.Used() != 1024+1024+404 || !p.Has(4) || p.Has(1) {
		t.Errorf("%v, %d bytes", held(p), s.Used())
	}
	b := make([]byte, 1024)
	if _, err := p.ReadAt(b, 100); !errors.Is(err, ErrAbsent) {
		t.Errorf("read of what is not there: %v", err)
	}
	if _, err := p.ReadAt(b[:50], 3500); err != nil || !bytes.Equal(b[:50], content[3500:3550]) {
		t.Errorf("read of what is there: %v", err)
	}
	if err := p.Finish(t.Context()); !errors.Is(err, ErrAbsent) {
		t.Errorf("finish of a part: %v", err)
	}
	wrong := bytes.Clone(content[1024:2048])
	wrong[7]++
	for _, err := range []error{p.Write(1, wrong), p.Write(1, wrong[:10]), p.Write(5, nil), p.Write(-1, nil)} {
		if !errors.Is(err, ErrMismatch) {
			t.Errorf("wrong chunk: %v", err)
		}
	}
	_, more := p.Arrived(3)
	fill(t, p, content, 1, 2)
	<-more
	if err := errors.Join(p.Finish(t.Context()), p.Finish(t.Context()), p.Write(1, content[1024:2048])); err != nil {
		t.Fatal(err)
	}
	if err := s.Verify(t.Context(), m.Digest); err != nil || s.Used() != 4500 {
		t.Errorf("as content: %v, %d bytes", err, s.Used())
	}
	if _, err := p.ReadAt(b, 2000); err != nil || !bytes.Equal(b, content[2000:3024]) {
		t.Errorf("read after the end: %v", err)
	}
	if _, _, err := s.NewPart(t.Context(), m); !errors.Is(err, ErrStored) {
		t.Errorf("a part of what is whole: %v", err)
	}
	if left, err := os.ReadDir(filepath.Join(dir, partDir)); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	release()
	if remove, err := s.Discard(m.Digest); err != nil || remove == nil {
		t.Errorf("after the release it is still in use: %v", err)
	}
}

func TestPartIsPinnedAndGivesWay(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir(), Options{MaxBytes: 4096})
	content := noise(3000)
	m := describe(t, content, 1024)
	p, release := part(t, s, m)
	fill(t, p, content, 0, 1)
	big := strings.NewReader(strings.Repeat("x", 3000))
	if _, _, err := s.Put(t.Context(), big, core.Digest{}, 3000); !errors.Is(err, ErrFull) {
		t.Errorf("while it is used: %v", err)
	}
	if q, again, err := s.Part(t.Context(), m.Digest); err != nil || q != p {
		t.Errorf("the same part: %v", err)
	} else {
		again()
	}
	release()
	release()
	put(t, s, strings.Repeat("y", 3000))
	if _, _, err := s.Part(t.Context(), m.Digest); !errors.Is(err, ErrNotFound) || s.Used() != 3000 {
		t.Errorf("it should have made room: %v, %d bytes", err, s.Used())
	}
	whole := noise(5000)
	p, release = part(t, s, describe(t, whole, 1024))
	defer release()
	fill(t, p, whole, 0, 1, 2, 3)
	if err := p.Write(4, whole[4096:]); !errors.Is(err, ErrFull) || p.Has(4) || s.Used() != 4096 {
		t.Errorf("a part that is larger than the store: %v, %d bytes", err, s.Used())
	}
}

func TestPartOfAWrongManifest(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir(), Options{})
	content := noise(3000)
	lie := describe(t, content, 1024)
	lie.Digest = core.DigestOf([]byte("something else"))
	p, release := part(t, s, lie)
	fill(t, p, content, 0, 1, 2)
	if err := errors.Join(p.Finish(t.Context()), p.Finish(t.Context())); !errors.Is(err, ErrMismatch) || s.Has(lie.Digest) || s.Used() != 0 {
		t.Errorf("%v, %d bytes", err, s.Used())
	}
	release()
	other := describe(t, content, 2048)
	p, release = part(t, s, describe(t, content, 1024))
	fill(t, p, content, 1)
	if _, _, err := s.NewPart(t.Context(), other); core.KindOf(err) != core.Conflict {
		t.Errorf("another manifest while one is used: %v", err)
	}
	release()
	p, release = part(t, s, other)
	defer release()
	if len(held(p)) != 0 || s.Used() != 0 {
		t.Errorf("another manifest: chunks %v are there", held(p))
	}
}

// A content that comes whole while its chunks come is there once.
func TestPartBesidePut(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir(), Options{})
	content := noise(3000)
	p, release := part(t, s, describe(t, content, 1024))
	fill(t, p, content, 0, 1, 2)
	d := put(t, s, string(content))
	unpin, _ := s.Pin(d)
	if err := p.Finish(t.Context()); err != nil || s.Used() != 3000 {
		t.Errorf("%v, %d bytes", err, s.Used())
	}
	release()
	if remove, err := s.Discard(d); remove != nil || err != nil {
		t.Errorf("it was removed from under a pin: %v", err)
	}
	unpin()
	if remove, err := s.Discard(d); remove == nil || err != nil {
		t.Errorf("it stays pinned: %v", err)
	}
}

// TestPartSurvives ends processes at any moment: what was noted is there for the next,
// and what the disk has lost or changed is not taken for it.
func TestPartSurvives(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(root, "")
		if err != nil {
			rt.Fatal(err)
		}
		content := noise(rapid.IntRange(1, 9000).Draw(rt, "size"))
		m := describe(t, content, 1024)
		want := map[uint32]bool{}
		for range rapid.IntRange(1, 4).Draw(rt, "lives") {
			s := open(t, dir, Options{})
			p, _ := part(t, s, m) // never released: the process is killed
			if got := held(p); len(got) != len(want) {
				rt.Fatalf("chunks %v, want %v", got, want)
			}
			var bytes int64
			for n := range want {
				_, size := m.Span(int(n))
				if bytes += size; !p.Has(int(n)) {
					rt.Fatalf("chunk %d is gone", n)
				}
			}
			if s.Used() != bytes {
				rt.Fatalf("%d bytes used of %d", s.Used(), bytes)
			}
			for range rapid.IntRange(0, 5).Draw(rt, "chunks") {
				n := rapid.IntRange(0, m.Chunks()-1).Draw(rt, "chunk")
				fill(t, p, content, n)
				want[uint32(n)] = true
			}
			spoil(rt, s, m, want)
		}
		p, release := part(t, open(t, dir, Options{}), m)
		defer release()
		for n := range m.Chunks() {
			fill(t, p, content, n)
		}
		if err := p.Finish(t.Context()); err != nil {
			rt.Fatal(err)
		}
	})
}

// spoil does to the files of a part what a crash of the machine might.
func spoil(rt *rapid.T, s *Store, m *Manifest, want map[uint32]bool) {
	change := func(path string, f func([]byte) []byte) {
		b, err := os.ReadFile(path)
		if err == nil {
			err = os.WriteFile(path, f(b), 0o600)
		}
		if err != nil {
			rt.Fatal(err)
		}
	}
	switch rapid.SampledFrom([]string{"nothing", "torn note", "foreign notes", "lost bytes", "changed bytes"}).Draw(rt, "crash") {
	case "torn note":
		change(s.notesPath(m.Digest), func(b []byte) []byte { return append(b, 0, 0) })
	case "foreign notes":
		change(s.notesPath(m.Digest), func(b []byte) []byte { return append(b, 255, 255, 255, 255, 0, 0, 0, 0) })
	case "lost bytes":
		change(s.partPath(m.Digest), func(b []byte) []byte { return b[:len(b)/2] })
		for n := range want {
			if off, size := m.Span(int(n)); off+size > int64(fileSize(s.partPath(m.Digest))) {
				delete(want, n)
			}
		}
	case "changed bytes":
		change(s.partPath(m.Digest), func(b []byte) []byte {
			for i := range b {
				b[i]++
			}
			return b
		})
		clear(want)
	}
}

func fileSize(path string) int {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return int(info.Size())
}

// TestEveryFaultOfAPart fails each disk call of a part's life, once alone and once for
// good, and goes on with fresh eyes.
func TestEveryFaultOfAPart(t *testing.T) {
	t.Parallel()
	content := noise(2500)
	m := describe(t, content, 1024)
	live := func(s *Store) error {
		p, release, err := s.NewPart(t.Context(), m)
		if errors.Is(err, ErrStored) {
			return nil
		}
		if err != nil {
			return err
		}
		defer release()
		for _, n := range []int{2, 0, 1} {
			off, size := m.Span(n)
			if err := p.Write(n, content[off:off+size]); err != nil {
				return err
			}
		}
		return p.Finish(t.Context())
	}
	for _, torn := range []bool{false, true} {
		succeeded := false
		for n := 1; !succeeded; n++ {
			if n > 50 {
				t.Fatal("a part never becomes whole")
			}
			dir := t.TempDir()
			disk := &faultFS{}
			s := open(t, dir, Options{FS: disk})
			disk.calls, disk.fail, disk.torn = 0, n, torn
			err := live(s)
			succeeded = disk.calls < n
			if err != nil && !errors.Is(err, errDisk) || err == nil && !s.Has(m.Digest) {
				t.Errorf("torn %v, call %d: %v", torn, n, err)
			}
			after := open(t, dir, Options{})
			if left := after.Used(); temps(t, dir) != 0 || left < 0 || left > 2500 {
				t.Errorf("torn %v, call %d: %d bytes counted, %d torn files", torn, n, left, temps(t, dir))
			}
			if err := errors.Join(live(after), after.Verify(t.Context(), m.Digest)); err != nil || after.Used() != 2500 {
				t.Errorf("torn %v, call %d: after recovery: %v, %d bytes", torn, n, err, after.Used())
			}
			disk.fail, disk.torn = 0, false
			if s.Used() != 0 && s.Used() != 2500 && len(s.parts) == 0 {
				t.Errorf("torn %v, call %d: %d bytes counted of nothing", torn, n, s.Used())
			}
		}
	}
}

func TestPartConcurrent(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir(), Options{FS: fastFS{}})
	content := noise(64 << 10)
	m := describe(t, content, 1024)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			p, release, err := s.NewPart(t.Context(), m)
			if errors.Is(err, ErrStored) {
				return
			}
			if err != nil {
				t.Error(err)
				return
			}
			defer release()
			for i := range m.Chunks() {
				n := (i + 16*g) % m.Chunks()
				off, size := m.Span(n)
				if err := p.Write(n, content[off:off+size]); err != nil {
					t.Error(err)
				}
			}
			if err := p.Finish(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if err := s.Verify(t.Context(), m.Digest); err != nil || s.Used() != m.Size || len(s.parts) != 0 {
		t.Errorf("%v, %d bytes, %d parts", err, s.Used(), len(s.parts))
	}
}

func TestStoreManifest(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir(), Options{})
	content := noise(ChunkSize + 5)
	d := put(t, s, string(content))
	m, err := s.Manifest(t.Context(), d)
	if err != nil || m.Digest != d || m.Chunks() != 2 || m.Chunk != ChunkSize {
		t.Fatalf("%+v, %v", m, err)
	}
	if again, err := s.Manifest(t.Context(), d); err != nil || again != m {
		t.Errorf("made twice: %v", err)
	}
	if _, err := s.Manifest(t.Context(), core.Digest{1}); !errors.Is(err, ErrNotFound) {
		t.Errorf("of nothing: %v", err)
	}
	e := put(t, s, "damaged")
	if err := os.WriteFile(s.Path(e), []byte("DAMAGED"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Manifest(t.Context(), e); !errors.Is(err, ErrCorrupt) {
		t.Errorf("of damaged content: %v", err)
	}
}

func FuzzReadNotes(f *testing.F) {
	good := text(f, describe(f, noise(5000), 1024))
	f.Add(slices.Concat(good, []byte{0, 0, 0, 3, 0, 0, 0, 1, 0, 0}))
	f.Add(slices.Concat(good, []byte{0, 0, 0, 9, 0, 0, 0, 1, 0, 0, 0, 1}))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, order, err := readNotes(bytes.NewReader(b))
		if err != nil {
			return
		}
		seen := map[uint32]bool{}
		for _, n := range order {
			if int(n) >= m.Chunks() || seen[n] {
				t.Errorf("chunk %d of %d, seen %v", n, m.Chunks(), seen[n])
			}
			seen[n] = true
		}
	})
}

// TestFaultsOfAPartBesidePut fails each disk call by which a part becomes whole that has
// come on another way already: that stays, and can be read.
func TestFaultsOfAPartBesidePut(t *testing.T) {
	t.Parallel()
	content := noise(2500)
	m := describe(t, content, 1024)
	for n, succeeded := 1, false; !succeeded; n++ {
		disk := &faultFS{}
		s := open(t, t.TempDir(), Options{FS: disk})
		p, release := part(t, s, m)
		fill(t, p, content, 0, 1, 2)
		if _, _, err := s.Put(t.Context(), bytes.NewReader(content), m.Digest, m.Size); err != nil {
			t.Fatal(err)
		}
		disk.calls, disk.fail = 0, n
		err := p.Finish(t.Context())
		succeeded = disk.calls < n
		disk.fail = 0
		release()
		if err != nil && !errors.Is(err, errDisk) {
			t.Errorf("call %d: %v", n, err)
		}
		if err := s.Verify(t.Context(), m.Digest); err != nil {
			t.Errorf("call %d: what was stored before: %v", n, err)
		}
		if used := s.Used() - int64(len(s.parts))*m.Size; used != m.Size {
			t.Errorf("call %d: %d bytes used, %d parts", n, s.Used(), len(s.parts))
		}
	}
}
