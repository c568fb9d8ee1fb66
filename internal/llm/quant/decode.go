package quant

import (
	"encoding/binary"
	"fmt"
	"math"

	"atoll/internal/repro"
)

// Decode sets dst to the elements of src, which holds them in format t and must
// be exactly as long as they are. It fails with the index of the first element
// that is not finite.
func Decode(dst []float32, src []byte, t Type) error {
	want, err := t.RowBytes(len(dst))
	if err != nil {
		return err
	}
	if len(src) != want {
		return fmt.Errorf("%w: %d bytes for %d elements of %s, want %d", ErrShape, len(src), len(dst), t, want)
	}
	layouts[t].decode(dst, src)
	return checkFinite(dst)
}

// checkFinite fails with the index of the first NaN or infinity.
func checkFinite(x []float32) error {
	for i, v := range x {
		if notFinite(v) {
			return fmt.Errorf("element %d is %v: %w", i, v, ErrNotFinite)
		}
	}
	return nil
}

// notFinite reports whether the exponent bits are all ones.
func notFinite(v float32) bool { return math.Float32bits(v)&0x7F800000 == 0x7F800000 }

func decodeF32(dst []float32, src []byte) {
	for i := range dst {
		dst[i] = math.Float32frombits(binary.LittleEndian.Uint32(src[4*i:]))
	}
}

func decodeF16(dst []float32, src []byte) {
	for i := range dst {
		dst[i] = half(src[2*i:])
	}
}

func decodeBF16(dst []float32, src []byte) {
	for i := range dst {
		dst[i] = math.Float32frombits(uint32(binary.LittleEndian.Uint16(src[2*i:])) << 16)
	}
}

// half reads a binary16.
func half(src []byte) float32 { return repro.Float16(binary.LittleEndian.Uint16(src)).Float32() }

func decodeQ8(dst []float32, src []byte) {
	for ; len(dst) > 0; dst, src = dst[Q8Elements:], src[Q8Bytes:] {
		d, out := half(src), dst[:Q8Elements]
		for i, q := range src[2:Q8Bytes] {
			out[i] = d * float32(int8(q))
		}
	}
}

func decodeQ4_0(dst []float32, src []byte) {
	nibbles(dst, src[2:], nil, half(src), -8, 0)
}

func decodeQ4_1(dst []float32, src []byte) {
	nibbles(dst, src[4:], nil, half(src), 0, half(src[2:]))
}

func decodeQ5_0(dst []float32, src []byte) {
	nibbles(dst, src[6:], src[2:6], half(src), -16, 0)
}

func decodeQ5_1(dst []float32, src []byte) {
	nibbles(dst, src[8:], src[4:8], half(src), 0, half(src[2:]))
}

// nibbles sets 32 elements to d·(q + shift) + m. The low four bits of q are the low
// nibbles of 16 bytes and then their high ones; a fifth bit, if there is one, is
// that of the element's place in high.
func nibbles(dst []float32, low, high []byte, d float32, shift int, m float32) {
	var fifth uint32
	if high != nil {
		fifth = binary.LittleEndian.Uint32(high)
	}
	for i, b := range low[:16] {
		x, y := int(b&15|byte(fifth>>i&1)<<4), int(b>>4|byte(fifth>>(i+16)&1)<<4)
		dst[i] = float32(d*float32(x+shift)) + m
		dst[i+16] = float32(d*float32(y+shift)) + m
	}
}

func decodeQ4K(dst []float32, src []byte) {
	groups(dst, src, src[16:144], nil)
}

func decodeQ5K(dst []float32, src []byte) {
	groups(dst, src, src[48:176], src[16:48])
}

// groups reads eight groups of 32. Groups come in pairs: of 32 bytes of low the low
// nibbles are one group, the high ones the next. A fifth bit, if there is one, is
// bit g of the element's byte in high.
func groups(dst []float32, src, low, high []byte) {
	d, m, packed := half(src), half(src[2:]), src[4:16]
	for g := range 8 {
		s, t := groupScale(packed, g)
		scale, least := d*float32(s), m*float32(t)
		for i, b := range low[g/2*32 : g/2*32+32] {
			v := b >> (g % 2 * 4) & 15
			if high != nil {
				v |= high[i] >> g & 1 << 4
			}
			dst[g*32+i] = float32(scale*float32(v)) - least
		}
	}
}

// groupScale unpacks the 6-bit scale and minimum of group g. The first four of
// each are the low 6 bits of bytes 0–3 and 4–7; the others take their low
// nibbles from bytes 8–11 and their high two bits from what is left of bytes 0–7.
func groupScale(p []byte, g int) (s, t byte) {
	if g < 4 {
		return p[g] & 63, p[g+4] & 63
	}
	return p[g+4]&15 | p[g-4]>>6<<4, p[g+4]>>4 | p[g]>>6<<4
}

// decodeQ6K reads two halves of 128, each four strands of 32 that share bytes.
func decodeQ6K(dst []float32, src []byte) {
	low, high, scales, d := src[:128], src[128:192], src[192:208], half(src[208:])
	for h := range 2 {
		l, u, s, out := low[h*64:], high[h*32:], scales[h*8:], dst[h*128:]
		for i := range 32 {
			for strand := range 4 {
				b := l[i+strand%2*32]
				if strand >= 2 {
					b >>= 4
				}
				q := int(b&15|u[i]>>(2*strand)&3<<4) - 32
				scale := d * float32(int8(s[i/16+2*strand]))
				out[strand*32+i] = scale * float32(q)
			}
		}
	}
}
