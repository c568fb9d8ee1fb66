package tlog

import (
	"errors"
	"fmt"
	"sync"

	sumdb "golang.org/x/mod/sumdb/tlog"
)

// Hash is a node of the tree.
type Hash = sumdb.Hash

// HashSize is the size of a Hash in bytes.
const HashSize = sumdb.HashSize

// Errors of the tree.
var (
	ErrRange    = errors.New("tlog: index or size outside of the tree")
	ErrLeafSize = errors.New("tlog: leaf too large")
	ErrTile     = errors.New("tlog: damaged tile") // reopening the tree mends it
)

// LeafHash returns the hash of a leaf with the given body.
func LeafHash(body []byte) Hash { return sumdb.RecordHash(body) }

// Tree is the log's Merkle tree. One goroutine appends; any number may ask for
// roots, proofs and tiles meanwhile.
type Tree struct {
	dir string

	// mu guards all below. Hashes are never changed once they are there.
	mu      sync.RWMutex
	size    int64
	edge    [][]Hash           // by tile level: the hashes after the last full tile, fewer than 256
	pending map[tileKey][]byte // full tiles that are not yet files
	last    rootOf             // the root asked for last: proofs come in runs for one size
}

type rootOf struct {
	size int64
	root Hash
}

type tileKey struct {
	level int
	n     int64
}

// Size returns the number of leaves.
func (t *Tree) Size() int64 {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.size
}

// Append adds a leaf and returns its index. It touches no disk: what it fills
// is held in memory, 32 bytes a leaf, until Flush.
func (t *Tree) Append(body []byte) (int64, error) {
	if len(body) > MaxLeaf {
		return 0, fmt.Errorf("%w: %d bytes, at most %d", ErrLeafSize, len(body), MaxLeaf)
	}
	h := LeafHash(body)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.push(0, h)
	t.size++
	return t.size - 1, nil
}

// push adds a hash to the edge of a level. A level that becomes full turns into
// a tile, whose own hash goes one level up.
func (t *Tree) push(level int, h Hash) {
	if level == len(t.edge) {
		t.edge = append(t.edge, make([]Hash, 0, tileWidth))
	}
	t.edge[level] = append(t.edge[level], h)
	if len(t.edge[level]) < tileWidth {
		return
	}
	full := t.edge[level]
	t.pending[tileKey{level, t.fullTiles(level)}] = encode(full)
	up := subtree(full)
	t.edge[level] = full[:0]
	t.push(level+1, up)
}

// fullTiles returns how many tiles of a level came before the one that t.edge
// holds: the edges above count them, in digits of base 256.
func (t *Tree) fullTiles(level int) int64 {
	n := int64(0)
	for l := len(t.edge) - 1; l > level; l-- {
		n = n<<tileHeight | int64(len(t.edge[l]))
	}
	return n
}

// subtree returns the root over a power of two of hashes, without changing them.
func subtree(h []Hash) Hash {
	if len(h) == 1 {
		return h[0]
	}
	m := len(h) / 2
	return sumdb.NodeHash(subtree(h[:m]), subtree(h[m:]))
}

func encode(h []Hash) []byte {
	b := make([]byte, 0, len(h)*HashSize)
	for i := range h {
		b = append(b, h[i][:]...)
	}
	return b
}

// tile returns the first width hashes of a tile.
func (t *Tree) tile(level int, n int64, width int) ([]byte, error) {
	t.mu.RLock()
	if level < len(t.edge) && t.fullTiles(level) == n && width <= len(t.edge[level]) {
		b := encode(t.edge[level][:width])
		t.mu.RUnlock()
		return b, nil
	}
	b := t.pending[tileKey{level, n}]
	full := level < len(t.edge) && n >= 0 && n < t.fullTiles(level)
	t.mu.RUnlock()
	if !full {
		return nil, fmt.Errorf("%w: no tile %d of level %d with %d hashes", ErrRange, n, level, width)
	}
	if b == nil {
		var err error
		if b, err = readTile(t.dir, level, n); err != nil {
			return nil, err
		}
	}
	return b[:width*HashSize], nil
}

// reader looks hashes up in tiles, each fetched at most once in its lifetime.
func (t *Tree) reader() sumdb.HashReader {
	seen := map[tileKey][]byte{}
	return sumdb.HashReaderFunc(func(indexes []int64) ([]Hash, error) {
		out := make([]Hash, len(indexes))
		for i, x := range indexes {
			c := sumdb.TileForIndex(tileHeight, x)
			k := tileKey{c.L, c.N}
			if len(seen[k]) < c.W*HashSize {
				b, err := t.tile(c.L, c.N, c.W)
				if err != nil {
					return nil, err
				}
				seen[k] = b
			}
			h, err := sumdb.HashFromTile(c, seen[k], x)
			if err != nil {
				return nil, err
			}
			out[i] = h
		}
		return out, nil
	})
}

func (t *Tree) within(size int64) error {
	if have := t.Size(); size < 0 || size > have {
		return fmt.Errorf("%w: size %d of %d", ErrRange, size, have)
	}
	return nil
}

// Root returns the root of the tree's first size leaves. That of no leaves is
// the SHA-256 of nothing.
func (t *Tree) Root(size int64) (Hash, error) {
	if err := t.within(size); err != nil {
		return Hash{}, err
	}
	return t.root(size, t.reader())
}

func (t *Tree) root(size int64, r sumdb.HashReader) (Hash, error) {
	t.mu.RLock()
	last := t.last
	t.mu.RUnlock()
	if size > 0 && last.size == size {
		return last.root, nil
	}
	h, err := sumdb.TreeHash(size, r)
	if err == nil {
		t.mu.Lock()
		t.last = rootOf{size, h}
		t.mu.Unlock()
	}
	return h, err
}

// ProveInclusion proves that leaf index is in the tree of the first size leaves.
// A proof that does not verify is not given out: ErrTile.
func (t *Tree) ProveInclusion(index, size int64) ([]Hash, error) {
	if err := t.within(size); err != nil {
		return nil, err
	}
	if index < 0 || index >= size {
		return nil, fmt.Errorf("%w: index %d in a tree of size %d", ErrRange, index, size)
	}
	r := t.reader()
	root, err := t.root(size, r)
	if err != nil {
		return nil, err
	}
	leaf, err := r.ReadHashes([]int64{sumdb.StoredHashIndex(0, index)})
	if err != nil {
		return nil, err
	}
	p, err := sumdb.ProveRecord(size, index, r)
	if err != nil {
		return nil, err
	}
	if err := sumdb.CheckRecord(p, size, root, index, leaf[0]); err != nil {
		return nil, fmt.Errorf("%w: leaf %d of %d: %w", ErrTile, index, size, err)
	}
	return p, nil
}

// ProveConsistency proves that the tree of size is an extension of the tree of
// older leaves. The proof from no leaves is empty: nothing is contradicted.
func (t *Tree) ProveConsistency(older, size int64) ([]Hash, error) {
	if err := t.within(size); err != nil {
		return nil, err
	}
	if older < 0 || older > size {
		return nil, fmt.Errorf("%w: from size %d to %d", ErrRange, older, size)
	}
	if older == 0 {
		return nil, nil
	}
	r := t.reader()
	before, err := sumdb.TreeHash(older, r)
	if err != nil {
		return nil, err
	}
	after, err := t.root(size, r)
	if err != nil {
		return nil, err
	}
	p, err := sumdb.ProveTree(size, older, r)
	if err != nil {
		return nil, err
	}
	if err := sumdb.CheckTree(p, size, after, older, before); err != nil {
		return nil, fmt.Errorf("%w: from %d to %d leaves: %w", ErrTile, older, size, err)
	}
	return p, nil
}

// CheckInclusion verifies a proof by ProveInclusion.
func CheckInclusion(proof []Hash, size int64, root Hash, index int64, leaf Hash) error {
	if size > maxSize {
		return fmt.Errorf("%w: size %d", ErrRange, size)
	}
	return sumdb.CheckRecord(proof, size, root, index, leaf)
}

// CheckConsistency verifies a proof by ProveConsistency.
func CheckConsistency(proof []Hash, older int64, olderRoot Hash, size int64, root Hash) error {
	if older == 0 && len(proof) == 0 {
		return nil
	}
	if size > maxSize {
		return fmt.Errorf("%w: size %d", ErrRange, size)
	}
	return sumdb.CheckTree(proof, size, root, older, olderRoot)
}
