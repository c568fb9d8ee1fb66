package tlog

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"atoll/internal/durable"
)

// The newest published checkpoint is kept beside the tiles, too, outside of the
// database: a database that was put back from a copy knows nothing of what the
// world was told since, and would sign other entries for the same sizes.
const publishedFile = "checkpoint"

// KeepPublished stores a signed checkpoint durably. It comes before anybody is
// shown it.
func KeepPublished(dir string, note []byte) error {
	if err := durable.WriteFile(filepath.Join(dir, publishedFile), note, durable.Public); err != nil {
		return fmt.Errorf("tlog: keep checkpoint: %w", err)
	}
	return nil
}

// KeptPublished returns the checkpoint that was kept, zero if there is none.
func KeptPublished(dir string, log Key) (Checkpoint, error) {
	path := filepath.Join(dir, publishedFile)
	note, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Checkpoint{}, nil
	}
	if err != nil {
		return Checkpoint{}, fmt.Errorf("tlog: %w", err)
	}
	c, err := log.Open(note)
	if err != nil {
		return Checkpoint{}, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

// CheckKept refuses a tree that contradicts the checkpoint that was kept: one of
// an older database, or of another.
func (t *Tree) CheckKept(kept, published Checkpoint) error {
	if kept.Size > published.Size {
		return fmt.Errorf("%w: %d are published, and the database knows of %d; restore a newer copy of it", ErrAhead, kept.Size, published.Size)
	}
	if kept.Size == 0 {
		return nil
	}
	root, err := t.Root(kept.Size)
	if err != nil {
		return err
	}
	if root != kept.Root {
		return fmt.Errorf("%w: of %d leaves: have %s, published is %s", ErrDiverged, kept.Size, root, kept.Root)
	}
	return nil
}
