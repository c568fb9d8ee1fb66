package tlog

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// tileName is the C2SP name of tile n: groups of three digits, all but the last
// marked with an x.
func tileName(n int64) string {
	s := fmt.Sprintf("%03d", n%1000)
	for n /= 1000; n > 0; n /= 1000 {
		s = fmt.Sprintf("x%03d/", n%1000) + s
	}
	return s
}

func tilePath(dir string, level int, n int64) string {
	return filepath.Join(dir, "tile", strconv.Itoa(level), filepath.FromSlash(tileName(n)))
}

// parseTileName reads "x001/x234/067" or "x001/x234/067.p/8". Width is 256 for
// a full tile. Only the one spelling that tileName gives is taken.
func parseTileName(s string) (n int64, width int, ok bool) {
	width = tileWidth
	name, p, partial := strings.Cut(s, ".p/")
	if partial {
		w, err := strconv.ParseUint(p, 10, 8)
		if err != nil || w == 0 || strconv.FormatUint(w, 10) != p {
			return 0, 0, false
		}
		width = int(w)
	}
	if len(name) > len("x281/x474/x976/x710/656") { // maxSize
		return 0, 0, false
	}
	for group := range strings.SplitSeq(name, "/") {
		group = strings.TrimPrefix(group, "x")
		d, err := strconv.ParseUint(group, 10, 16)
		if err != nil || len(group) != 3 {
			return 0, 0, false
		}
		n = n*1000 + int64(d)
	}
	return n, width, tileName(n) == name
}

// readTile reads a full tile. That its length is right says nothing about its
// content: callers check hashes.
func readTile(dir string, level int, n int64) ([]byte, error) {
	path := tilePath(dir, level, n)
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrTile, err)
	}
	defer f.Close()
	b := make([]byte, tileBytes)
	st, err := f.Stat()
	if err == nil && st.Size() != tileBytes {
		err = fmt.Errorf("%s has %d bytes, want %d", path, st.Size(), tileBytes)
	}
	if err == nil {
		_, err = f.ReadAt(b, 0)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrTile, err)
	}
	return b, nil
}

// writeTile puts a tile in place by renaming, so that another process that
// reads the directory (a static file server) never sees half of one. It does
// not sync: a tile lost in a power cut is made again by Open.
func writeTile(dir string, level int, n int64, data []byte) error {
	path := tilePath(dir, level, n)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("tlog: write tile: %w", err)
	}
	tmp := path + ".tmp"
	err := os.WriteFile(tmp, data, 0o644)
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		return fmt.Errorf("tlog: write tile: %w", errors.Join(err, os.Remove(tmp)))
	}
	return nil
}

// Flush writes the full tiles that are still in memory. After an error the rest
// stays there, and the next Flush tries again; proofs are not affected. It runs
// on the goroutine that appends.
func (t *Tree) Flush() error {
	t.mu.RLock()
	todo := make([]tileKey, 0, len(t.pending))
	for k := range t.pending {
		todo = append(todo, k)
	}
	t.mu.RUnlock()
	for _, k := range todo {
		t.mu.RLock()
		data := t.pending[k]
		t.mu.RUnlock()
		if err := writeTile(t.dir, k.level, k.n, data); err != nil {
			return err
		}
		t.mu.Lock()
		delete(t.pending, k)
		t.mu.Unlock()
	}
	return nil
}
