package gguf

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"slices"

	"atoll/internal/llm/quant"
)

// File is the two tables of a GGUF file.
type File struct {
	Version uint32 // 2 or 3
	Meta    Meta
	Tensors []Tensor // in the order of the file
}

// Tensor is one tensor's place and shape.
type Tensor struct {
	Name   string
	Type   quant.Type
	Dims   []int // elements; the first is the length of a row
	Offset int64 // of its first byte in the file
	Bytes  int64
}

// Read reads the tables of a file of size bytes. A format that package quant does
// not understand is an error that wraps [quant.ErrType].
func Read(r io.ReaderAt, size int64) (*File, error) {
	d := newDecoder(r, size)
	if string(d.bytes(4)) != "GGUF" {
		return nil, fmt.Errorf("%w: it does not begin with GGUF", ErrFormat)
	}
	f := &File{Version: d.uint32()}
	if d.err == nil && f.Version != 2 && f.Version != 3 {
		return nil, fmt.Errorf("%w: version %d, want 2 or 3 (little-endian); convert it with llama.cpp", ErrFormat, f.Version)
	}
	tensors, pairs := d.uint64(), d.uint64()
	if tensors > maxTensors || pairs > maxPairs {
		return nil, fmt.Errorf("%w: it announces %d tensors and %d metadata pairs, over %d", ErrFormat, tensors, pairs, maxTensors)
	}
	f.Meta = d.meta(int(pairs))
	align, err := f.alignment()
	if d.err == nil && err != nil {
		return nil, err
	}
	for range tensors {
		f.Tensors = append(f.Tensors, d.tensor())
		if d.err != nil {
			break
		}
	}
	if d.err != nil {
		return nil, d.err
	}
	if err := f.place(d.pos, size, align); err != nil {
		return nil, err
	}
	return f, nil
}

func (f *File) alignment() (int64, error) {
	n, err := f.Meta.Int("general.alignment", alignment)
	if err != nil {
		return 0, err
	}
	if n < 8 || n > 1<<20 || n&(n-1) != 0 {
		return 0, fmt.Errorf("%w: general.alignment is %d, want a power of two from 8 to 2^20", ErrFormat, n)
	}
	return int64(n), nil
}

// place turns the tensors' offsets, which count from the data section, into
// offsets of the file, and proves that all lie in it and apart.
func (f *File) place(tables, size, align int64) error {
	data := (tables + align - 1) / align * align
	byName := make(map[string]bool, len(f.Tensors))
	for i := range f.Tensors {
		t := &f.Tensors[i]
		if byName[t.Name] {
			return fmt.Errorf("%w: tensor %q comes twice", ErrFormat, t.Name)
		}
		byName[t.Name] = true
		if t.Offset%align != 0 {
			return fmt.Errorf("%w: tensor %q: offset %d is no multiple of %d", ErrFormat, t.Name, t.Offset, align)
		}
		if t.Offset > size-data || t.Bytes > size-data-t.Offset {
			return fmt.Errorf("%w: tensor %q: %d bytes at offset %d of the data, which has %d; the file is cut short: fetch it again",
				ErrFormat, t.Name, t.Bytes, t.Offset, max(0, size-data))
		}
		t.Offset += data
	}
	order := slices.Clone(f.Tensors)
	slices.SortFunc(order, func(a, b Tensor) int {
		return cmp.Or(cmp.Compare(a.Offset, b.Offset), cmp.Compare(a.Bytes, b.Bytes))
	})
	for i := 1; i < len(order); i++ {
		if a, b := order[i-1], order[i]; a.Offset+a.Bytes > b.Offset {
			return fmt.Errorf("%w: tensors %q and %q overlap", ErrFormat, a.Name, b.Name)
		}
	}
	return nil
}

// tensor reads one row of the table of tensors. Its Offset is left relative.
func (d *decoder) tensor() Tensor {
	t := Tensor{Name: d.text(maxKey)}
	n := d.uint32()
	if d.err == nil && (n == 0 || n > maxDims) {
		d.failf("tensor %q has %d dimensions, want 1 to %d", t.Name, n, maxDims)
	}
	elements := uint64(1)
	for range n {
		v := d.uint64()
		if d.err != nil {
			return t
		}
		if v == 0 || v > math.MaxInt32 || elements > math.MaxInt64/8/v {
			d.failf("tensor %q: dimension %d is out of range", t.Name, v)
			return t
		}
		elements *= v
		t.Dims = append(t.Dims, int(v))
	}
	t.Type = quant.Type(d.uint32())
	offset := d.uint64()
	if d.err != nil {
		return t
	}
	if offset > math.MaxInt64 {
		d.failf("tensor %q: offset %d is out of range", t.Name, offset)
		return t
	}
	t.Offset = int64(offset)
	row, err := t.Type.RowBytes(t.Dims[0])
	if err != nil {
		d.err = fmt.Errorf("%w: tensor %q: %w", ErrFormat, t.Name, err)
		return t
	}
	t.Bytes = int64(row) * int64(elements/uint64(t.Dims[0]))
	return t
}
