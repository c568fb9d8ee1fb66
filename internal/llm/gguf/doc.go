// Package gguf reads and writes GGUF, the container that llama.cpp keeps language
// models in: a table of metadata, a table of tensors, and the tensors' bytes. It
// knows nothing of what a model is; package weights does.
//
// # Layout (versions 2 and 3, little-endian)
//
//	4 bytes   "GGUF"
//	uint32    version
//	uint64    number of tensors
//	uint64    number of metadata pairs
//	pairs     key string, uint32 value type, value
//	tensors   name string, uint32 dimensions, so many uint64 (the first is the
//	          row length), uint32 format, uint64 offset of its bytes
//	padding   to a multiple of general.alignment (32 unless stated)
//	data      offsets count from here and are multiples of the alignment
//
// A string is a uint64 length and so many bytes. A value is an integer of 8 to 64
// bits, a float of 32 or 64, a bool, a string, or an array of one of these.
//
// # Reading
//
// [Read] reads both tables and proves them against the size of the file: each
// tensor lies in the data, none overlaps another, no name or key comes twice.
// Tensor bytes are not read. Nothing is allocated on the word of a length in the
// file: memory grows with the bytes really read, and the tables may take at most
// 256 MiB. Errors wrap [ErrFormat] and name the key or tensor.
//
// # Writing
//
// [Write] makes the same bytes from the same values on every machine: version 3,
// alignment 32, keys in ascending order, tensors in the order given, padding
// zero.
package gguf

import "errors"

// ErrFormat means that bytes are not a GGUF file, or a damaged one.
var ErrFormat = errors.New("not a valid GGUF file")

// What a file may hold at most.
const (
	maxPairs   = 1 << 16
	maxTensors = 1 << 16
	maxKey     = 1<<16 - 1
	maxString  = 16 << 20  // bytes of one string value; chat templates are long
	maxArray   = 1 << 23   // elements of one array
	maxTables  = 256 << 20 // bytes before the data
	maxDims    = 4
	alignment  = 32
)
