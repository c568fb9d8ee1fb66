package secagg

import (
	"encoding/binary"

	"atoll/internal/core"
)

// Words travel packed: word i has the bits from i·Bits on of a stream of bits, the lowest
// bit of a byte first. What is left of the last byte is 0.

func packedSize(dim, bits int) int { return (dim*bits + 7) / 8 }

// pack writes the lowest bits of words.
func pack(words []uint32, bits int) []byte {
	out := make([]byte, 0, packedSize(len(words), bits)+8)
	mask := uint64(1)<<bits - 1
	acc, have := uint64(0), 0
	for _, w := range words {
		acc |= (uint64(w) & mask) << have
		if have += bits; have >= 32 {
			out = binary.LittleEndian.AppendUint32(out, uint32(acc))
			acc, have = acc>>32, have-32
		}
	}
	for ; have > 0; have -= 8 {
		out = append(out, byte(acc))
		acc >>= 8
	}
	return out
}

// addPacked adds packed words to sum, modulo 2^32.
// packed has been checked.
func addPacked(sum []uint32, packed []byte, bits int) {
	mask := uint64(1)<<bits - 1
	acc, have := uint64(0), 0
	rest := packed
	for i := range sum {
		if have < bits {
			if len(rest) >= 4 {
				acc |= uint64(binary.LittleEndian.Uint32(rest)) << have
				rest, have = rest[4:], have+32
			} else {
				for ; len(rest) > 0; rest = rest[1:] {
					acc |= uint64(rest[0]) << have
					have += 8
				}
			}
		}
		sum[i] += uint32(acc & mask)
		acc, have = acc>>bits, have-bits
	}
}

// checkPacked refuses what is no vector of a round.
func checkPacked(p *Params, packed []byte) error {
	if len(packed) != p.Packed() {
		return core.Errorf(core.Invalid, "a vector of %d bytes: want %d, for %d words of %d bits", len(packed), p.Packed(), p.Dim, p.Bits)
	}
	if rest := p.Dim * p.Bits % 8; rest > 0 && packed[len(packed)-1]>>rest != 0 {
		return core.Errorf(core.Invalid, "a vector with bits behind its last word")
	}
	return nil
}

// reduce takes words modulo 2^bits.
func reduce(words []uint32, bits int) {
	if bits == 32 {
		return
	}
	mask := uint32(1)<<bits - 1
	for i := range words {
		words[i] &= mask
	}
}
