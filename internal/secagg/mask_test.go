package secagg

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// Masks are the streams that docs/secagg.md says, whatever parts a vector is cut into.
func TestApply(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		dim := rapid.OneOf(rapid.IntRange(1, 40), rapid.IntRange(1, 5*stretch)).Draw(rt, "dim")
		terms := make([]term, rapid.IntRange(0, 5).Draw(rt, "terms"))
		got, want := make([]uint32, dim), make([]uint32, dim)
		for i := range terms {
			terms[i].key[0], terms[i].negate = byte(i), rapid.Bool().Draw(rt, "negate")
			block, err := aes.NewCipher(terms[i].key[:])
			if err != nil {
				rt.Fatal(err)
			}
			stream := make([]byte, wordSize*dim)
			cipher.NewCTR(block, make([]byte, aes.BlockSize)).XORKeyStream(stream, stream)
			for j := range want {
				if w := binary.LittleEndian.Uint32(stream[wordSize*j:]); terms[i].negate {
					want[j] -= w
				} else {
					want[j] += w
				}
			}
		}
		if apply(got, terms); !slices.Equal(got, want) {
			rt.Errorf("%d words under %d masks are wrong", dim, len(terms))
		}
	})
}

func BenchmarkApply(b *testing.B) {
	words, terms := make([]uint32, 100_000), make([]term, 100)
	b.SetBytes(int64(wordSize * len(words) * len(terms)))
	for b.Loop() {
		apply(words, terms)
	}
}
