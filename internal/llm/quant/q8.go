package quant

import (
	"fmt"

	"atoll/internal/repro"
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
	err = repro.QuantizeWeights(dst, x)
	if err != nil && repro.Finite(x) == nil {
		err = fmt.Errorf("%w: %w", ErrRange, err)
	}
	return err
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
