package diskspace

import (
	"path/filepath"
	"testing"
)

func TestFree(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	free, at, err := Free(filepath.Join(dir, "not", "there", "yet"))
	if err != nil || at != dir || free <= 0 {
		t.Errorf("%d bytes at %s: %v", free, at, err)
	}
	if _, err := At(filepath.Join(dir, "not there")); err == nil {
		t.Error("a folder that is not there has room")
	}
}
