package blob

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"path/filepath"
	"sync"

	"atoll/internal/core"
)

// Put stores what r holds, up to limit bytes, and returns its digest and size.
// If want is not zero, other content is refused with ErrMismatch; more than
// limit bytes are refused with ErrTooLarge. After an error nothing is stored.
//
// Content that is stored already is read and checked like any other, so that a
// caller cannot claim bytes that it does not have.
func (s *Store) Put(ctx context.Context, r io.Reader, want core.Digest, limit int64) (core.Digest, int64, error) {
	d, size, release, err := s.PutPinned(ctx, r, want, limit)
	release()
	return d, size, err
}

// PutPinned is Put with the content pinned until release is called: so nothing
// can remove it before the caller has noted what it is for.
func (s *Store) PutPinned(ctx context.Context, r io.Reader, want core.Digest, limit int64) (d core.Digest, size int64, release func(), err error) {
	return s.put(ctx, r, want, limit, s.room.reserve)
}

// PutUrgent is PutPinned for content that ends work under way, such as results:
// it may take half of the reserve.
func (s *Store) PutUrgent(ctx context.Context, r io.Reader, want core.Digest, limit int64) (d core.Digest, size int64, release func(), err error) {
	return s.put(ctx, r, want, limit, s.room.reserve/2)
}

func (s *Store) put(ctx context.Context, r io.Reader, want core.Digest, limit, reserve int64) (core.Digest, int64, func(), error) {
	if s.max > 0 {
		limit = min(limit, s.max)
	}
	tmp, d, size, err := s.writeTemp(ctx, r, want, limit, reserve)
	if err != nil {
		return core.Digest{}, 0, func() {}, err
	}
	e, renamed, err := s.enter(tmp, d, size)
	if !renamed {
		// At worst a torn file stays until the next Open.
		_ = s.disk.Remove(tmp)
	}
	if err != nil {
		return core.Digest{}, 0, func() {}, fmt.Errorf("blob %s: %w", d.Short(), err)
	}
	return d, size, sync.OnceFunc(func() { s.unpin(e) }), nil
}

// writeTemp writes content to a temporary file, checks and syncs it.
func (s *Store) writeTemp(ctx context.Context, r io.Reader, want core.Digest, limit, reserve int64) (name string, d core.Digest, size int64, err error) {
	if err := s.leaveFree(reserve, 0); err != nil {
		return "", d, 0, err
	}
	f, err := s.disk.CreateTemp(filepath.Join(s.dir, tempDir))
	if err != nil {
		return "", d, 0, fmt.Errorf("blob store: %w", err)
	}
	defer func() {
		if err != nil {
			_ = f.Close() // a second Close fails, and it no longer matters
			_ = s.disk.Remove(f.Name())
		}
	}()
	h := &limitedHash{Hash: sha256.New(), left: limit, limit: limit}
	if err := copyAll(ctx, &roomyWriter{s, f, reserve}, r, h); err != nil {
		return "", d, 0, err
	}
	h.Sum(d[:0])
	if !want.IsZero() && d != want {
		return "", d, 0, core.Errorf(core.Invalid, "the content has digest %s, not %s: %w", d, want, ErrMismatch)
	}
	// Synced also if d is known by now: it may be evicted before enter looks.
	if err := f.Sync(); err != nil {
		return "", d, 0, fmt.Errorf("blob store: %w", err)
	}
	if err := f.Close(); err != nil {
		return "", d, 0, fmt.Errorf("blob store: %w", err)
	}
	return f.Name(), d, limit - h.left, nil
}

// limitedHash hashes, and refuses what goes over a limit.
type limitedHash struct {
	hash.Hash
	left, limit int64
}

func (h *limitedHash) Write(p []byte) (int, error) {
	if int64(len(p)) > h.left {
		return 0, core.Errorf(core.TooLarge, "the content is larger than %d bytes: %w", max(h.limit, 0), ErrTooLarge)
	}
	h.left -= int64(len(p))
	return h.Hash.Write(p)
}

// enter gives the temporary file its name, and pins it. Renamed tells whether tmp
// is gone.
func (s *Store) enter(tmp string, d core.Digest, size int64) (e *entry, renamed bool, err error) {
	c := &s.commit[d[0]]
	c.Lock()
	defer c.Unlock()
	if err := s.makeShard(d[0]); err != nil {
		return nil, false, err
	}
	known, err := s.reserve(d, size)
	if known != nil || err != nil {
		return known, false, err
	}
	if err := s.disk.Rename(tmp, s.Path(d)); err != nil {
		s.unreserve(size)
		return nil, false, err
	}
	if err := s.disk.SyncDir(s.shard(d[0])); err != nil {
		// Not known to be durable, so it must not be found later as if it were.
		s.unreserve(size)
		return nil, true, errors.Join(err, s.disk.Remove(s.Path(d)))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	e = &entry{digest: d, size: size, pins: 1}
	e.place = s.lru.PushFront(e)
	s.entries[d] = e
	return e, true, nil
}

// makeShard makes sure of the directory for digests that start with b. It is
// called with commit[b] held.
func (s *Store) makeShard(b byte) error {
	if s.made[b] {
		return nil
	}
	if err := s.disk.Mkdir(s.shard(b)); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := s.disk.SyncDir(filepath.Join(s.dir, contentDir)); err != nil {
		return err
	}
	s.made[b] = true
	return nil
}

// reserve counts size bytes as used and makes room for them, or pins content that
// is known.
func (s *Store) reserve(d core.Digest, size int64) (known *entry, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.entries[d]; e != nil {
		e.pins++
		s.lru.MoveToFront(e.place)
		return e, nil
	}
	if err := s.makeRoom(size); err != nil {
		return nil, err
	}
	s.used += size
	return nil, nil //nolint:nilnil // unknown content is no error
}

func (s *Store) unreserve(size int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.used -= size
}

// copyAll copies r to w, showing each piece to check first, until r or ctx ends.
func copyAll(ctx context.Context, w io.Writer, r io.Reader, check io.Writer) error {
	buf := make([]byte, copyBuffer)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := r.Read(buf)
		if n > 0 && check != nil {
			if _, err := check.Write(buf[:n]); err != nil {
				return err
			}
		}
		if n > 0 {
			if m, err := w.Write(buf[:n]); err != nil {
				return err
			} else if m < n {
				return io.ErrShortWrite
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// discard is io.Discard without ReadFrom, so that copying goes by pieces.
type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
