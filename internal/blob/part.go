package blob

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"

	"atoll/internal/core"
)

// ErrAbsent is a read of chunks that have not come.
var ErrAbsent = errors.New("blob: this chunk is not there yet")

// Part is content that comes chunk by chunk. It is safe for concurrent use until it
// is released.
type Part struct {
	store *Store
	entry *entry // changed with Store.mu and files held

	files sync.RWMutex // held to read or write them; for changing what follows, alone
	users int          // those who have it and have not released it
	ended error        // why nobody else gets it: ErrStored, ErrNotFound
	data  RandomFile
	notes RandomFile // nil once it is whole, and so is data if nobody can read it

	mu      sync.Mutex
	m       *Manifest     // nil until it is first used
	have    []bool        // by chunk
	order   []uint32      // the chunks that are there, as they have come
	changed chan struct{} // closed, and made anew, when order grows
}

// noteSize is the length of a chunk's number in the notes, big-endian.
const noteSize = 4

// NewPart begins a content of which nothing is there, or goes on with what is there of
// it; it is pinned until release is called. It fails with ErrStored if the content is
// whole.
func (s *Store) NewPart(ctx context.Context, m *Manifest) (p *Part, release func(), err error) {
	for {
		p, release, err = s.Part(ctx, m.Digest)
		if err == nil && !p.follows(m) {
			release()
			err = s.outdated(m.Digest)
		}
		if !errors.Is(err, ErrNotFound) {
			return p, release, err
		}
		if err := s.beginPart(m); err != nil {
			return nil, nil, fmt.Errorf("blob %s: %w", m.Digest.Short(), err)
		}
	}
}

// follows reports whether the part has this manifest.
func (p *Part) follows(m *Manifest) bool {
	return p.m.Chunk == m.Chunk && p.m.Size == m.Size && slices.Equal(p.m.Sums, m.Sums)
}

// outdated drops a part whose manifest is another, unless it is in use.
func (s *Store) outdated(d core.Digest) error {
	c := &s.commit[d[0]]
	c.Lock()
	defer c.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.parts[d]
	switch {
	case e == nil:
	case e.pins > 0:
		return core.Errorf(core.Conflict, "content %s is in use with another manifest", d)
	default:
		if err := s.drop(e); err != nil {
			return err
		}
	}
	return ErrNotFound
}

// beginPart writes the notes of a part without chunks, unless there are some.
func (s *Store) beginPart(m *Manifest) error {
	c := &s.commit[m.Digest[0]]
	c.Lock()
	defer c.Unlock()
	s.mu.Lock()
	whole, known := s.entries[m.Digest] != nil, s.parts[m.Digest] != nil
	s.mu.Unlock()
	if whole {
		return ErrStored
	}
	if known {
		return nil
	}
	if err := s.writeNotes(m, nil); err != nil {
		return err
	}
	e := &entry{digest: m.Digest}
	e.part = &Part{store: s, entry: e, changed: make(chan struct{})}
	s.mu.Lock()
	defer s.mu.Unlock()
	e.place = s.lru.PushFront(e)
	s.parts[m.Digest] = e
	return nil
}

// Part returns what is there of a content that is not whole, pinned until release is
// called. It fails with ErrNotFound if there is nothing, and may with ErrStored if it has
// just become whole. The first use in the life of a
// process reads and checks all chunks that are there.
func (s *Store) Part(ctx context.Context, d core.Digest) (p *Part, release func(), err error) {
	s.mu.Lock()
	e := s.parts[d]
	if e == nil {
		s.mu.Unlock()
		return nil, nil, notFound(d)
	}
	e.pins++
	s.lru.MoveToFront(e.place)
	p = e.part
	s.mu.Unlock()
	if err := p.enter(ctx); err != nil {
		p.unpin()
		return nil, nil, fmt.Errorf("blob %s, of which only a part is stored: %w", d.Short(), err)
	}
	return p, sync.OnceFunc(p.leave), nil
}

func (p *Part) unpin() {
	p.store.mu.Lock()
	defer p.store.mu.Unlock()
	p.entry.pins--
}

// enter opens the files for the first of those who use the part.
func (p *Part) enter(ctx context.Context) error {
	p.files.Lock()
	defer p.files.Unlock()
	if p.ended != nil {
		return p.ended
	}
	if p.users == 0 {
		if err := p.open(ctx); err != nil {
			return err
		}
	}
	p.users++
	return nil
}

func (p *Part) leave() {
	p.files.Lock()
	if p.users--; p.users == 0 {
		_ = p.closeFiles() // what matters was synced, or will be checked
	}
	p.files.Unlock()
	p.unpin()
}

// open opens the files, and checks what they hold unless that was done. It is called
// with files held.
func (p *Part) open(ctx context.Context) error {
	d := p.entry.digest
	data, err := p.store.disk.OpenFile(p.store.partPath(d))
	if err != nil {
		return err
	}
	p.data = data
	if p.notes, err = p.store.disk.OpenFile(p.store.notesPath(d)); err == nil && p.m == nil {
		err = p.check(ctx)
	}
	if err != nil {
		return errors.Join(err, p.closeFiles())
	}
	return nil
}

func (p *Part) closeFiles() error {
	var errs []error
	if p.data != nil {
		errs = append(errs, p.data.Close())
	}
	if p.notes != nil {
		errs = append(errs, p.notes.Close())
	}
	p.data, p.notes = nil, nil
	return errors.Join(errs...)
}

// check reads the notes, and then the chunks of which they tell.
func (p *Part) check(ctx context.Context) error {
	m, noted, err := readNotes(io.NewSectionReader(p.notes, 0, maxNotes))
	if err != nil {
		return err
	}
	have, order, bytes := make([]bool, m.Chunks()), make([]uint32, 0, len(noted)), int64(0)
	buf := make([]byte, m.Chunk)
	for _, n := range noted {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		off, size := m.Span(int(n))
		if _, err := p.data.ReadAt(buf[:size], off); err == nil && m.Is(int(n), buf[:size]) {
			have[n], order, bytes = true, append(order, n), bytes+size
		}
	}
	if lost := len(noted) - len(order); lost > 0 {
		p.store.log.Warn("blob store: chunks were not what they should be and will be fetched anew", "digest", m.Digest, "chunks", lost)
	}
	if err := p.notes.Close(); err != nil { // they are written anew: the last may be torn
		return err
	}
	if err := p.store.writeNotes(m, order); err != nil {
		return err
	}
	if p.notes, err = p.store.disk.OpenFile(p.store.notesPath(m.Digest)); err != nil {
		return err
	}
	p.store.mu.Lock()
	p.store.used += bytes - p.entry.size
	p.entry.size = bytes
	p.store.mu.Unlock()
	p.m, p.have, p.order = m, have, order
	return nil
}

// Manifest describes the content.
func (p *Part) Manifest() *Manifest { return p.m }

// Has reports whether chunk n is there.
func (p *Part) Has(n int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.have[n]
}

// Arrived returns the chunks that have come after the first seen ones, in their order,
// and what is closed when there are more.
func (p *Part) Arrived(seen int) (chunks []uint32, more <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.order[seen:len(p.order):len(p.order)], p.changed
}

// Write stores chunk n. It fails with ErrMismatch if data is something else. A chunk
// that is there is left as it is.
func (p *Part) Write(n int, data []byte) error {
	if n < 0 || n >= p.m.Chunks() || !p.m.Is(n, data) {
		return core.Errorf(core.Invalid, "chunk %d of %s is not what the manifest says: %w", n, p.m.Digest, ErrMismatch)
	}
	if p.Has(n) {
		return nil
	}
	if err := p.store.leaveFree(p.store.room.reserve, int64(len(data))); err != nil {
		return err
	}
	p.files.RLock()
	defer p.files.RUnlock()
	if p.notes == nil {
		return p.over()
	}
	off, _ := p.m.Span(n)
	if err := p.grow(int64(len(data))); err != nil {
		return err
	}
	if _, err := p.data.WriteAt(data, off); err != nil {
		return errors.Join(fmt.Errorf("blob %s: %w", p.m.Digest.Short(), err), p.grow(-int64(len(data))))
	}
	return p.note(n, int64(len(data)))
}

// grow counts bytes as used, for which there must be room.
func (p *Part) grow(by int64) error {
	p.store.mu.Lock()
	defer p.store.mu.Unlock()
	if by > 0 {
		if err := p.store.makeRoom(by); err != nil {
			return err
		}
	}
	p.store.used += by
	p.entry.size += by
	return nil
}

// note enters a chunk that was written.
func (p *Part) note(n int, size int64) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.have[n] { // somebody else brought it at the same time
		return p.grow(-size)
	}
	at := notesBegin(p.m) + int64(len(p.order))*noteSize
	if _, err := p.notes.WriteAt(binary.BigEndian.AppendUint32(nil, uint32(n)), at); err != nil {
		return errors.Join(fmt.Errorf("blob %s: %w", p.m.Digest.Short(), err), p.grow(-size))
	}
	p.have[n] = true
	p.order = append(p.order, uint32(n))
	close(p.changed)
	p.changed = make(chan struct{})
	return nil
}

// ReadAt implements io.ReaderAt. It fails with ErrAbsent where chunks are missing.
func (p *Part) ReadAt(b []byte, off int64) (int, error) {
	if off < 0 {
		return 0, errors.New("blob: read before the start")
	}
	first, last := p.m.Covering(Range{off, int64(len(b))})
	p.mu.Lock()
	missing := slices.Index(p.have[first:last], false)
	p.mu.Unlock()
	if missing >= 0 {
		return 0, fmt.Errorf("chunk %d of %s: %w", first+missing, p.m.Digest.Short(), ErrAbsent)
	}
	p.files.RLock()
	defer p.files.RUnlock()
	if p.data == nil {
		return 0, os.ErrClosed
	}
	return p.data.ReadAt(b, off)
}
