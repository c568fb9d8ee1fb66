package tlog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
)

// Reasons not to open a tree. They mean that the database is not the one that
// the checkpoint was signed over, so none of them is mended.
var (
	ErrAhead    = errors.New("tlog: the published checkpoint covers leaves that the database does not have")
	ErrDiverged = errors.New("tlog: the leaves do not give the published root")
)

// Bodies yields the bodies of leaves first ≤ index < end in order, from SQL.
type Bodies func(ctx context.Context, first, end int64) iter.Seq2[[]byte, error]

// Config for Open.
type Config struct {
	Dir       string     // for tiles; made if it is not there
	Published Checkpoint // the newest one in SQL; zero if there is none
	Leaves    int64      // how many leaves SQL has
	Bodies    Bodies     // read while opening, never later
}

// Covered refuses a database that has fewer leaves than a published checkpoint
// covers: it is older than what the world has been told. The way out is to
// restore the database, never to publish again.
func Covered(published Checkpoint, leaves int64) error {
	if leaves < published.Size {
		return fmt.Errorf("%w: %d are published, %d are stored; restore a newer copy of the database", ErrAhead, published.Size, leaves)
	}
	return nil
}

// Open brings the tree up to the leaves in SQL and checks it against the
// published checkpoint: ErrAhead or ErrDiverged if they cannot be reconciled.
// Tiles below the published size save the reading of leaves as long as they give
// the published root; otherwise all is made again from the leaves.
func Open(ctx context.Context, cfg Config) (*Tree, error) {
	if cfg.Dir == "" || cfg.Bodies == nil || cfg.Leaves < 0 || cfg.Leaves > maxSize {
		return nil, errors.New("tlog: Dir and Bodies are required, Leaves is not negative")
	}
	if err := Covered(cfg.Published, cfg.Leaves); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(cfg.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("tlog: %w", err)
	}
	t, err := build(ctx, cfg, true)
	if errors.Is(err, ErrDiverged) {
		t, err = build(ctx, cfg, false) // a tile may be damaged: believe none
	}
	if err != nil {
		return nil, err
	}
	return t, t.Flush()
}

// build makes the tree, from level 0 tiles where useTiles allows and from
// leaves where not.
func build(ctx context.Context, cfg Config, useTiles bool) (*Tree, error) {
	t := &Tree{dir: cfg.Dir, pending: map[tileKey][]byte{}}
	stop := cfg.Published.Size
	for useTiles && t.size+tileWidth <= stop {
		data, err := readTile(cfg.Dir, 0, t.size/tileWidth)
		if err == nil {
			t.pushTile(data)
		} else if err = t.pushLeaves(ctx, cfg.Bodies, t.size+tileWidth); err != nil {
			return nil, err
		}
		if err := t.settle(ctx); err != nil {
			return nil, err
		}
	}
	if err := t.pushLeaves(ctx, cfg.Bodies, stop); err != nil {
		return nil, err
	}
	if stop > 0 {
		root, err := t.Root(stop)
		if err != nil {
			return nil, err
		}
		if root != cfg.Published.Root {
			return nil, fmt.Errorf("%w: of %d leaves: have %s, published is %s", ErrDiverged, stop, root, cfg.Published.Root)
		}
	}
	return t, t.pushLeaves(ctx, cfg.Bodies, cfg.Leaves)
}

// pushTile appends the 256 leaf hashes of a tile that came from disk.
func (t *Tree) pushTile(data []byte) {
	first := tileKey{0, t.size / tileWidth}
	for len(data) > 0 {
		t.push(0, Hash(data[:HashSize]))
		t.size++
		data = data[HashSize:]
	}
	delete(t.pending, first) // it is a file already
}

func (t *Tree) pushLeaves(ctx context.Context, bodies Bodies, end int64) error {
	if t.size == end {
		return nil
	}
	for body, err := range bodies(ctx, t.size, end) {
		if err != nil {
			return fmt.Errorf("tlog: read leaf %d: %w", t.size, err)
		}
		if t.size == end {
			return fmt.Errorf("tlog: more leaves than the %d asked for", end)
		}
		if _, err := t.Append(body); err != nil {
			return fmt.Errorf("leaf %d: %w", t.size, err)
		}
		if err := t.settle(ctx); err != nil {
			return err
		}
	}
	if t.size != end {
		return fmt.Errorf("tlog: leaves end at %d, want %d", t.size, end)
	}
	return nil
}

// settle keeps memory bounded while a tree is built: tiles that are on disk as
// they should be are dropped, the others written.
func (t *Tree) settle(ctx context.Context) error {
	if len(t.pending) < flushEvery {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	for k, data := range t.pending {
		if have, err := readTile(t.dir, k.level, k.n); err == nil && bytes.Equal(have, data) {
			delete(t.pending, k)
		}
	}
	return t.Flush()
}
