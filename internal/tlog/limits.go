package tlog

const (
	tileHeight = 8
	tileWidth  = 1 << tileHeight
	tileBytes  = tileWidth * HashSize

	// MaxLeaf bounds a leaf's body, in bytes: tlog-tiles gives its length 16 bits.
	MaxLeaf = 1<<16 - 1
	// MaxCheckpoint bounds a signed checkpoint, in bytes.
	MaxCheckpoint = 16 << 10
	// maxSize bounds what a checkpoint may claim as tree size. It keeps index
	// arithmetic (twice the size) far from overflow.
	maxSize = 1 << 48
	// maxOrigin is the longest host name.
	maxOrigin = 253
	// flushEvery is how many full tiles wait in memory while a tree is rebuilt.
	flushEvery = 64
)
