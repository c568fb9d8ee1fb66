// Package diskspace tells how much room a disk has, and how much of it should
// stay free.
package diskspace

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// Reserve is how many bytes hubs and nodes leave free unless told otherwise: a
// database that finds no room for its log has to stop.
const Reserve = 1 << 30

// Free returns the bytes that are free at dir for this user or, if dir is not
// there yet, at the folder it would be made in.
func Free(dir string) (free int64, at string, err error) {
	for {
		if _, err = os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
			break
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			break
		}
		dir = parent
	}
	if err != nil {
		return 0, dir, err
	}
	free, err = At(dir)
	return free, dir, err
}
