package app

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// lockDir makes a data directory, readable by its owner alone, and takes it for
// this process. Two hubs, or two nodes, over one directory would each believe to
// be the only writer.
func lockDir(dir string) (unlock func(), err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := flock(f); err != nil {
		return nil, errors.Join(fmt.Errorf("%s is in use by another atoll process (%w); stop that one, or choose another --dir", dir, err), f.Close())
	}
	return func() { f.Close() }, nil
}

// writeFile replaces a file as a whole, readable by its owner alone.
func writeFile(path string, data []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	if _, err := tmp.Write(data); err != nil {
		return errors.Join(err, tmp.Close())
	}
	if err := errors.Join(tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}
