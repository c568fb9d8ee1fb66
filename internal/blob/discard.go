package blob

import (
	"path/filepath"

	"atoll/internal/core"
)

// Digests returns the digests of all that is stored.
func (s *Store) Digests() []core.Digest {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]core.Digest, 0, len(s.entries))
	for d := range s.entries {
		out = append(out, d)
	}
	return out
}

// Discard takes content out of the store unless it is in use, or about to be. It
// does not wait: the file is only renamed, and remove, which is not nil if the
// content is gone, deletes it. After a crash in between the next Open does.
func (s *Store) Discard(d core.Digest) (remove func() error, err error) {
	c := &s.commit[d[0]]
	if !c.TryLock() {
		return nil, nil //nolint:nilnil // in use
	}
	defer c.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.entries[d]
	if e == nil || e.pins > 0 {
		return nil, nil //nolint:nilnil // in use, or gone
	}
	away := filepath.Join(s.dir, tempDir, "gone-"+d.Hex())
	if err := s.disk.Rename(s.Path(d), away); err != nil {
		return nil, err
	}
	delete(s.entries, d)
	s.lru.Remove(e.place)
	s.used -= e.size
	return func() error { return s.disk.Remove(away) }, nil
}
