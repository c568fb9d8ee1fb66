package repro

import (
	"encoding/binary"
	"fmt"
	"math"
)

const (
	// BlockSize is the number of values that share a scale.
	BlockSize = 32
	// BlockBytes is the size of a GGUF Q8_0 block: a binary16 scale and 32 int8,
	// little endian.
	BlockBytes = 2 + BlockSize

	// tiny is the bits of 2^-96: a block whose largest magnitude is below becomes
	// zero, so that neither 127/am nor the products overflow.
	tiny = (127 - 96) << 23
	// notFiniteBits is the least magnitude, as bits, that is no finite number.
	notFiniteBits = 0x7f800000
)

// Quantize applies rule 1: each 32 values of x become 32 integers in q and one
// scale in d, which together stand for d·q. len(x) must be a multiple of 32,
// len(q) = len(x) and len(d) = len(x)/32. x must be finite.
//
// This is the plain form in which quantised activations travel between machines.
func Quantize(q []int8, d, x []float32) error {
	if len(x)%BlockSize != 0 || len(q) != len(x) || len(d) != len(x)/BlockSize {
		return fmt.Errorf("quantize %d values into %d integers and %d scales: want a multiple of %d, as many integers, a scale for each %[4]d", len(x), len(q), len(d), BlockSize)
	}
	var sum int32
	for b := range d {
		if quantizeBlock(q[b*BlockSize:], &d[b], &sum, x[b*BlockSize:]) >= notFiniteBits {
			return Finite(x)
		}
	}
	return nil
}

// Dequantize is the inverse of Quantize up to rounding: x[i] = RN(d·q[i]).
func Dequantize(x []float32, q []int8, d []float32) error {
	if len(x)%BlockSize != 0 || len(q) != len(x) || len(d) != len(x)/BlockSize {
		return fmt.Errorf("dequantize %d integers and %d scales into %d values: want a multiple of %d, as many integers, a scale for each %[4]d", len(q), len(d), len(x), BlockSize)
	}
	for i, v := range q {
		x[i] = d[i/BlockSize] * float32(v)
	}
	return nil
}

// quantizeBlock is rule 1 for one block. It also gives −128·Σq, which kernels
// that take unsigned weights need, and returns the bits of the largest
// magnitude; q and d mean nothing if that is not finite.
func quantizeBlock(q []int8, d *float32, bias *int32, x []float32) uint32 {
	x, q = x[:BlockSize], q[:BlockSize]
	// Magnitudes compare like their bits, and NaN and infinity come out on top.
	var top uint32
	for _, v := range x {
		top = max(top, math.Float32bits(v)&0x7fffffff)
	}
	if top < tiny || top >= notFiniteBits {
		*d, *bias = 0, 0
		clear(q)
		return top
	}
	am := math.Float32frombits(top)
	*d = am / 127
	id := 127 / am
	var sum int32
	for i, v := range x {
		// |v·id| ≤ 127, so the sum keeps no fraction: it rounds to an integer.
		n := int32(float32(float32(v*id)+toWhole) - toWhole)
		q[i] = int8(n)
		sum += n
	}
	*bias = -128 * sum
	return top
}

// QuantizeWeights turns rows of weights into GGUF Q8_0 blocks, with the bits of
// ggml's reference: scale RN16(RN(am/127)), integers x·RN(1/RN(am/127)) rounded
// half away from zero. len(x) must be a multiple of 32, dst has 34 bytes for
// each 32 values. It is for models that come in other formats, and not for
// activations. A block whose scale rounds to zero becomes zero; one whose scale
// exceeds binary16 is refused.
func QuantizeWeights(dst []byte, x []float32) error {
	if len(x)%BlockSize != 0 || len(dst) != len(x)/BlockSize*BlockBytes {
		return fmt.Errorf("quantize %d weights into %d bytes: want a multiple of %d weights and %d bytes for each", len(x), len(dst), BlockSize, BlockBytes)
	}
	if err := Finite(x); err != nil {
		return fmt.Errorf("quantize weights: %w", err)
	}
	for b := range len(x) / BlockSize {
		block, out := x[b*BlockSize:(b+1)*BlockSize], dst[b*BlockBytes:(b+1)*BlockBytes]
		var am float32
		for _, v := range block {
			am = max(am, max(v, -v))
		}
		d := am / 127
		half := ToFloat16(d)
		if !half.IsFinite() {
			return fmt.Errorf("quantize weights: block %d reaches %g, too large for a scale in binary16: %w", b, am, ErrNotFinite)
		}
		clear(out)
		binary.LittleEndian.PutUint16(out, uint16(half))
		if half == 0 {
			continue
		}
		id := 1 / d
		for i, v := range block {
			out[2+i] = byte(int8(math.Round(float64(float32(v * id)))))
		}
	}
	return nil
}
