package gguf

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"slices"

	"atoll/internal/llm/quant"
)

// Source is a tensor to be written.
type Source struct {
	Name string
	Type quant.Type
	Dims []int // elements; the first is the length of a row
	// Data writes the tensor's bytes, all of them and no more.
	Data func(io.Writer) error
}

// Write writes a file and returns its length. It calls each tensor's Data once,
// in order, so that a model larger than memory can pass through.
func Write(w io.Writer, meta Meta, tensors []Source) (int64, error) {
	out := &counter{w: bufio.NewWriterSize(w, 1<<20)}
	head, sizes, err := tables(meta, tensors)
	if err != nil {
		return 0, err
	}
	if _, err := out.Write(head); err != nil {
		return out.n, err
	}
	for i, t := range tensors {
		if err := out.pad(); err != nil {
			return out.n, err
		}
		before := out.n
		if err := t.Data(out); err != nil {
			return out.n, fmt.Errorf("tensor %q: %w", t.Name, err)
		}
		if got := out.n - before; got != sizes[i] {
			return out.n, fmt.Errorf("tensor %q: wrote %d bytes, want %d", t.Name, got, sizes[i])
		}
	}
	if err := out.pad(); err != nil {
		return out.n, err
	}
	return out.n, out.w.Flush()
}

// tables returns what stands before the data, and each tensor's size in bytes.
func tables(meta Meta, tensors []Source) ([]byte, []int64, error) {
	b := []byte("GGUF")
	b = binary.LittleEndian.AppendUint32(b, 3)
	b = binary.LittleEndian.AppendUint64(b, uint64(len(tensors)))
	b = binary.LittleEndian.AppendUint64(b, uint64(len(meta)))
	for _, key := range meta.Keys() {
		if key == "general.alignment" {
			return nil, nil, fmt.Errorf("key %q: the alignment is always %d and not to be given", key, alignment)
		}
		b = appendText(b, key)
		kind, value, err := appendValue(nil, meta[key])
		if err != nil {
			return nil, nil, fmt.Errorf("key %q: %w", key, err)
		}
		b = append(binary.LittleEndian.AppendUint32(b, kind), value...)
	}
	var offset int64
	sizes := make([]int64, len(tensors))
	seen := map[string]bool{}
	for i, t := range tensors {
		if len(t.Dims) == 0 || len(t.Dims) > maxDims || slices.Min(t.Dims) < 1 {
			return nil, nil, fmt.Errorf("tensor %q: dimensions %v", t.Name, t.Dims)
		}
		if seen[t.Name] {
			return nil, nil, fmt.Errorf("tensor %q comes twice", t.Name)
		}
		seen[t.Name] = true
		row, err := t.Type.RowBytes(t.Dims[0])
		if err != nil {
			return nil, nil, fmt.Errorf("tensor %q: %w", t.Name, err)
		}
		sizes[i] = int64(row)
		b = appendText(b, t.Name)
		b = binary.LittleEndian.AppendUint32(b, uint32(len(t.Dims)))
		for j, n := range t.Dims {
			b = binary.LittleEndian.AppendUint64(b, uint64(n))
			if j > 0 {
				sizes[i] *= int64(n)
			}
		}
		b = binary.LittleEndian.AppendUint32(b, uint32(t.Type))
		b = binary.LittleEndian.AppendUint64(b, uint64(offset))
		offset += (sizes[i] + alignment - 1) / alignment * alignment
	}
	return b, sizes, nil
}

func appendText(b []byte, s string) []byte {
	return append(binary.LittleEndian.AppendUint64(b, uint64(len(s))), s...)
}

// appendValue returns a value's type and b with the value appended.
func appendValue(b []byte, v any) (uint32, []byte, error) {
	switch x := v.(type) {
	case uint8:
		return typeUint8, append(b, x), nil
	case int8:
		return typeInt8, append(b, byte(x)), nil
	case uint16:
		return typeUint16, binary.LittleEndian.AppendUint16(b, x), nil
	case int16:
		return typeInt16, binary.LittleEndian.AppendUint16(b, uint16(x)), nil
	case uint32:
		return typeUint32, binary.LittleEndian.AppendUint32(b, x), nil
	case int32:
		return typeInt32, binary.LittleEndian.AppendUint32(b, uint32(x)), nil
	case float32:
		return typeFloat32, binary.LittleEndian.AppendUint32(b, math.Float32bits(x)), nil
	case bool:
		if x {
			return typeBool, append(b, 1), nil
		}
		return typeBool, append(b, 0), nil
	case string:
		return typeString, appendText(b, x), nil
	case uint64:
		return typeUint64, binary.LittleEndian.AppendUint64(b, x), nil
	case int64:
		return typeInt64, binary.LittleEndian.AppendUint64(b, uint64(x)), nil
	case float64:
		return typeFloat64, binary.LittleEndian.AppendUint64(b, math.Float64bits(x)), nil
	}
	return appendArray(b, v)
}

func appendArray(b []byte, v any) (uint32, []byte, error) {
	switch x := v.(type) {
	case []uint8:
		return appendElements(b, x)
	case []int8:
		return appendElements(b, x)
	case []uint16:
		return appendElements(b, x)
	case []int16:
		return appendElements(b, x)
	case []uint32:
		return appendElements(b, x)
	case []int32:
		return appendElements(b, x)
	case []float32:
		return appendElements(b, x)
	case []bool:
		return appendElements(b, x)
	case []string:
		return appendElements(b, x)
	case []uint64:
		return appendElements(b, x)
	case []int64:
		return appendElements(b, x)
	case []float64:
		return appendElements(b, x)
	}
	return 0, nil, fmt.Errorf("a value of type %T has no form in GGUF", v)
}

func appendElements[T any](b []byte, x []T) (uint32, []byte, error) {
	var zero T
	elem, _, err := appendValue(nil, any(zero))
	if err != nil {
		return 0, nil, err
	}
	b = binary.LittleEndian.AppendUint32(b, elem)
	b = binary.LittleEndian.AppendUint64(b, uint64(len(x)))
	for _, v := range x {
		if _, b, err = appendValue(b, any(v)); err != nil {
			return 0, nil, err
		}
	}
	return typeArray, b, nil
}

// counter counts what passes through.
type counter struct {
	w *bufio.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// pad writes zeros up to the next multiple of the alignment.
func (c *counter) pad() error {
	_, err := c.Write(make([]byte, (alignment-c.n%alignment)%alignment))
	return err
}
