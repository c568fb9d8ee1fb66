// Package keystream gives random words from a 256-bit key: AES-256 in counter
// mode from a counter of 0, read as little-endian 64-bit words. It has two uses.
//
//   - What must stay secret (noise, rounding): [Secret] takes a key from the
//     operating system's generator. Who does not know the key cannot tell the words
//     from uniform ones, which is what proofs of privacy ask of their randomness; a
//     generator of math/rand would give every later word away with the first few.
//   - What many must compute alike (rotations, choices of coordinates): [Public]
//     derives a key from a seed that all of them know, with a label that keeps two
//     uses of one seed apart.
//
// A Stream belongs to one goroutine. The package is pure: it never asks for
// randomness itself.
package keystream

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"math/bits"
)

// KeySize is the length of a key and of a public seed, in bytes.
const KeySize = 32

// Seed is a public seed, such as one that the parties of a round agreed on.
type Seed [KeySize]byte

// Stream is a sequence of random words. It never ends in practice.
type Stream struct {
	ctr  cipher.Stream
	next int
	buf  [4096]byte
}

// Secret returns a stream under a key read from source: crypto/rand.Reader, or
// fixed bytes in a test. Nothing else is read from it.
func Secret(source io.Reader) (*Stream, error) {
	var key [KeySize]byte
	if _, err := io.ReadFull(source, key[:]); err != nil {
		return nil, fmt.Errorf("key for random words: %w", err)
	}
	return newStream(key), nil
}

// Public returns the stream that everybody derives from a seed for one use: its
// key is SHA-256(label, a zero byte, seed).
func Public(seed Seed, label string) *Stream {
	return newStream(sha256.Sum256(append(append([]byte(label), 0), seed[:]...)))
}

func newStream(key [KeySize]byte) *Stream {
	block, err := aes.NewCipher(key[:])
	if err != nil {
		panic(err) // only a key of another length is refused
	}
	s := &Stream{ctr: cipher.NewCTR(block, make([]byte, aes.BlockSize))}
	s.next = len(s.buf)
	return s
}

// Uint64 returns the next word, uniform over 64 bits.
func (s *Stream) Uint64() uint64 {
	if s.next == len(s.buf) {
		s.refill()
	}
	v := binary.LittleEndian.Uint64(s.buf[s.next:])
	s.next += 8
	return v
}

func (s *Stream) refill() {
	clear(s.buf[:])
	s.ctr.XORKeyStream(s.buf[:], s.buf[:])
	s.next = 0
}

// Below returns a value in [0, n), exactly uniform, for n > 0 (Lemire, "Fast random
// integer generation in an interval", 2019).
func (s *Stream) Below(n uint64) uint64 {
	hi, lo := bits.Mul64(s.Uint64(), n)
	if lo < n {
		for least := -n % n; lo < least; {
			hi, lo = bits.Mul64(s.Uint64(), n)
		}
	}
	return hi
}
