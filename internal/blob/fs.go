package blob

import (
	"io"
	"os"
	"path/filepath"
	"runtime"
)

// FS is every call by which a Store changes the disk, so that tests can let
// each of them fail.
type FS interface {
	// CreateTemp makes a new file for writing in dir.
	CreateTemp(dir string) (File, error)
	// OpenFile opens a file for reading and writing, and makes it if need be.
	OpenFile(path string) (RandomFile, error)
	Mkdir(dir string) error
	Rename(from, to string) error
	Remove(path string) error
	// SyncDir makes the entries of a directory durable.
	SyncDir(dir string) error
}

// File is content being written.
type File interface {
	io.WriteCloser
	Name() string
	Sync() error
}

// RandomFile is content that is read and written at any place.
type RandomFile interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Sync() error
}

// OS is the real file system.
type OS struct{}

// CreateTemp implements FS.
func (OS) CreateTemp(dir string) (File, error) { return os.CreateTemp(dir, "put-*") }

// OpenFile implements FS.
func (OS) OpenFile(path string) (RandomFile, error) {
	return os.OpenFile(filepath.Clean(path), os.O_RDWR|os.O_CREATE, 0o600)
}

// Mkdir implements FS.
func (OS) Mkdir(dir string) error { return os.Mkdir(dir, 0o700) }

// Rename implements FS.
func (OS) Rename(from, to string) error { return os.Rename(from, to) }

// Remove implements FS.
func (OS) Remove(path string) error { return os.Remove(path) }

// SyncDir implements FS. Windows has no such call: NTFS journals its entries.
func (OS) SyncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(filepath.Clean(dir))
	if err != nil {
		return err
	}
	err = d.Sync()
	if cerr := d.Close(); err == nil {
		err = cerr
	}
	return err
}
