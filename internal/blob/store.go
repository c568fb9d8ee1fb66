package blob

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"atoll/internal/core"
	"atoll/internal/diskspace"
)

// Options of a Store. The zero value is an unbounded store on the real disk.
type Options struct {
	MaxBytes int64        // of all content together; 0: no bound. Unfinished Puts come on top
	Reserve  int64        // bytes of the disk that stay free; 0: none
	Log      *slog.Logger // nil: slog.Default()
	FS       FS           // nil: OS{}
	// Free tells how many bytes of the disk at a directory are free; nil: diskspace.At.
	Free func(dir string) (int64, error)
}

// Store is a directory of content. It is safe for concurrent use.
type Store struct {
	dir  string
	max  int64
	log  *slog.Logger
	disk FS
	room room

	// commit[b] is held while content whose digest starts with byte b gets its
	// name or loses it, directory sync included, so that of several Puts of one
	// content none returns before it is durable. Taken before mu.
	// made[b], which it guards, tells whether the directory for b is there.
	commit [256]sync.Mutex
	made   [256]bool

	describing chan struct{} // full while a manifest is made

	mu      sync.Mutex
	entries map[core.Digest]*entry
	parts   map[core.Digest]*entry // of content that is not yet whole
	lru     *list.List             // of *entry; the front was used last
	used    int64                  // bytes of both, and of content about to become an entry
}

// entry is content on disk. All of its fields but digest are guarded by Store.mu,
// and size does not change once the content is whole.
type entry struct {
	digest   core.Digest
	size     int64
	pins     int
	place    *list.Element
	part     *Part     // nil: the content is whole
	manifest *Manifest // once it was asked for
}

// Open opens or makes the store in dir and deletes what unfinished Puts left
// there. If it holds more than MaxBytes, the oldest content goes.
func Open(dir string, o Options) (*Store, error) {
	if o.MaxBytes < 0 {
		return nil, fmt.Errorf("blob store %s: limit of %d bytes", dir, o.MaxBytes)
	}
	if o.Reserve < 0 {
		return nil, fmt.Errorf("blob store %s: reserve of %d bytes", dir, o.Reserve)
	}
	s := &Store{dir: dir, max: o.MaxBytes, log: o.Log, disk: o.FS, entries: map[core.Digest]*entry{}, parts: map[core.Digest]*entry{}, lru: list.New()}
	s.describing = make(chan struct{}, 1)
	s.room = room{reserve: o.Reserve, free: o.Free}
	if s.room.free == nil {
		s.room.free = diskspace.At
	}
	if s.log == nil {
		s.log = slog.Default()
	}
	if s.disk == nil {
		s.disk = OS{}
	}
	if err := s.makeDirs(); err != nil {
		return nil, fmt.Errorf("blob store: %w", err)
	}
	if err := s.scan(); err != nil {
		return nil, fmt.Errorf("blob store: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.makeRoom(0); err != nil {
		return nil, err
	}
	return s, nil
}

// makeDirs makes the directories that are always there.
func (s *Store) makeDirs() error {
	for _, name := range []string{contentDir, tempDir, partDir} {
		if err := os.MkdirAll(filepath.Join(s.dir, name), 0o700); err != nil {
			return err
		}
	}
	return s.disk.SyncDir(s.dir)
}

// scan deletes torn files, puts back what was not deleted for good, and takes stock
// of it all.
func (s *Store) scan() error {
	torn, err := os.ReadDir(filepath.Join(s.dir, tempDir))
	if err != nil {
		return err
	}
	for _, f := range torn {
		if back, err := s.restore(f.Name()); back || err != nil {
			if err != nil {
				return err
			}
			continue
		}
		if err := s.disk.Remove(filepath.Join(s.dir, tempDir, f.Name())); err != nil {
			return err
		}
	}
	var all []found
	for b := range 256 {
		files, err := os.ReadDir(s.shard(byte(b)))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		s.made[b] = true
		for _, f := range files {
			info, err := f.Info()
			if err != nil {
				return err
			}
			d, err := core.ParseDigest("sha256:" + f.Name())
			if err != nil || d[0] != byte(b) || !info.Mode().IsRegular() {
				s.log.Warn("blob store: a file that is not ours was left alone", "path", filepath.Join(s.shard(byte(b)), f.Name()))
				continue
			}
			all = append(all, found{&entry{digest: d, size: info.Size()}, info.ModTime()})
		}
	}
	parts, err := s.scanParts(all)
	if err != nil {
		return err
	}
	all = append(all, parts...)
	slices.SortStableFunc(all, func(a, b found) int { return a.at.Compare(b.at) })
	for _, f := range all {
		s.shelf(f.entry)[f.digest] = f.entry
		f.place = s.lru.PushFront(f.entry)
		s.used += f.size
	}
	return nil
}

// found is content that was there when the store was opened.
type found struct {
	*entry
	at time.Time
}

// shelf is where an entry is kept.
func (s *Store) shelf(e *entry) map[core.Digest]*entry {
	if e.part != nil {
		return s.parts
	}
	return s.entries
}

func (s *Store) shard(b byte) string {
	return filepath.Join(s.dir, contentDir, fmt.Sprintf("%02x", b))
}

// Path returns where content with this digest is, if it is stored. The file is
// not to be changed; hold a Pin while using it.
func (s *Store) Path(d core.Digest) string { return filepath.Join(s.shard(d[0]), d.Hex()) }

// Has reports whether content with this digest is stored.
func (s *Store) Has(d core.Digest) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.entries[d] != nil
}

// Used returns the bytes of all content.
func (s *Store) Used() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.used
}

// Pin keeps content from being removed for lack of room until release is
// called, and counts as a use of it. It reports whether the content is stored;
// if not, release does nothing. Calling release again does nothing.
func (s *Store) Pin(d core.Digest) (release func(), ok bool) {
	e := s.pin(d)
	if e == nil {
		return func() {}, false
	}
	return sync.OnceFunc(func() { s.unpin(e) }), true
}

func (s *Store) pin(d core.Digest) *entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.entries[d]
	if e != nil {
		e.pins++
		s.lru.MoveToFront(e.place)
	}
	return e
}

func (s *Store) unpin(e *entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e.pins--
}

// Delete removes content, also if it is pinned; whoever has it open can read
// on. Deleting what is not stored is no error.
func (s *Store) Delete(d core.Digest) error {
	s.mu.Lock()
	e := s.entries[d]
	s.mu.Unlock()
	if e == nil {
		return nil
	}
	_, err := s.remove(e)
	return err
}

// remove takes e out of the store, and reports whether it was still in.
func (s *Store) remove(e *entry) (bool, error) {
	c := &s.commit[e.digest[0]]
	c.Lock()
	defer c.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.entries[e.digest] != e {
		return false, nil
	}
	return true, s.drop(e)
}

// drop deletes e's files and forgets e. It is called with mu held.
func (s *Store) drop(e *entry) error {
	files := []string{s.Path(e.digest)}
	if e.part != nil { // what tells of the bytes goes last: a crash in between leaves no bytes that nobody knows of
		files = []string{s.partPath(e.digest), s.notesPath(e.digest)}
	}
	for _, path := range files {
		if err := s.disk.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("blob %s: %w", e.digest.Short(), err)
		}
	}
	s.forget(e)
	return nil
}

// forget takes e off its shelf. It is called with mu held.
func (s *Store) forget(e *entry) {
	delete(s.shelf(e), e.digest)
	s.lru.Remove(e.place)
	s.used -= e.size
}

// makeRoom removes what was least recently used until need more bytes fit. It
// is called with mu held.
func (s *Store) makeRoom(need int64) error {
	for place := s.lru.Back(); s.max > 0 && s.used+need > s.max; {
		if place == nil {
			return ErrFull
		}
		e := place.Value.(*entry)
		place = place.Prev()
		if e.pins > 0 {
			continue
		}
		if err := s.drop(e); err != nil {
			return err
		}
		s.log.Debug("blob store: content made room for other", "digest", e.digest, "bytes", e.size)
	}
	return nil
}

// Verify reads content and checks it. Damaged content is removed, and the error
// is ErrCorrupt.
func (s *Store) Verify(ctx context.Context, d core.Digest) error {
	r, _, err := s.Open(d)
	if err != nil {
		return err
	}
	defer r.Close()
	return copyAll(ctx, discard{}, r, nil)
}
