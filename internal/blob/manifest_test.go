package blob

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/iotest"

	"atoll/internal/core"
)

// noise is so many bytes, the same each time.
func noise(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{byte(n)}).Read(b) // never fails
	return b
}

func describe(t testing.TB, content []byte, chunk int64) *Manifest {
	t.Helper()
	m, err := Describe(t.Context(), iotest.OneByteReader(bytes.NewReader(content)), chunk)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func text(t testing.TB, m *Manifest) []byte {
	t.Helper()
	b, err := m.AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestManifest(t *testing.T) {
	t.Parallel()
	for _, size := range []int{0, 1, 1023, 1024, 1025, 10_000} {
		content := noise(size)
		m := describe(t, content, 1024)
		if m.Digest != core.DigestOf(content) || m.Size != int64(size) || m.Chunks() != (size+1023)/1024 {
			t.Errorf("%d bytes: %+v", size, m)
		}
		var again []byte
		for n := range m.Chunks() {
			off, length := m.Span(n)
			if data := content[off : off+length]; !m.Is(n, data) || m.Is(n, data[1:]) {
				t.Errorf("%d bytes: chunk %d is not what it is", size, n)
			}
			again = append(again, content[off:off+length]...)
		}
		if !bytes.Equal(again, content) {
			t.Errorf("%d bytes: the chunks are not the whole", size)
		}
		r := bytes.NewReader(append(text(t, m), "more"...))
		if back, err := ReadManifest(r); err != nil || r.Len() != 4 || !slices.Equal(back.Sums, m.Sums) || back.Digest != m.Digest {
			t.Errorf("%d bytes: read again %+v, %v, %d left", size, back, err, r.Len())
		}
	}
	if _, err := Describe(t.Context(), iotest.ErrReader(io.ErrClosedPipe), 1024); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("a reader that fails: %v", err)
	}
}

func TestCovering(t *testing.T) {
	t.Parallel()
	m := describe(t, noise(10_000), 1024)
	for _, c := range []struct {
		off, size   int64
		first, last int
	}{
		{0, 0, 0, 0}, {0, 1, 0, 1}, {1023, 1, 0, 1}, {1023, 2, 0, 2}, {1024, 1024, 1, 2}, {9_999, 100, 9, 10},
		{10_000, 5, 0, 0}, {1 << 62, 1 << 62, 0, 0}, {-5, 3, 0, 1}, {0, 1 << 62, 0, 10},
	} {
		if first, last := m.Covering(Range{c.off, c.size}); first != c.first || last != c.last {
			t.Errorf("%d bytes at %d: chunks [%d, %d), want [%d, %d)", c.size, c.off, first, last, c.first, c.last)
		}
	}
}

func TestReadManifestRefuses(t *testing.T) {
	t.Parallel()
	good := text(t, describe(t, noise(5000), 1024))
	at := func(i int, b byte) []byte {
		bad := slices.Clone(good)
		bad[i] = b
		return bad
	}
	size, chunk := len(manifestMagic)+32, len(manifestMagic)+40
	for name, b := range map[string][]byte{
		"nothing": nil, "half a header": good[:20], "another magic": at(0, 'A'), "a sum less": good[:len(good)-32], "half a sum": good[:len(good)-1],
		"huge": at(size, 0xff), "larger": at(size+4, 1), "chunks of 0": at(chunk+2, 0), "odd chunks": at(chunk+3, 1), "large chunks": at(chunk, 1),
		"no digest": slices.Concat(good[:len(manifestMagic)], make([]byte, 32), good[size:]),
	} {
		if m, err := ReadManifest(bytes.NewReader(b)); !errors.Is(err, ErrManifest) {
			t.Errorf("%s: %+v, %v", name, m, err)
		}
	}
}

func FuzzReadManifest(f *testing.F) {
	f.Add(text(f, describe(f, noise(5000), 1024)))
	f.Add(text(f, describe(f, nil, 1<<20)))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bytes.NewReader(b)
		m, err := ReadManifest(r)
		if err != nil {
			return
		}
		if back := text(t, m); !bytes.Equal(back, b[:len(b)-r.Len()]) {
			t.Errorf("%x was read as %x", b, back)
		}
		for n := range m.Chunks() {
			if off, size := m.Span(n); size <= 0 || off+size > m.Size {
				t.Errorf("chunk %d of %d bytes lies at %d, %d", n, m.Size, off, size)
			}
		}
	})
}

// No content has more chunks than a manifest may, but the very largest.
func TestChunkSize(t *testing.T) {
	t.Parallel()
	const gib = int64(1 << 30)
	for size, want := range map[int64]int64{0: 1 << 20, 64 * gib: 1 << 20, 64*gib + 1: 2 << 20, 141 * gib: 4 << 20, 256 * gib: 4 << 20, 300 * gib: 4 << 20} {
		if got := chunkSize(size); got != want {
			t.Errorf("%d bytes: chunks of %d, want %d", size, got, want)
		}
	}
}
