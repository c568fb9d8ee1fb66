package secagg

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"atoll/internal/core"
	"atoll/internal/durable"
)

// Journal is what a client remembers of one round, over crashes: a second vector under
// the same masks would give both away.
type Journal interface {
	// Once keeps a value under a name, unless there is one: that is returned then. The
	// value is durable when Once returns.
	Once(name string, value []byte) (kept []byte, err error)
	// Kept returns what is kept under a name; nil if nothing is.
	Kept(name string) ([]byte, error)
}

// MemoryJournal is for simulations: it does not outlive the process.
type MemoryJournal struct {
	mu   sync.Mutex
	kept map[string][]byte
}

// Once implements Journal.
func (j *MemoryJournal) Once(name string, value []byte) ([]byte, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if had, ok := j.kept[name]; ok {
		return had, nil
	}
	if j.kept == nil {
		j.kept = map[string][]byte{}
	}
	j.kept[name] = bytes.Clone(value)
	return value, nil
}

// Kept implements Journal.
func (j *MemoryJournal) Kept(name string) ([]byte, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.kept[name], nil
}

// DirJournal keeps each value in a file of a directory, which its caller makes for the
// round and removes after it.
type DirJournal string

// Once implements Journal. What it returns was read back: durable.Create says nothing of a
// file that was there already.
func (d DirJournal) Once(name string, value []byte) ([]byte, error) {
	if had, err := d.Kept(name); had != nil || err != nil {
		return had, err
	}
	if err := durable.Create(filepath.Join(string(d), name), value, durable.Private); err != nil {
		return nil, err
	}
	return d.Kept(name)
}

// Kept implements Journal.
func (d DirJournal) Kept(name string) ([]byte, error) {
	b, err := os.ReadFile(filepath.Join(string(d), name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil && b == nil {
		b = []byte{}
	}
	return b, err
}

// same keeps a value, and refuses another one than was kept before.
func same(j Journal, name string, value []byte, refusal string) error {
	kept, err := j.Once(name, value)
	if err != nil {
		return err
	}
	if !bytes.Equal(kept, value) {
		return core.Errorf(core.Conflict, "%s", refusal)
	}
	return nil
}
