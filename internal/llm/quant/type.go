package quant

import (
	"errors"
	"fmt"

	"atoll/internal/repro"
)

// Type is a number format. Its values are ggml's type numbers, as GGUF files
// hold them.
type Type uint32

// The formats that are understood.
const (
	F32  Type = 0
	F16  Type = 1
	Q4_0 Type = 2
	Q4_1 Type = 3
	Q5_0 Type = 6
	Q5_1 Type = 7
	Q8_0 Type = 8
	Q4_K Type = 12
	Q5_K Type = 13
	Q6_K Type = 14
	BF16 Type = 30
)

var (
	// ErrNotFinite means that a NaN or an infinity stands where a number should.
	ErrNotFinite = repro.ErrNotFinite
	// ErrRange means that a number is too large for the format asked for.
	ErrRange = errors.New("too large for the format")
	// ErrType means that a format is unknown.
	ErrType = errors.New("unsupported number format")
	// ErrShape means that a row does not divide into whole blocks, or that a
	// buffer does not fit.
	ErrShape = errors.New("wrong shape")
)

// layout is what one block of a Type looks like.
type layout struct {
	name     string
	elements int
	bytes    int
	decode   func(dst []float32, src []byte) // any number of blocks
}

var layouts = map[Type]layout{
	F32:  {"F32", 1, 4, decodeF32},
	F16:  {"F16", 1, 2, decodeF16},
	BF16: {"BF16", 1, 2, decodeBF16},
	Q8_0: {"Q8_0", Q8Elements, Q8Bytes, decodeQ8},
	Q4_0: {"Q4_0", 32, 18, blocks(32, 18, decodeQ4_0)},
	Q4_1: {"Q4_1", 32, 20, blocks(32, 20, decodeQ4_1)},
	Q5_0: {"Q5_0", 32, 22, blocks(32, 22, decodeQ5_0)},
	Q5_1: {"Q5_1", 32, 24, blocks(32, 24, decodeQ5_1)},
	Q4_K: {"Q4_K", 256, 144, blocks(256, 144, decodeQ4K)},
	Q5_K: {"Q5_K", 256, 176, blocks(256, 176, decodeQ5K)},
	Q6_K: {"Q6_K", 256, 210, blocks(256, 210, decodeQ6K)},
}

// blocks makes a decoder of one that decodes a single block.
func blocks(elements, bytes int, one func(dst []float32, src []byte)) func(dst []float32, src []byte) {
	return func(dst []float32, src []byte) {
		for len(dst) > 0 {
			one(dst[:elements], src[:bytes])
			dst, src = dst[elements:], src[bytes:]
		}
	}
}

// unread names ggml formats that files do have and this package does not read,
// so that the refusal can say what the user has.
var unread = map[Type]string{
	9: "Q8_1", 10: "Q2_K", 11: "Q3_K", 15: "Q8_K",
	16: "IQ2_XXS", 17: "IQ2_XS", 18: "IQ3_XXS", 19: "IQ1_S", 20: "IQ4_NL", 21: "IQ3_S", 22: "IQ2_S", 23: "IQ4_XS",
	24: "I8", 25: "I16", 26: "I32", 27: "I64", 28: "F64", 29: "IQ1_M", 34: "TQ1_0", 35: "TQ2_0", 39: "MXFP4",
}

// String returns ggml's name of the format.
func (t Type) String() string {
	if l, ok := layouts[t]; ok {
		return l.name
	}
	if s, ok := unread[t]; ok {
		return s
	}
	return fmt.Sprintf("type %d", uint32(t))
}

// Check returns an error that wraps [ErrType] if t is not understood.
func (t Type) Check() error {
	if _, ok := layouts[t]; !ok {
		return fmt.Errorf("%s: %w (understood: F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q4_K, Q5_K, Q6_K)", t, ErrType)
	}
	return nil
}

// RowBytes returns the size in bytes of a row of n elements.
func (t Type) RowBytes(n int) (int, error) {
	l, ok := layouts[t]
	if !ok {
		return 0, t.Check()
	}
	if n < 0 || n%l.elements != 0 {
		return 0, fmt.Errorf("%w: a %s row of %d elements is not a whole number of blocks of %d", ErrShape, t, n, l.elements)
	}
	return n / l.elements * l.bytes, nil
}
