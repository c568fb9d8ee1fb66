package weights

import (
	"errors"
	"fmt"
	"io"

	"atoll/internal/core"
	"atoll/internal/llm/quant"
)

// Tensor is a matrix on disk. Its methods read from there each time and keep
// nothing; they may be called by many goroutines at once.
type Tensor struct {
	ID         ID
	Name       string // in its file
	File       string
	Type       quant.Type
	Rows, Cols int
	Offset     int64 // of the first byte in the file; rows follow one another

	src io.ReaderAt
}

// chunk is about how many bytes are read at a time.
const chunk = 1 << 20

// Bytes is the tensor's size in its file, from Offset on.
func (t *Tensor) Bytes() (int64, error) {
	row, err := t.Type.RowBytes(t.Cols)
	return int64(t.Rows) * int64(row), err
}

// ReadRows reads n rows from row on into dst, which must hold n × Cols elements.
// Dequantisation is exact (see package quant). A NaN or an infinity is an error.
func (t *Tensor) ReadRows(dst []float32, row, n int) error {
	if len(dst) != n*t.Cols {
		return t.fail(fmt.Errorf("a buffer of %d elements for %d rows of %d", len(dst), n, t.Cols))
	}
	return t.each(row, n, func(r, rows int, raw []byte) error {
		return quant.Decode(dst[(r-row)*t.Cols:(r-row+rows)*t.Cols], raw, t.Type)
	})
}

// ReadQ8 reads n rows from row on as Q8_0 blocks: dst must hold 34 bytes for each
// 32 elements. A tensor in another format is quantised, by the rule of package
// quant; Cols must be a multiple of 32.
func (t *Tensor) ReadQ8(dst []byte, row, n int) error {
	size, err := quant.Q8_0.RowBytes(t.Cols)
	if err != nil {
		return t.fail(err)
	}
	if len(dst) != n*size {
		return t.fail(fmt.Errorf("a buffer of %d bytes for %d rows of %d", len(dst), n, size))
	}
	if t.Type == quant.Q8_0 {
		if err := t.read(dst, row, n); err != nil {
			return err
		}
		if err := quant.CheckQ8(dst); err != nil {
			return t.fail(fmt.Errorf("rows %d to %d: %w", row, row+n-1, err))
		}
		return nil
	}
	var wide []float32
	return t.each(row, n, func(r, rows int, raw []byte) error {
		if len(wide) < rows*t.Cols {
			wide = make([]float32, rows*t.Cols)
		}
		x := wide[:rows*t.Cols]
		if err := quant.Decode(x, raw, t.Type); err != nil {
			return err
		}
		return quant.EncodeQ8(dst[(r-row)*size:(r-row+rows)*size], x)
	})
}

// read fills dst with the bytes of n rows from row on.
func (t *Tensor) read(dst []byte, row, n int) error {
	if row < 0 || n < 0 || row > t.Rows-n {
		return t.fail(fmt.Errorf("rows %d to %d of %d", row, row+n, t.Rows))
	}
	size, err := t.Type.RowBytes(t.Cols)
	if err != nil {
		return t.fail(err)
	}
	if k, err := t.src.ReadAt(dst, t.Offset+int64(row)*int64(size)); k < len(dst) {
		return t.fail(fmt.Errorf("read: %w", err))
	}
	return nil
}

// each calls f with the bytes of rows row to row+n, some rows at a time.
func (t *Tensor) each(row, n int, f func(row, rows int, raw []byte) error) error {
	size, err := t.Type.RowBytes(t.Cols)
	if err != nil {
		return t.fail(err)
	}
	step := max(1, min(n, chunk/size))
	buf := make([]byte, step*size)
	for end := row + n; row < end; row += step {
		rows := min(step, end-row)
		raw := buf[:rows*size]
		if err := t.read(raw, row, rows); err != nil {
			return err
		}
		if err := f(row, rows, raw); err != nil {
			return t.fail(fmt.Errorf("rows %d to %d: %w", row, row+rows-1, err))
		}
	}
	return nil
}

// fail names the tensor in err. What the file is to blame for is of kind
// invalid; what is left is ours or the disk's.
func (t *Tensor) fail(err error) error {
	kind, hint := core.Internal, ""
	if errors.Is(err, quant.ErrNotFinite) || errors.Is(err, quant.ErrRange) {
		kind, hint = core.Invalid, "the file is damaged, or its training diverged: fetch it again or choose another model"
	}
	return &core.Error{Kind: kind, Message: fmt.Sprintf("%s: tensor %s (%s): %v", t.File, t.Name, t.Type, err), Hint: hint, Err: err}
}
