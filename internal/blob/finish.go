package blob

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"

	"atoll/internal/core"
)

// Finish makes ordinary content of a part that has all chunks. If it has not the right
// digest the manifest was wrong: the part is dropped, and the error is ErrMismatch.
// Either way the part stays readable until it is released, and a pin of the content.
func (p *Part) Finish(ctx context.Context) error {
	whole := sha256.New()
	if err := copyAll(ctx, whole, io.NewSectionReader(p, 0, p.m.Size), nil); err != nil {
		return err
	}
	var d core.Digest
	if whole.Sum(d[:0]); d != p.m.Digest {
		p.files.Lock()
		defer p.files.Unlock()
		return errors.Join(core.Errorf(core.Invalid, "the chunks of the manifest are content %s, not %s: %w", d, p.m.Digest, ErrMismatch), p.drop())
	}
	return p.rename()
}

// drop takes the part out of the store, whoever uses it. It is called with files held.
func (p *Part) drop() error {
	p.ended = ErrNotFound
	p.store.mu.Lock()
	defer p.store.mu.Unlock()
	if e := p.entry; p.store.parts[e.digest] == e {
		return p.store.drop(e)
	}
	return nil
}

// over is the outcome of changing a part that is none any more: none is needed if it is
// whole. It is called with files held.
func (p *Part) over() error {
	if p.data == nil {
		return fmt.Errorf("blob %s: %w", p.m.Digest.Short(), os.ErrClosed)
	}
	return nil
}

// rename gives the part the name of ordinary content.
func (p *Part) rename() error {
	s, d := p.store, p.m.Digest
	c := &s.commit[d[0]]
	c.Lock()
	defer c.Unlock()
	p.files.Lock()
	defer p.files.Unlock()
	if p.notes == nil {
		return p.over()
	}
	if err := p.data.Sync(); err != nil {
		return err
	}
	if err := s.makeShard(d[0]); err != nil {
		return err
	}
	if err := p.closeFiles(); err != nil { // some systems do not rename what is open
		return err
	}
	unpin, stored := s.Pin(d)
	defer unpin()
	if err := p.place(stored); err != nil {
		return err
	}
	p.becomeWhole()
	p.ended = ErrStored
	_ = s.disk.Remove(s.notesPath(d)) // the next Open does it otherwise
	whole, err := os.Open(s.Path(d))
	if err != nil {
		return err
	}
	p.data = whole
	return nil
}

// place moves the bytes to where ordinary content is, unless the same content is stored
// already: it must not go if this fails. It is called as rename does it, without open
// files.
func (p *Part) place(stored bool) error {
	s, d := p.store, p.m.Digest
	if stored {
		if err := s.disk.Remove(s.partPath(d)); err != nil {
			return errors.Join(err, p.open(context.Background()))
		}
		return nil
	}
	if err := s.disk.Rename(s.partPath(d), s.Path(d)); err != nil {
		return errors.Join(err, p.open(context.Background()))
	}
	if err := s.disk.SyncDir(s.shard(d[0])); err != nil {
		// Not known to be durable, so it must not be found later as if it were.
		return errors.Join(err, s.disk.Remove(s.Path(d)), p.drop())
	}
	return nil
}

// becomeWhole puts the entry among those that are whole. Where the same content has come
// on another way, that stays, with the pins of both.
func (p *Part) becomeWhole() {
	s := p.store
	s.mu.Lock()
	defer s.mu.Unlock()
	e := p.entry
	delete(s.parts, e.digest)
	if had := s.entries[e.digest]; had != nil {
		had.pins += e.pins
		s.lru.Remove(e.place)
		s.used -= e.size
		p.entry = had
		return
	}
	e.part = nil
	if p.m.Chunk == chunkSize(p.m.Size) {
		e.manifest = p.m
	}
	s.entries[e.digest] = e
}
