package quant

import (
	"encoding/binary"
	"fmt"
	"math"
)

// The size of a Q8_0 block.
const (
	Q8Elements = 32
	Q8Bytes    = 34
)

// EncodeQ8 sets dst to the Q8_0 blocks of x by the rule in the package comment.
// len(x) must be a multiple of 32 and dst have 34 bytes for each 32 elements.
func EncodeQ8(dst []byte, x []float32) error {
	want, err := Q8_0.RowBytes(len(x))
	if err != nil {
		return err
	}
	if len(dst) != want {
		return fmt.Errorf("%w: %d bytes for %d elements of Q8_0, want %d", ErrShape, len(dst), len(x), want)
	}
	for b := 0; b < len(x)/Q8Elements; b++ {
		block := x[b*Q8Elements : (b+1)*Q8Elements]
		if err := encodeBlock(dst[b*Q8Bytes:(b+1)*Q8Bytes], block); err != nil {
			return fmt.Errorf("block of elements %d to %d: %w", b*Q8Elements, (b+1)*Q8Elements-1, err)
		}
	}
	return nil
}

func encodeBlock(dst []byte, x []float32) error {
	var top float32
	for i, v := range x {
		if notFinite(v) {
			return fmt.Errorf("element %d is %v: %w", i, v, ErrNotFinite)
		}
		top = max(top, max(v, -v))
	}
	d := float32(top / 127)
	h := ToHalf(d)
	if h == 0 {
		clear(dst)
		return nil
	}
	if notFinite(FromHalf(h)) {
		return fmt.Errorf("%g needs a scale over 65504: %w", top, ErrRange)
	}
	binary.LittleEndian.PutUint16(dst, h)
	inv := float32(1 / d)
	for i, v := range x {
		// A product of binary32 numbers, once rounded, is exact as a float64, and
		// math.Round of it is exact on every machine.
		dst[2+i] = byte(int8(math.Round(float64(float32(v * inv)))))
	}
	return nil
}

// CheckQ8 returns an error if a scale in src, a sequence of Q8_0 blocks, is not
// finite.
func CheckQ8(src []byte) error {
	if len(src)%Q8Bytes != 0 {
		return fmt.Errorf("%w: %d bytes are not whole Q8_0 blocks of %d", ErrShape, len(src), Q8Bytes)
	}
	for i := 0; i < len(src); i += Q8Bytes {
		if d := half(src[i:]); notFinite(d) {
			return fmt.Errorf("the scale of block %d is %v: %w", i/Q8Bytes, d, ErrNotFinite)
		}
	}
	return nil
}
