// Package safetensors reads the tables of safetensors files, in which Hugging
// Face keeps weights. It does not read the weights themselves.
//
// A file is a uint64 length (little-endian), so many bytes of JSON, and data.
// The JSON is one object: a member for each tensor with its dtype, shape and the
// range of its bytes in the data, and perhaps "__metadata__", an object of
// strings. The ranges must cover the data without gap or overlap.
//
// A large model is split into several files with an index beside them, a JSON
// object whose "weight_map" names the file of each tensor; see [ReadIndex].
//
// Both parsers are strict: doubled members, unknown members, ranges that do not
// fit the shape are refused, with errors that wrap [ErrFormat] and name the
// tensor. The header may take at most 64 MiB.
package safetensors

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"slices"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"atoll/internal/llm/quant"
)

// ErrFormat means that bytes are not a safetensors file, or a damaged one.
var ErrFormat = errors.New("not a valid safetensors file")

const (
	maxHeader  = 64 << 20
	maxTensors = 1 << 16
	maxDims    = 8
)

// Tensor is one tensor's place and shape.
type Tensor struct {
	Name   string
	DType  string // as the file spells it: "F32", "BF16", "I64", …
	Dims   []int  // elements; the last is the length of a row. Empty for a scalar
	Offset int64  // of its first byte in the file
	Bytes  int64
}

// Type returns the number format, or an error that wraps [quant.ErrType].
func (t Tensor) Type() (quant.Type, error) {
	switch t.DType {
	case "F32":
		return quant.F32, nil
	case "F16":
		return quant.F16, nil
	case "BF16":
		return quant.BF16, nil
	}
	return 0, fmt.Errorf("dtype %.20q: %w (understood in safetensors: F32, F16, BF16)", t.DType, quant.ErrType)
}

// widths are the bytes of an element of each dtype of whole bytes.
var widths = map[string]int64{
	"F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2, "U16": 2,
	"F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1, "I8": 1, "U8": 1, "BOOL": 1, "C64": 8,
}

// entry is a member of the header.
type entry struct {
	DType   string   `json:"dtype"`
	Shape   []int64  `json:"shape"`
	Offsets [2]int64 `json:"data_offsets"`
}

// Read reads the header of a file of size bytes. The tensors come in the order
// of their data.
func Read(r io.ReaderAt, size int64) ([]Tensor, error) {
	var length [8]byte
	if size < 8 {
		return nil, fmt.Errorf("%w: %d bytes are too few", ErrFormat, size)
	}
	if _, err := r.ReadAt(length[:], 0); err != nil {
		return nil, fmt.Errorf("read: %w", err)
	}
	n := binary.LittleEndian.Uint64(length[:])
	if n > maxHeader || int64(n) > size-8 {
		return nil, fmt.Errorf("%w: it announces a header of %d bytes in a file of %d", ErrFormat, n, size)
	}
	header := make([]byte, n)
	if _, err := r.ReadAt(header, 8); err != nil && err != io.EOF {
		return nil, fmt.Errorf("read: %w", err)
	}
	members := map[string]jsontext.Value{}
	if err := strictly(header, &members); err != nil {
		return nil, fmt.Errorf("%w: header: %w", ErrFormat, err)
	}
	if len(members) > maxTensors {
		return nil, fmt.Errorf("%w: %d tensors, over %d", ErrFormat, len(members), maxTensors)
	}
	var out []Tensor
	for name, raw := range members {
		if name == "__metadata__" {
			continue
		}
		t, err := parse(name, raw)
		if err != nil {
			return nil, fmt.Errorf("%w: tensor %q: %w", ErrFormat, name, err)
		}
		out = append(out, t)
	}
	return out, place(out, 8+int64(n), size)
}

// strictly parses JSON without unknown or doubled members or trailing data.
func strictly(b []byte, v any) error {
	return json.Unmarshal(bytes.TrimRight(b, " "), v, json.RejectUnknownMembers(true))
}

// parse checks one tensor by itself. Its Offset is left relative to the data.
func parse(name string, raw jsontext.Value) (Tensor, error) {
	var e entry
	if err := strictly(raw, &e); err != nil {
		return Tensor{}, err
	}
	width, ok := widths[e.DType]
	if !ok {
		return Tensor{}, fmt.Errorf("unknown dtype %.20q", e.DType)
	}
	if len(e.Shape) > maxDims {
		return Tensor{}, fmt.Errorf("%d dimensions, over %d", len(e.Shape), maxDims)
	}
	t := Tensor{Name: name, DType: e.DType, Offset: e.Offsets[0], Bytes: width}
	for _, d := range e.Shape {
		if d < 1 || d > math.MaxInt32 || t.Bytes > math.MaxInt64/d {
			return Tensor{}, fmt.Errorf("shape %v is out of range", e.Shape)
		}
		t.Bytes *= d
		t.Dims = append(t.Dims, int(d))
	}
	if e.Offsets[0] < 0 || e.Offsets[1] < e.Offsets[0] || e.Offsets[1]-e.Offsets[0] != t.Bytes {
		return Tensor{}, fmt.Errorf("data_offsets %v, but shape %v of %s takes %d bytes", e.Offsets, e.Shape, e.DType, t.Bytes)
	}
	return t, nil
}

// place sorts tensors by their data, proves that they cover it, and makes their
// offsets count from the beginning of the file.
func place(ts []Tensor, data, size int64) error {
	slices.SortFunc(ts, func(a, b Tensor) int { return cmp.Or(cmp.Compare(a.Offset, b.Offset), cmp.Compare(a.Name, b.Name)) })
	end := int64(0)
	for i := range ts {
		t := &ts[i]
		if t.Offset != end {
			return fmt.Errorf("%w: tensor %q begins at %d of the data, want %d: gaps and overlaps are not allowed", ErrFormat, t.Name, t.Offset, end)
		}
		if t.Bytes > size-data-end {
			return fmt.Errorf("%w: tensor %q: %d bytes at %d of the data, which has %d; the file is cut short: fetch it again",
				ErrFormat, t.Name, t.Bytes, t.Offset, size-data)
		}
		end += t.Bytes
		t.Offset += data
	}
	if end != size-data {
		return fmt.Errorf("%w: %d bytes of data, of which the tensors take %d", ErrFormat, size-data, end)
	}
	return nil
}

// ReadIndex parses an index (model.safetensors.index.json). It returns the names
// of the files, ascending, and each tensor's file. Files are plain names: what
// points out of the directory is refused.
func ReadIndex(b []byte) (files []string, of map[string]string, err error) {
	var index struct {
		Metadata  jsontext.Value    `json:"metadata"`
		WeightMap map[string]string `json:"weight_map"`
	}
	if err := strictly(b, &index); err != nil {
		return nil, nil, fmt.Errorf("%w: index: %w", ErrFormat, err)
	}
	if len(index.WeightMap) == 0 || len(index.WeightMap) > maxTensors {
		return nil, nil, fmt.Errorf("%w: index: weight_map has %d tensors, want 1 to %d", ErrFormat, len(index.WeightMap), maxTensors)
	}
	for name, file := range index.WeightMap {
		if file != filepath.Base(file) || !filepath.IsLocal(file) || filepath.Ext(file) != ".safetensors" {
			return nil, nil, fmt.Errorf("%w: index: tensor %q is said to be in %q, want the name of a .safetensors file beside the index", ErrFormat, name, file)
		}
		files = append(files, file)
	}
	slices.Sort(files)
	return slices.Compact(files), index.WeightMap, nil
}
