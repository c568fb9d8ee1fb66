package secagg

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"runtime"
	"sync"
	"sync/atomic"
)

// A mask is the stream of AES-256 in counter mode from a counter of 0, under a key of its
// own, read as little-endian 32-bit words. Words are as wide as a sum at most, so the
// upper bits fall away.

// term is a mask that is to be added or taken away.
type term struct {
	key    [32]byte
	negate bool
}

// piece is how many bytes of a stream are made at a time: they stay in a core's cache.
const piece = 16 << 10

// apply adds terms to words, on all cores. Each has sums of its own, which are added in
// the end: they are integers, so that the order does not matter.
func apply(words []uint32, terms []term) {
	workers := min(runtime.GOMAXPROCS(0), len(terms))
	if workers <= 1 {
		applySome(words, terms)
		return
	}
	var next atomic.Int64
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			own := make([]uint32, len(words))
			for {
				i := int(next.Add(1)) - 1
				if i >= len(terms) {
					break
				}
				applySome(own, terms[i:i+1])
			}
			mu.Lock()
			defer mu.Unlock()
			for i, w := range own {
				words[i] += w
			}
		})
	}
	wg.Wait()
}

func applySome(words []uint32, terms []term) {
	var stream [piece]byte
	for _, t := range terms {
		block, err := aes.NewCipher(t.key[:])
		if err != nil { // never: the key has 32 bytes
			panic("secagg: " + err.Error())
		}
		ctr := cipher.NewCTR(block, make([]byte, aes.BlockSize))
		for at := 0; at < len(words); at += piece / 4 {
			some := words[at:min(at+piece/4, len(words))]
			b := stream[:4*len(some)]
			clear(b)
			ctr.XORKeyStream(b, b)
			if t.negate {
				for i := range some {
					some[i] -= binary.LittleEndian.Uint32(b[4*i:])
				}
			} else {
				for i := range some {
					some[i] += binary.LittleEndian.Uint32(b[4*i:])
				}
			}
		}
	}
}
