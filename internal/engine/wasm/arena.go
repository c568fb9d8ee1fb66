package wasm

import "github.com/tetratelabs/wazero/experimental"

// clearByHand is up to where writing zeros is cheaper than giving pages back to
// the kernel and taking them again.
const clearByHand = 256 << 10

// arena is the linear memory of a child's parts, one after the other: address
// space reserved once for the largest allowed, of which a part gets a prefix
// that never moves. Growing costs nothing, and the next part finds zeros.
type arena struct {
	mem     []byte
	limit   uint64 // of the current part, in bytes
	peak    uint64 // what the current part has
	refused bool   // it asked for more than its limit
}

func newArena(size int64) (*arena, error) {
	mem, err := reserve(size)
	if err != nil {
		return nil, err
	}
	return &arena{mem: mem}, nil
}

// Allocate implements experimental.MemoryAllocator. A module has at most one
// memory, and one instance lives at a time, so that there is one to give.
func (a *arena) Allocate(_, _ uint64) experimental.LinearMemory { return a }

// Reallocate implements experimental.LinearMemory.
func (a *arena) Reallocate(size uint64) []byte {
	if size > a.limit || size > uint64(len(a.mem)) || use(a.mem[:size]) != nil {
		a.refused = true
		return nil
	}
	a.peak = max(a.peak, size)
	return a.mem[:size:size]
}

// Free implements experimental.LinearMemory; clean does it.
func (a *arena) Free() {}

// clean zeroes what the last part had.
func (a *arena) clean() {
	if a.peak <= clearByHand {
		clear(a.mem[:a.peak])
	} else {
		discard(a.mem[:a.peak])
	}
	a.peak, a.refused = 0, false
}
