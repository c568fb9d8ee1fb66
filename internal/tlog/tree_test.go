package tlog

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"testing"

	sumdb "golang.org/x/mod/sumdb/tlog"
	"pgregory.net/rapid"
)

// naiveRoot is RFC 6962, section 2.1, word for word.
func naiveRoot(bodies [][]byte) Hash {
	switch n := len(bodies); n {
	case 0:
		return sha256.Sum256(nil)
	case 1:
		return sha256.Sum256(append([]byte{0}, bodies[0]...))
	default:
		k := 1
		for k*2 < n {
			k *= 2
		}
		l, r := naiveRoot(bodies[:k]), naiveRoot(bodies[k:])
		return sha256.Sum256(append(append([]byte{1}, l[:]...), r[:]...))
	}
}

func someBodies(n int) [][]byte {
	out := make([][]byte, n)
	for i := range out {
		out[i] = fmt.Appendf(nil, "leaf %d", i)
	}
	return out
}

// source serves bodies as SQL would, and counts how many were read.
func source(bodies [][]byte, read *int) Bodies {
	return func(_ context.Context, first, end int64) iter.Seq2[[]byte, error] {
		return func(yield func([]byte, error) bool) {
			for i := first; i < end; i++ {
				if i >= int64(len(bodies)) {
					yield(nil, errors.New("missing"))
					return
				}
				if read != nil {
					*read++
				}
				if !yield(bodies[i], nil) {
					return
				}
			}
		}
	}
}

func open(t testing.TB, dir string, bodies [][]byte, published Checkpoint) *Tree {
	t.Helper()
	tree, err := Open(t.Context(), Config{Dir: dir, Leaves: int64(len(bodies)), Bodies: source(bodies, nil), Published: published})
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

func TestAgainstNaiveTree(t *testing.T) {
	t.Parallel()
	all := someBodies(1400) // over five full tiles
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(0, len(all)).Draw(rt, "leaves")
		tree := &Tree{dir: t.TempDir(), pending: map[tileKey][]byte{}}
		for i, b := range all[:n] {
			if got, err := tree.Append(b); err != nil || got != int64(i) {
				rt.Fatalf("append %d: %d, %v", i, got, err)
			}
		}
		if rapid.Bool().Draw(rt, "flush") {
			if err := tree.Flush(); err != nil {
				rt.Fatal(err)
			}
		}
		size := rapid.IntRange(0, n).Draw(rt, "size")
		root, err := tree.Root(int64(size))
		if err != nil || root != naiveRoot(all[:size]) {
			rt.Fatalf("root of %d: %v, %v", size, root, err)
		}
		if size == 0 {
			return
		}
		index := rapid.IntRange(0, size-1).Draw(rt, "index")
		p, err := tree.ProveInclusion(int64(index), int64(size))
		if err != nil {
			rt.Fatal(err)
		}
		if err := CheckInclusion(p, int64(size), naiveRoot(all[:size]), int64(index), LeafHash(all[index])); err != nil {
			rt.Fatal(err)
		}
		if CheckInclusion(p, int64(size), naiveRoot(all[:size]), int64(index), LeafHash([]byte("other"))) == nil {
			rt.Fatal("another leaf passes")
		}
		older := rapid.IntRange(0, size).Draw(rt, "older")
		c, err := tree.ProveConsistency(int64(older), int64(size))
		if err != nil {
			rt.Fatal(err)
		}
		if err := CheckConsistency(c, int64(older), naiveRoot(all[:older]), int64(size), naiveRoot(all[:size])); err != nil {
			rt.Fatal(err)
		}
		if older > 0 && older < size && CheckConsistency(c, int64(older), naiveRoot(all[1:older+1]), int64(size), naiveRoot(all[:size])) == nil {
			rt.Fatal("another past passes")
		}
	})
}

// Three levels of tiles, compared with x/mod's own storage of every hash.
func TestDeepTree(t *testing.T) {
	t.Parallel()
	const n = 1<<16 + 700
	bodies := someBodies(n)
	var stored []Hash
	plain := sumdb.HashReaderFunc(func(indexes []int64) ([]Hash, error) {
		out := make([]Hash, len(indexes))
		for i, x := range indexes {
			out[i] = stored[x]
		}
		return out, nil
	})
	for i, b := range bodies {
		h, err := sumdb.StoredHashes(int64(i), b, plain)
		if err != nil {
			t.Fatal(err)
		}
		stored = append(stored, h...)
	}
	tree := open(t, t.TempDir(), bodies, Checkpoint{})
	if got := len(tree.edge); got != 3 {
		t.Fatalf("%d tile levels, want 3", got)
	}
	for _, size := range []int64{1, 255, 256, 257, 65535, 65536, 65537, 66049, n} {
		want, err := sumdb.TreeHash(size, plain)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := tree.Root(size); err != nil || got != want {
			t.Fatalf("root of %d: %v, %v; want %v", size, got, err, want)
		}
		for _, i := range []int64{0, size / 3, size - 1} {
			got, err := tree.ProveInclusion(i, size)
			if err != nil {
				t.Fatal(err)
			}
			if err := sumdb.CheckRecord(got, size, want, i, LeafHash(bodies[i])); err != nil {
				t.Fatal(err)
			}
		}
	}
	// Every tile as x/mod's client would verify it.
	for _, c := range sumdb.NewTiles(tileHeight, 0, n) {
		want, err := sumdb.ReadTileData(c, plain)
		if err != nil {
			t.Fatal(err)
		}
		got, err := tree.tile(c.L, c.N, c.W)
		if err != nil || string(got) != string(want) {
			t.Fatalf("tile %s: %v", c.Path(), err)
		}
	}
}

func TestRanges(t *testing.T) {
	t.Parallel()
	tree := open(t, t.TempDir(), someBodies(10), Checkpoint{})
	for name, f := range map[string]func() error{
		"root beyond":          func() error { _, err := tree.Root(11); return err },
		"root negative":        func() error { _, err := tree.Root(-1); return err },
		"inclusion beyond":     func() error { _, err := tree.ProveInclusion(0, 11); return err },
		"inclusion past size":  func() error { _, err := tree.ProveInclusion(5, 5); return err },
		"inclusion negative":   func() error { _, err := tree.ProveInclusion(-1, 5); return err },
		"consistency reversed": func() error { _, err := tree.ProveConsistency(6, 5); return err },
		"consistency negative": func() error { _, err := tree.ProveConsistency(-1, 5); return err },
	} {
		if err := f(); !errors.Is(err, ErrRange) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := tree.Append(make([]byte, MaxLeaf+1)); !errors.Is(err, ErrLeafSize) {
		t.Errorf("large leaf: %v", err)
	}
}

func checkpointOf(bodies [][]byte, size int) Checkpoint {
	return Checkpoint{Size: int64(size), Root: naiveRoot(bodies[:size]), Epoch: 1}
}

func TestReopen(t *testing.T) {
	t.Parallel()
	bodies := someBodies(2000)
	damage := map[string]func(t *testing.T, dir string){
		"intact":  func(*testing.T, string) {},
		"removed": func(t *testing.T, dir string) { must(t, os.Remove(tilePath(dir, 0, 2))) },
		"torn":    func(t *testing.T, dir string) { must(t, os.Truncate(tilePath(dir, 0, 3), 4000)) },
		"flipped": func(t *testing.T, dir string) {
			b, err := os.ReadFile(tilePath(dir, 0, 1))
			must(t, err)
			b[77] ^= 1
			must(t, os.WriteFile(tilePath(dir, 0, 1), b, 0o644))
		},
		"lost": func(t *testing.T, dir string) { must(t, os.RemoveAll(filepath.Join(dir, "tile"))) },
		// Written before a crash, of leaves that were then never committed.
		"ahead": func(t *testing.T, dir string) { must(t, writeTile(dir, 0, 6, make([]byte, tileBytes))) },
	}
	for name, hurt := range damage {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			open(t, dir, bodies[:1500], Checkpoint{})
			hurt(t, dir)
			tree := open(t, dir, bodies, checkpointOf(bodies, 1500))
			if root, err := tree.Root(2000); err != nil || root != naiveRoot(bodies) {
				t.Fatalf("root: %v, %v", root, err)
			}
			for i := range int64(2000 / tileWidth) {
				if _, err := tree.ProveInclusion(i*tileWidth+7, 2000); err != nil {
					t.Errorf("tile %d was not mended: %v", i, err)
				}
			}
		})
	}
}

func TestReopenReadsOnlyTheEdge(t *testing.T) {
	t.Parallel()
	bodies, dir, read := someBodies(2000), t.TempDir(), 0
	open(t, dir, bodies, Checkpoint{})
	_, err := Open(t.Context(), Config{Dir: dir, Leaves: 2000, Published: checkpointOf(bodies, 1900), Bodies: source(bodies, &read)})
	if err != nil || read != 2000-1900/tileWidth*tileWidth {
		t.Fatalf("read %d leaves, %v", read, err)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	bodies := someBodies(600)
	_, err := Open(t.Context(), Config{Dir: t.TempDir(), Leaves: 500, Published: checkpointOf(bodies, 600), Bodies: source(bodies, nil)})
	if !errors.Is(err, ErrAhead) {
		t.Errorf("database behind the checkpoint: %v", err)
	}
	forged := someBodies(600)
	forged[300] = []byte("rewritten")
	dir := t.TempDir()
	open(t, dir, bodies, Checkpoint{}) // tiles of the true log do not help
	_, err = Open(t.Context(), Config{Dir: dir, Leaves: 600, Published: checkpointOf(forged, 600), Bodies: source(bodies, nil)})
	if !errors.Is(err, ErrDiverged) {
		t.Errorf("another root: %v", err)
	}
	_, err = Open(t.Context(), Config{Dir: t.TempDir(), Leaves: 700, Bodies: source(bodies, nil)})
	if err == nil {
		t.Error("missing leaves pass")
	}
}

// A tile damaged under a running tree never becomes a proof.
func TestNoFalseProof(t *testing.T) {
	t.Parallel()
	bodies, dir := someBodies(600), t.TempDir()
	tree := open(t, dir, bodies, Checkpoint{})
	b, err := os.ReadFile(tilePath(dir, 0, 0))
	must(t, err)
	b[32*9] ^= 1
	must(t, os.WriteFile(tilePath(dir, 0, 0), b, 0o644))
	if _, err := tree.ProveInclusion(8, 600); !errors.Is(err, ErrTile) {
		t.Errorf("inclusion: %v", err)
	}
	must(t, os.Remove(tilePath(dir, 0, 0)))
	if _, err := tree.ProveInclusion(8, 600); !errors.Is(err, ErrTile) {
		t.Errorf("inclusion without the tile: %v", err)
	}
}

func TestFlushTriesAgain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "tile"), nil, 0o644)) // in the way
	tree := &Tree{dir: dir, pending: map[tileKey][]byte{}}
	bodies := someBodies(300)
	for _, b := range bodies {
		_, err := tree.Append(b)
		must(t, err)
	}
	if tree.Flush() == nil {
		t.Fatal("flush over a file succeeded")
	}
	if _, err := tree.ProveInclusion(3, 300); err != nil {
		t.Fatalf("proof from memory: %v", err)
	}
	must(t, os.Remove(filepath.Join(dir, "tile")))
	must(t, tree.Flush())
	if _, err := tree.ProveInclusion(3, 300); err != nil || len(tree.pending) != 0 {
		t.Fatalf("proof from disk: %v", err)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func BenchmarkAppend(b *testing.B) {
	tree := &Tree{dir: b.TempDir(), pending: map[tileKey][]byte{}}
	body := make([]byte, 450)
	for i := 0; b.Loop(); i++ {
		if _, err := tree.Append(body); err != nil {
			b.Fatal(err)
		}
		if i%300 == 299 {
			must(b, tree.Flush())
		}
	}
}

func BenchmarkProveInclusion(b *testing.B) {
	tree := open(b, b.TempDir(), someBodies(100_000), Checkpoint{})
	b.ResetTimer()
	for i := int64(0); b.Loop(); i++ {
		if _, err := tree.ProveInclusion(i*7919%100_000, 100_000); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkNext(b *testing.B) {
	tree := open(b, b.TempDir(), someBodies(100_000), Checkpoint{})
	prev, err := tree.Next(Checkpoint{})
	must(b, err)
	for b.Loop() {
		if _, err := tree.Append([]byte("x")); err != nil {
			b.Fatal(err)
		}
		prev, err = tree.Next(prev)
		must(b, err)
	}
}
