package codec

import (
	"encoding/binary"
	"math"

	"atoll/internal/core"
	"atoll/internal/repro"
)

// Compress makes a small message of an update, for sums that nothing hides: the keep
// values of largest magnitude (of equals, the first), as int8 in blocks of 32 with a
// scale by rule 1 of package repro. What the message lacks, the other values and the
// rounding, is in rest, which is to be the residual of the next round: added to the
// next update it is sent sooner or later (error feedback: Seide et al. 2014; Karimireddy
// et al. 2019). A nil residual is zero. With keep = len(update) nothing is left out,
// and a value takes 1.125 bytes.
//
// The caller stores rest when the message has been acknowledged. It is as private as
// the update. The message is
//
//	uvarint number of values in the update, uvarint keep
//	keep uvarint gaps, if values are left out: index 0 is −1 + 1, ascending
//	keep int8 values in blocks of 32, each after its scale, binary32 little-endian
func Compress(update, residual []float32, keep int) (message []byte, rest []float32, err error) {
	switch {
	case keep < 1 || keep > len(update) || len(update) > MaxDim:
		return nil, nil, core.Errorf(core.Invalid, "%d of %d values cannot be kept", keep, len(update)).At("keep")
	case residual != nil && len(residual) != len(update):
		return nil, nil, core.Errorf(core.Invalid, "the residual has %d values, the update %d", len(residual), len(update))
	}
	rest = make([]float32, len(update))
	copy(rest, update)
	for i, r := range residual {
		rest[i] += r
	}
	if _, err := Norm(rest); err != nil {
		return nil, nil, err
	}
	at := largest(rest, keep)
	padded := (keep + repro.BlockSize - 1) / repro.BlockSize * repro.BlockSize
	x, q, scales := make([]float32, padded), make([]int8, padded), make([]float32, padded/repro.BlockSize)
	for i, a := range at {
		x[i] = rest[a]
	}
	if err := repro.Quantize(q, scales, x); err != nil {
		return nil, nil, err
	}
	if err := repro.Dequantize(x, q, scales); err != nil {
		return nil, nil, err
	}
	for i, a := range at {
		rest[a] -= x[i]
	}
	return appendMessage(nil, len(update), at, q, scales), rest, nil
}

// MaxMessage is how many bytes a message of Compress has at most.
func MaxMessage(dim, keep int) int64 {
	gap := int64(len(binary.AppendUvarint(nil, uint64(dim))))
	if keep == dim {
		gap = 0
	}
	blocks := (int64(keep) + repro.BlockSize - 1) / repro.BlockSize
	return 2*binary.MaxVarintLen32 + int64(keep)*(1+gap) + 4*blocks
}

func appendMessage(b []byte, dim int, at []int, q []int8, scales []float32) []byte {
	b = binary.AppendUvarint(b, uint64(dim))
	b = binary.AppendUvarint(b, uint64(len(at)))
	if last := -1; len(at) < dim {
		for _, a := range at {
			b = binary.AppendUvarint(b, uint64(a-last))
			last = a
		}
	}
	for i := range at {
		if i%repro.BlockSize == 0 {
			b = binary.LittleEndian.AppendUint32(b, math.Float32bits(scales[i/repro.BlockSize]))
		}
		b = append(b, byte(q[i]))
	}
	return b
}

// largest returns the indices of the keep values of largest magnitude, ascending.
func largest(x []float32, keep int) []int {
	least, equals := threshold(x, keep)
	at := make([]int, 0, keep)
	for i, v := range x {
		switch m := magnitude(v); {
		case m > least:
			at = append(at, i)
		case m == least && equals > 0:
			at = append(at, i)
			equals--
		}
	}
	return at
}

// magnitude is a number that grows with |v|.
func magnitude(v float32) uint32 { return math.Float32bits(v) &^ (1 << 31) }

// threshold returns the keep-th largest magnitude, and how many of that magnitude are
// among the first keep. It counts upper halves of magnitudes, then the lower halves of
// those in question.
func threshold(x []float32, keep int) (least uint32, equals int) {
	var count [1 << 16]int
	for _, v := range x {
		count[magnitude(v)>>16]++
	}
	upper, left := countDown(&count, keep)
	clear(count[:])
	for _, v := range x {
		if m := magnitude(v); m>>16 == upper {
			count[m&0xffff]++
		}
	}
	lower, left := countDown(&count, left)
	return upper<<16 | lower, left
}

// countDown returns the bin that has the n-th from the top, and its place in there.
func countDown(count *[1 << 16]int, n int) (bin uint32, place int) {
	for b := len(count) - 1; ; b-- {
		if n <= count[b] {
			return uint32(b), n
		}
		n -= count[b]
	}
}

// Decompress returns the values of a message of Compress for updates of dim values,
// with zeros for those left out. It takes nothing but what Compress writes: errors are
// core.Invalid.
func Decompress(message []byte, dim int) ([]float32, error) {
	r := reader{rest: message}
	if n := r.uvarint(); r.bad || n != uint64(dim) {
		return nil, core.Errorf(core.Invalid, "the message is of an update with %d values, not of one with %d", n, dim)
	}
	n := r.uvarint()
	if r.bad || n < 1 || n > uint64(dim) || n > uint64(len(r.rest)) {
		return nil, core.Errorf(core.Invalid, "the message has %d values of %d in %d bytes", n, dim, len(message))
	}
	at, err := r.indices(int(n), dim)
	if err != nil {
		return nil, err
	}
	x := make([]float32, dim)
	for first := 0; first < len(at); first += repro.BlockSize {
		if err := r.block(x, at[first:min(first+repro.BlockSize, len(at))]); err != nil {
			return nil, err
		}
	}
	if len(r.rest) > 0 {
		return nil, core.Errorf(core.Invalid, "the message has %d bytes after its end", len(r.rest))
	}
	return x, nil
}

// reader takes a message apart.
type reader struct {
	rest []byte
	bad  bool
}

// uvarint reads a number in its shortest form.
func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.rest)
	if n <= 0 || n > 1 && r.rest[n-1] == 0 {
		r.bad = true
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

func (r *reader) indices(n, dim int) ([]int, error) {
	at := make([]int, n)
	last := -1
	for i := range at {
		gap := uint64(1)
		if n < dim {
			gap = r.uvarint()
		}
		if r.bad || gap < 1 || gap > uint64(dim-1-last) {
			return nil, core.Errorf(core.Invalid, "index %d of the message is not after %d and below %d", i, last, dim)
		}
		last += int(gap)
		at[i] = last
	}
	return at, nil
}

// block reads a scale and the values at these indices.
func (r *reader) block(x []float32, at []int) error {
	if len(r.rest) < 4+len(at) {
		return core.Errorf(core.Invalid, "the message ends before value %d", at[len(at)-1])
	}
	bits := binary.LittleEndian.Uint32(r.rest)
	scale := math.Float32frombits(bits)
	if top := scale * 127; bits>>31 != 0 || top-top != 0 {
		return core.Errorf(core.Invalid, "the scale of value %d is %g", at[0], scale)
	}
	for i, a := range at {
		q := int8(r.rest[4+i])
		if q == -128 {
			return core.Errorf(core.Invalid, "value %d is −128, which is never written", a)
		}
		x[a] = float32(scale * float32(q))
	}
	r.rest = r.rest[4+len(at):]
	return nil
}
