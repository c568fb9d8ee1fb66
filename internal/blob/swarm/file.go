package swarm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"atoll/internal/blob"
	"atoll/internal/core"
)

// File is a content that is here or on its way. It is safe for concurrent use.
type File struct {
	reader   io.ReaderAt
	size     int64
	transfer *transfer       // nil: it is whole
	open     context.Context // of reads: ends with the file, or its transfer; nil as that
	close    func()
}

var errShut = errors.New("the file was closed")

// Open returns a content of the given size, which is here or begins to come as it is
// asked for. It is pinned in the store until the file is closed.
func (s *Swarm) Open(ctx context.Context, d core.Digest, size int64) (*File, error) {
	for {
		f, err := s.stored(d)
		if errors.Is(err, blob.ErrNotFound) {
			if f, err = s.coming(ctx, d); errors.Is(err, blob.ErrStored) {
				continue
			}
		}
		if err == nil && f.size != size {
			f.close()
			return nil, core.Errorf(core.Invalid, "the content has %d bytes, not %d", f.size, size)
		}
		return f, err
	}
}

// stored opens what is whole.
func (s *Swarm) stored(d core.Digest) (*File, error) {
	r, size, err := s.cfg.Store.Open(d)
	if err != nil {
		return nil, err
	}
	return &File{reader: r, size: size, close: sync.OnceFunc(func() { _ = r.Close() })}, nil // nothing was written
}

// coming joins a transfer.
func (s *Swarm) coming(ctx context.Context, d core.Digest) (*File, error) {
	t, err := s.join(d)
	if err != nil {
		return nil, err
	}
	f := &File{transfer: t}
	var shut context.CancelCauseFunc
	f.open, shut = context.WithCancelCause(t.ctx)
	f.close = sync.OnceFunc(func() { shut(errShut); s.leave(t) })
	select {
	case <-t.begun:
		if err := t.failed(); err != nil {
			f.close()
			return nil, err
		}
	case <-ctx.Done():
		f.close()
		return nil, context.Cause(ctx)
	}
	f.reader, f.size = t.part, t.m.Size
	return f, nil
}

// Fetch returns the path of a content that is fetched as a whole if it is not here. It
// is pinned until release is called.
func (s *Swarm) Fetch(ctx context.Context, d core.Digest, size int64) (path string, release func(), err error) {
	f, err := s.Open(ctx, d, size)
	if err != nil {
		return "", nil, fmt.Errorf("fetch model %s: %w", d.Short(), err)
	}
	defer f.Close()
	if err := f.Whole(ctx); err != nil {
		return "", nil, fmt.Errorf("fetch model %s: %w", d.Short(), err)
	}
	release, ok := s.cfg.Store.Pin(d)
	if !ok {
		return "", nil, fmt.Errorf("fetch model %s: it was found damaged: %w", d.Short(), blob.ErrNotFound)
	}
	return s.cfg.Store.Path(d), release, nil
}

// Size of the whole, in bytes.
func (f *File) Size() int64 { return f.size }

// Close ends the pin, and the transfer if nobody else wants it. Reads that wait fail.
func (f *File) Close() { f.close() }

// Ensure fetches ranges, as far as they are not here.
func (f *File) Ensure(ctx context.Context, ranges ...blob.Range) error {
	if f.transfer == nil {
		return nil
	}
	return f.transfer.need(ctx, usual, ranges)
}

// Whole fetches all of it. Afterwards it is ordinary content of the store.
func (f *File) Whole(ctx context.Context) error {
	if f.transfer == nil {
		return nil
	}
	if err := f.transfer.s.cfg.Store.Fits(f.size); err != nil {
		return err
	}
	if err := f.transfer.need(ctx, usual, []blob.Range{{Size: f.size}}); err != nil {
		return err
	}
	return f.transfer.finish()
}

// ReadAt implements io.ReaderAt. It waits for what is not here, which is fetched before
// all else, until the file is closed.
func (f *File) ReadAt(b []byte, off int64) (int, error) {
	if f.transfer != nil {
		if err := f.transfer.need(f.open, urgent, []blob.Range{{Off: off, Size: int64(len(b))}}); err != nil {
			return 0, err
		}
	}
	return f.reader.ReadAt(b, off)
}
