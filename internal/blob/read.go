package blob

import (
	"crypto/sha256"
	"errors"
	"hash"
	"io"
	"io/fs"
	"os"
	"sync"

	"atoll/internal/core"
)

// Reader reads one content. It is pinned until Close. Read and Seek are for one
// goroutine; ReadAt is for any number and does not check what it reads.
type Reader struct {
	store *Store
	entry *entry
	file  *os.File
	pos   int64
	sum   hash.Hash // over [0, hashed)
	// hashed follows pos as long as reading has gone straight on from the start.
	hashed int64
	closed sync.Once
}

// Open opens content for reading and returns its size. The error is ErrNotFound
// if it is not stored, and ErrCorrupt if the file is not as long as it was.
func (s *Store) Open(d core.Digest) (*Reader, int64, error) {
	e := s.pin(d)
	if e == nil {
		return nil, 0, notFound(d)
	}
	f, err := os.Open(s.Path(d))
	if errors.Is(err, fs.ErrNotExist) {
		s.unpin(e)
		s.discardCorrupt(e, "its file is gone")
		return nil, 0, notFound(d)
	}
	if err != nil {
		s.unpin(e)
		return nil, 0, err
	}
	r := &Reader{store: s, entry: e, file: f, sum: sha256.New()}
	info, err := f.Stat()
	if err == nil && info.Size() != e.size {
		s.discardCorrupt(e, "its file has another size")
		err = corrupt(d)
	}
	if err != nil {
		_ = r.Close() // nothing was written
		return nil, 0, err
	}
	return r, e.size, nil
}

func notFound(d core.Digest) error {
	return core.Errorf(core.NotFound, "no content with digest %s is stored: %w", d, ErrNotFound)
}

func corrupt(d core.Digest) error {
	return core.Errorf(core.Internal, "the stored content %s was found damaged and has been removed: %w", d, ErrCorrupt)
}

// discardCorrupt removes damaged content and reports it, once.
func (s *Store) discardCorrupt(e *entry, why string) {
	was, err := s.remove(e)
	if !was {
		return
	}
	s.log.Error("blob store: damaged content removed", "digest", e.digest, "bytes", e.size, "why", why, "removal_error", err)
}

// Read implements io.Reader. The Read that would complete content read from its
// start returns ErrCorrupt instead, if it is not what was stored; so io.ReadFull
// and io.Copy both fail.
func (r *Reader) Read(p []byte) (int, error) {
	if left := r.entry.size - r.pos; int64(len(p)) > left {
		if left <= 0 {
			return 0, r.finish()
		}
		p = p[:left]
	}
	n, err := r.file.ReadAt(p, r.pos)
	if n < len(p) && errors.Is(err, io.EOF) { // cut short while open
		r.store.discardCorrupt(r.entry, "its file ends early")
		return 0, corrupt(r.entry.digest)
	}
	if r.pos == r.hashed {
		r.sum.Write(p[:n]) // never fails
		r.hashed += int64(n)
	}
	r.pos += int64(n)
	if n < len(p) {
		return n, err
	}
	if r.pos == r.entry.size && n > 0 {
		if err := r.finish(); !errors.Is(err, io.EOF) {
			r.pos -= int64(n)
			return 0, err
		}
	}
	return n, nil
}

// finish returns io.EOF, or ErrCorrupt if all was read and is not right.
func (r *Reader) finish() error {
	var d core.Digest
	if r.sum.Sum(d[:0]); r.hashed == r.entry.size && d != r.entry.digest {
		r.store.discardCorrupt(r.entry, "its digest is another")
		return corrupt(r.entry.digest)
	}
	return io.EOF
}

// ReadAt implements io.ReaderAt, without checking the digest.
func (r *Reader) ReadAt(p []byte, off int64) (int, error) { return r.file.ReadAt(p, off) }

// Seek implements io.Seeker.
func (r *Reader) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += r.pos
	case io.SeekEnd:
		offset += r.entry.size
	case io.SeekStart:
	default:
		return 0, errors.New("blob: seek with unknown whence")
	}
	if offset < 0 {
		return 0, errors.New("blob: seek before the start")
	}
	r.pos = offset
	return offset, nil
}

// Close ends the reading and the pin. Closing again does nothing.
func (r *Reader) Close() (err error) {
	r.closed.Do(func() {
		err = r.file.Close()
		r.store.unpin(r.entry)
	})
	return err
}
