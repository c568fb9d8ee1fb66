package repro

import "math"

// Float16 is IEEE 754 binary16 as its bits: the scales of Q8_0 blocks, and
// optionally keys, values and weights.
type Float16 uint16

// ToFloat16 rounds f to nearest, ties to even. What is too large becomes an
// infinity and NaN stays NaN; see [Float16.IsFinite].
func ToFloat16(f float32) Float16 {
	b := math.Float32bits(f)
	sign := Float16(b>>16) & 0x8000
	x := b & 0x7fffffff
	switch {
	case x > 0x7f800000:
		return sign | 0x7e00
	case x >= 0x477ff000: // rounds to 2^16 or above
		return sign | 0x7c00
	case x < 0x38800000: // below 2^-14: subnormal
		// The last bit of a float32 at 0.5 is worth 2^-24, as is that of a
		// subnormal binary16, so this sum rounds where it should.
		v := float32(math.Float32frombits(x) + 0.5)
		return sign | Float16(math.Float32bits(v)-0x3f000000)
	}
	x += 0xfff + x>>13&1
	return sign | Float16((x-0x38000000)>>13)
}

// Float32 returns the value of h, which is exact.
func (h Float16) Float32() float32 {
	sign, e, m := uint32(h>>15)<<31, uint32(h>>10)&31, uint32(h)&1023
	switch e {
	case 0:
		return math.Float32frombits(math.Float32bits(float32(m)*0x1p-24) | sign)
	case 31:
		return math.Float32frombits(sign | 0x7f800000 | m<<13)
	}
	return math.Float32frombits(sign | (e+112)<<23 | m<<13)
}

// IsFinite reports whether h is neither NaN nor infinite.
func (h Float16) IsFinite() bool { return h&0x7c00 != 0x7c00 }
