package blob

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"

	"atoll/internal/core"
)

// Manifest says what each chunk of a content is, so that chunks can come from
// anywhere and in any order: the n-th is the bytes [n·Chunk, (n+1)·Chunk), and the
// last ends where the content does.
//
// Its format, integers big-endian:
//
//	"atoll-chunks/1\n"
//	digest  32 bytes   of the content
//	size     8 bytes   of the content
//	chunk    4 bytes   size of a chunk: a power of two from 1 KiB to 4 MiB
//	sums    32 bytes   SHA-256 of each chunk, in order; at most 65,536 of them
//
// Whoever made a manifest can have named chunks of other content: only the digest of
// the whole is sure, and [Part.Finish] checks that.
type Manifest struct {
	Digest core.Digest
	Size   int64
	Chunk  int64
	Sums   []core.Digest
}

// Range is a piece of a content, in bytes.
type Range struct{ Off, Size int64 }

// Bounds of manifests.
const (
	ChunkSize   = 1 << 20 // of the manifests that Store.Manifest makes, up to MaxChunks of them
	MinChunk    = 1 << 10
	MaxChunk    = 4 << 20
	MaxChunks   = 1 << 16
	MaxManifest = manifestHeader + MaxChunks*sha256.Size // bytes of a manifest's text
)

const (
	manifestMagic  = "atoll-chunks/1\n"
	manifestHeader = len(manifestMagic) + sha256.Size + 8 + 4
)

// ErrManifest is a manifest that is none.
var ErrManifest = errors.New("blob: no manifest")

// chunkSize is that of the manifest of so many bytes: larger than ChunkSize where there
// would be too many chunks.
func chunkSize(size int64) int64 {
	chunk := int64(ChunkSize)
	for chunk < MaxChunk && size > MaxChunks*chunk {
		chunk *= 2
	}
	return chunk
}

// Describe reads content to its end and returns its manifest.
func Describe(ctx context.Context, r io.Reader, chunk int64) (*Manifest, error) {
	m := &Manifest{Chunk: chunk}
	whole, buf := sha256.New(), make([]byte, chunk)
	for {
		if err := ctx.Err(); err != nil {
			return nil, context.Cause(ctx)
		}
		n, err := io.ReadFull(r, buf)
		if n > 0 {
			whole.Write(buf[:n]) // never fails
			m.Sums = append(m.Sums, core.DigestOf(buf[:n]))
			m.Size += int64(n)
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) && int64(n) < chunk {
			break
		}
		if err != nil {
			return nil, err
		}
	}
	whole.Sum(m.Digest[:0])
	return m, m.check()
}

// Chunks is how many there are.
func (m *Manifest) Chunks() int { return len(m.Sums) }

// Span returns where chunk n lies.
func (m *Manifest) Span(n int) (off, size int64) {
	off = int64(n) * m.Chunk
	return off, min(m.Chunk, m.Size-off)
}

// Covering returns the chunks [first, last) that hold a range, as far as there is one.
func (m *Manifest) Covering(r Range) (first, last int) {
	off := min(max(r.Off, 0), m.Size)
	end := off + min(max(r.Size, 0), m.Size-off)
	if end == off {
		return 0, 0
	}
	return int(off / m.Chunk), int((end + m.Chunk - 1) / m.Chunk)
}

// Is reports whether data is chunk n.
func (m *Manifest) Is(n int, data []byte) bool {
	_, size := m.Span(n)
	return int64(len(data)) == size && core.DigestOf(data) == m.Sums[n]
}

// check holds m to its bounds.
func (m *Manifest) check() error {
	switch {
	case m.Chunk < MinChunk || m.Chunk > MaxChunk || bits.OnesCount64(uint64(m.Chunk)) != 1:
		return fmt.Errorf("%w: chunks of %d bytes, want a power of two from %d to %d", ErrManifest, m.Chunk, MinChunk, MaxChunk)
	case m.Size < 0 || m.Size > MaxChunks*m.Chunk:
		return fmt.Errorf("%w: a content of %d bytes has more than %d chunks of %d", ErrManifest, m.Size, MaxChunks, m.Chunk)
	case int64(len(m.Sums)) != (m.Size+m.Chunk-1)/m.Chunk:
		return fmt.Errorf("%w: %d sums for %d bytes in chunks of %d", ErrManifest, len(m.Sums), m.Size, m.Chunk)
	case m.Digest.IsZero():
		return fmt.Errorf("%w: of no content", ErrManifest)
	}
	return nil
}

// AppendBinary implements encoding.BinaryAppender.
func (m *Manifest) AppendBinary(b []byte) ([]byte, error) {
	if err := m.check(); err != nil {
		return b, err
	}
	b = append(append(b, manifestMagic...), m.Digest[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(m.Size))
	b = binary.BigEndian.AppendUint32(b, uint32(m.Chunk))
	for i := range m.Sums {
		b = append(b, m.Sums[i][:]...)
	}
	return b, nil
}

// ReadManifest reads a manifest, and nothing after it. It holds no more memory than
// the sums that have come.
func ReadManifest(r io.Reader) (*Manifest, error) {
	var h [manifestHeader]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrManifest, err)
	}
	if string(h[:len(manifestMagic)]) != manifestMagic {
		return nil, fmt.Errorf("%w: it begins with %q", ErrManifest, h[:len(manifestMagic)])
	}
	rest := h[len(manifestMagic):]
	m := &Manifest{Digest: core.Digest(rest[:sha256.Size]), Chunk: int64(binary.BigEndian.Uint32(rest[sha256.Size+8:]))}
	size := binary.BigEndian.Uint64(rest[sha256.Size:])
	if m.Chunk < MinChunk || size > uint64(MaxChunks*m.Chunk) {
		return nil, fmt.Errorf("%w: %d bytes in chunks of %d", ErrManifest, size, m.Chunk)
	}
	m.Size = int64(size)
	for range (m.Size + m.Chunk - 1) / m.Chunk {
		var sum core.Digest
		if _, err := io.ReadFull(r, sum[:]); err != nil {
			return nil, fmt.Errorf("%w: after %d sums: %w", ErrManifest, len(m.Sums), err)
		}
		m.Sums = append(m.Sums, sum)
	}
	return m, m.check()
}
