package blob

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"atoll/internal/core"
)

// DigestsFrom returns digests of what is stored, all that begin with the byte first
// and with those after it, until there are at least enough of them; next is the byte
// to go on with, 0 after the last. So a long store is looked through in steps.
func (s *Store) DigestsFrom(first byte, enough int) (found []core.Digest, next byte, err error) {
	for b := int(first); b < 256; b++ {
		if len(found) >= enough {
			return found, byte(b), nil
		}
		files, err := os.ReadDir(s.shard(byte(b)))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, first, err
		}
		for _, f := range files {
			if d, err := core.ParseDigest("sha256:" + f.Name()); err == nil && s.Has(d) {
				found = append(found, d)
			}
		}
	}
	return found, 0, nil
}

// goneName begins the name of content that is about to be deleted.
const goneName = "gone-"

// Discard takes content out of the store unless it is in use, or about to be. It
// does not wait: the file is only renamed, and remove, which is not nil if the
// content is gone, deletes it. It is called once whatever made the content needless
// is durable: after a crash in between the next Open puts the content back.
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
	away := filepath.Join(s.dir, tempDir, goneName+d.Hex())
	if err := s.disk.Rename(s.Path(d), away); err != nil {
		return nil, err
	}
	s.forget(e)
	return func() error { return s.disk.Remove(away) }, nil
}

// restore puts content back that was about to be deleted, and reports whether a file
// among the unfinished ones was such content.
func (s *Store) restore(name string) (bool, error) {
	hex, gone := strings.CutPrefix(name, goneName)
	d, err := core.ParseDigest("sha256:" + hex)
	if !gone || err != nil {
		return false, nil //nolint:nilerr // a torn file, then
	}
	if err := s.disk.Rename(filepath.Join(s.dir, tempDir, name), s.Path(d)); err != nil {
		return false, err
	}
	return true, s.disk.SyncDir(s.shard(d[0]))
}
