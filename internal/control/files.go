package control

import (
	"context"
	"errors"
	"io"
	"time"

	"atoll/internal/core"
	"atoll/internal/request"
	"atoll/internal/store"
)

// PutFile keeps what r has as a file of the caller's account. about says the rest
// of it once r has been read, for forms may say it last.
func (c *Control) PutFile(ctx context.Context, v request.Viewer, r io.Reader, limit int64, about func() (request.NewFile, error)) (f request.File, err error) {
	if err := c.cfg.Blobs.Room(); err != nil {
		return f, err
	}
	m := c.quota.claim(v.Account)
	defer m.release()
	digest, size, unpin, err := c.cfg.Blobs.PutPinned(ctx, m.reader(r), core.Digest{}, limit)
	if err != nil {
		return f, err
	}
	defer unpin()
	if size == 0 { // nothing would be charged for it, and ever more could be kept
		return f, core.Errorf(core.Invalid, "the file is empty").At("file")
	}
	said, err := about()
	if err != nil {
		return f, err
	}
	// Claim and pin must outlive the job, so the caller may not go before it.
	err = c.job(context.WithoutCancel(ctx), func(b *batch) error {
		f = request.File{ID: core.FileID(c.ids.Next()), Account: v.Account, Name: said.Name, Purpose: said.Purpose, Size: size, Digest: digest, CreatedMs: b.now}
		f.ExpiresMs = c.expiry(b.now, said.Keep)
		b.tx.PutFile(&f)
		b.keep(m)
		return nil
	})
	return f, err
}

// expiry is when a file goes that is to be kept for a time from sinceMs on, or for as
// long as the hub keeps any data if that is 0 or less long.
func (c *Control) expiry(sinceMs int64, keep time.Duration) int64 {
	if r := c.cfg.Retention; r > 0 && (keep == 0 || r < keep) {
		keep = r
	}
	if keep == 0 {
		return 0
	}
	return sinceMs + keep.Milliseconds()
}

// File returns one file of the caller's account.
func (c *Control) File(ctx context.Context, v request.Viewer, id core.FileID) (request.File, error) {
	f, err := c.store.File(ctx, id)
	if errors.Is(err, store.ErrNoRow) || (err == nil && (f.Account != v.Account || c.expired(f))) {
		return request.File{}, core.Errorf(core.NotFound, "no file %s", id).WithHint("files go when their time is over: see expires_at")
	}
	if err != nil {
		return request.File{}, err
	}
	return *f, nil
}

func (c *Control) expired(f *request.File) bool {
	return f.ExpiresMs != 0 && f.ExpiresMs <= c.now().UnixMilli()
}

// Files lists files of the caller's account.
func (c *Control) Files(ctx context.Context, v request.Viewer, q request.FileQuery) ([]*request.File, error) {
	return c.store.Files(ctx, v.Account, q, c.now().UnixMilli())
}

// OpenFile opens the content of a file that has its own.
func (c *Control) OpenFile(f *request.File) (io.ReadCloser, error) {
	r, _, err := c.cfg.Blobs.Open(f.Digest)
	return r, err
}

// DeleteFile removes a file. Work that has begun with it goes on.
func (c *Control) DeleteFile(ctx context.Context, v request.Viewer, id core.FileID) error {
	f, err := c.File(ctx, v, id)
	if err != nil {
		return err
	}
	return c.job(ctx, func(b *batch) error {
		b.deleteFile(&f)
		return nil
	})
}

// deleteFile gives a file's room back, once.
func (b *batch) deleteFile(f *request.File) {
	if b.tx.DeleteFile(f.ID) && !f.Digest.IsZero() {
		b.c.unnamed.add(f.Digest)
		b.charge(f.Account, -f.Size)
	}
}

// pruneFiles removes files whose time is over.
func (c *Control) pruneFiles(ctx context.Context) error {
	for {
		old, err := c.store.Expired(ctx, c.now().UnixMilli(), pruneRows)
		if err != nil || len(old) == 0 {
			return err
		}
		err = c.job(ctx, func(b *batch) error {
			for _, f := range old {
				b.deleteFile(f)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
}
