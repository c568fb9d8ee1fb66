package cli

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// freeDisk returns the bytes that are free at dir or, if that is not there yet,
// at the folder it would be made in.
func freeDisk(dir string) (free int64, at string, err error) {
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
	free, err = freeAt(dir)
	return free, dir, err
}
