package durable

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// ErrLocked means that somebody uses a directory already.
var ErrLocked = errors.New("in use")

const (
	lockFile  = "lock"
	maxHolder = 200 // bytes of a lock file that are read
)

// Lock makes a directory, readable by its owner alone, and takes it until unlock
// is called or the process ends. Two hubs, or two nodes, over one directory would
// each believe to be the only writer. holder ("hub", "node n1") is what others
// are told who come meanwhile; they get ErrLocked, also in the same process.
func Lock(dir, holder string) (unlock func() error, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_CREATE|os.O_RDWR, Private)
	if err != nil {
		return nil, err
	}
	switch err := lock(f); {
	case errors.Is(err, errHeld):
		return nil, errors.Join(fmt.Errorf("%s is %w by %s; stop that one, or choose another --dir", dir, ErrLocked, readHolder(f)), f.Close())
	case err != nil:
		return nil, errors.Join(fmt.Errorf("lock %s: %w", f.Name(), err), f.Close())
	}
	// The kernel holds the lock; the words are for people.
	err = f.Truncate(0)
	if err == nil {
		_, err = fmt.Fprintf(f, "%s, process %d\n", holder, os.Getpid())
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("write %s: %w", f.Name(), err), f.Close())
	}
	return f.Close, nil
}

// readHolder says who has written a lock file.
func readHolder(f *os.File) string {
	b, err := io.ReadAll(io.LimitReader(f, maxHolder))
	if text := strings.TrimSpace(string(b)); err == nil && text != "" {
		return text
	}
	return "another atoll process"
}
