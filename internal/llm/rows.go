package llm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	"atoll/internal/llm/weights"
	"atoll/internal/repro"
)

// RowForm is how rows, the hidden states of one position each, are written between two
// layers that are on different machines: as binary32 and so exactly, or, where the
// profile quantises, as what that gives: blocks. All is little-endian.
type RowForm struct {
	dim  int
	int8 bool
}

// RowsBefore is the form of rows that go into a layer.
func (p Profile) RowsBefore(layer int, c *weights.Config) RowForm {
	return RowForm{dim: c.Dim, int8: slices.Contains(p.Cuts(), layer)}
}

// Bytes is the size of a row.
func (f RowForm) Bytes() int {
	if f.int8 {
		return f.dim / repro.BlockSize * blockBytes
	}
	return 4 * f.dim
}

// Append writes rows behind b. Numbers that are not finite are refused.
func (f RowForm) Append(b []byte, rows []float32) ([]byte, error) {
	if err := repro.Finite(rows); err != nil {
		return b, err
	}
	b = slices.Grow(b, len(rows)/f.dim*f.Bytes())
	if !f.int8 {
		for _, v := range rows {
			b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
		}
		return b, nil
	}
	of := blocks{make([]int8, len(rows)), make([]float32, len(rows)/repro.BlockSize)}
	if err := repro.Quantize(of.q, of.d, rows); err != nil {
		return b, err
	}
	return of.put(b, 0, len(rows)), nil
}

// Check reports whether Append could have written b: whole rows, of numbers and scales
// that are finite and stand for such, and of integers from −127 to 127.
func (f RowForm) Check(b []byte) error {
	if len(b)%f.Bytes() != 0 {
		return fmt.Errorf("%d bytes: want rows of %d", len(b), f.Bytes())
	}
	if !f.int8 {
		for ; len(b) > 0; b = b[4:] {
			if err := finite(b, math.MaxFloat32); err != nil {
				return err
			}
		}
		return nil
	}
	for ; len(b) > 0; b = b[blockBytes:] {
		if err := finite(b, math.MaxFloat32/127); err != nil {
			return fmt.Errorf("scale: %w", err)
		}
		if b[3]>>7 == 1 || bytes.IndexByte(b[4:blockBytes], 0x80) >= 0 {
			return errors.New("a scale under 0, or an integer under -127")
		}
	}
	return nil
}

// finite reports whether b begins with a number of at most that magnitude.
func finite(b []byte, most float32) error {
	if v := math.Float32frombits(binary.LittleEndian.Uint32(b) &^ (1 << 31)); !(v <= most) {
		return fmt.Errorf("%g: %w", v, repro.ErrNotFinite)
	}
	return nil
}

// Restore writes to dst the numbers of rows that Check has passed.
func (f RowForm) Restore(dst []float32, b []byte) {
	if !f.int8 {
		for i := range dst {
			dst[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
		}
		return
	}
	for ; len(dst) > 0; dst, b = dst[repro.BlockSize:], b[blockBytes:] {
		d := math.Float32frombits(binary.LittleEndian.Uint32(b))
		for i, v := range b[4:blockBytes] {
			dst[i] = d * float32(int8(v))
		}
	}
}

// requantise replaces rows by what rule 1 makes of them.
func requantise(rows []float32) error {
	var q [repro.BlockSize]int8
	var d [1]float32
	for ; len(rows) > 0; rows = rows[len(q):] {
		if err := repro.Quantize(q[:], d[:], rows[:len(q)]); err != nil {
			return err
		}
		if err := repro.Dequantize(rows[:len(q)], q[:], d[:]); err != nil {
			return err
		}
	}
	return nil
}
