package durable

import (
	"bufio"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

// Modes of files.
const (
	Private fs.FileMode = 0o600 // holds secrets
	Public  fs.FileMode = 0o644
)

// WriteFile is Replace for bytes that are at hand.
func WriteFile(path string, data []byte, mode fs.FileMode) error {
	return Replace(path, mode, bytesTo(data))
}

// Replace puts what write writes at path, in place of what is there. If it
// fails, what was there stays as it was. The error of write is returned as it is.
func Replace(path string, mode fs.FileMode, write func(io.Writer) error) error {
	return put(path, mode, write, os.Rename)
}

// Create is WriteFile where there is nothing yet; an existing file stays as it
// was. Of several at a time one wins, and the others read what it wrote.
func Create(path string, data []byte, mode fs.FileMode) error {
	err := put(path, mode, bytesTo(data), os.Link) // unlike renaming, linking never replaces
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}

func bytesTo(data []byte) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	}
}

// put writes a new file beside path and then has it appear there.
func put(path string, mode fs.FileMode, write func(io.Writer) error, appear func(from, to string) error) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, ".new-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // fails where it was renamed
	w := bufio.NewWriter(f)
	err = write(w)
	if err == nil {
		err = errors.Join(w.Flush(), f.Chmod(mode), f.Sync())
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := appear(f.Name(), path); err != nil {
		return err
	}
	return syncDir(dir)
}

// MkdirAll makes a directory with those above it that are missing. They are there after a
// power cut, too: what is durable in a directory is lost if that is not.
func MkdirAll(dir string, mode fs.FileMode) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	parent := filepath.Dir(dir)
	if err := MkdirAll(parent, mode); err != nil {
		return err
	}
	if err := os.Mkdir(dir, mode); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(parent)
}

// syncDir makes what a directory lists durable.
func syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil // directories cannot be synced there
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
