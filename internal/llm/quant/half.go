package quant

import "math"

// FromHalf returns the value of a binary16, exactly.
func FromHalf(h uint16) float32 {
	sign := uint32(h>>15) << 31
	exp, frac := uint32(h>>10&31), uint32(h&0x3FF)
	switch exp {
	case 0: // zero or subnormal: frac · 2^-24
		v := float32(frac) * (1.0 / (1 << 24))
		return math.Float32frombits(math.Float32bits(v) | sign)
	case 31:
		return math.Float32frombits(sign | 0x7F800000 | frac<<13)
	}
	return math.Float32frombits(sign | (exp+112)<<23 | frac<<13)
}

// ToHalf returns the binary16 nearest to v, ties to even. What is too large
// becomes infinite; a NaN stays one.
func ToHalf(v float32) uint16 {
	b := math.Float32bits(v)
	sign, b := uint16(b>>31)<<15, b&0x7FFFFFFF
	switch {
	case b > 0x7F800000:
		return sign | 0x7E00
	case b >= 0x477FF000: // 65520 and more round up to infinity
		return sign | 0x7C00
	case b < 0x38800000: // below 2^-14: subnormal
		// v·2^24 is at most 1024 and exact; adding 2^23 rounds it to a whole
		// number, ties to even, in the low bits of the sum.
		r := math.Float32frombits(b)*(1<<24) + (1 << 23)
		return sign | uint16(math.Float32bits(r)&0x7FF)
	}
	b += 0xFFF + b>>13&1
	return sign | uint16(b>>13-112<<10)
}
