package model

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"

	"atoll/internal/repro"
)

// ErrFormat means that bytes are not a model file of this version.
var ErrFormat = errors.New("not a trained model")

const (
	magic     = "atollfed"
	version   = 1
	maxHeader = 1 << 20
)

// header is the first part of a model file.
type header struct {
	Version int  `json:"version"`
	Model   Spec `json:"model"`
	// Input tells how a row becomes the model's numbers; its form is that of whoever
	// made the rows.
	Input json.RawMessage `json:"input,omitempty"`
	About json.RawMessage `json:"about,omitempty"` // where the model is from
}

// File is a model with what is to be known to use it.
type File struct {
	Spec   Spec
	Params []float32
	Input  json.RawMessage // how a row becomes numbers, as internal/table's Features; or nil
	About  json.RawMessage // where the model is from; or nil
}

// Save returns the model file:
//
//	8 bytes     "atollfed"
//	uint32      bytes of the header, at most 2^20
//	header      JSON: version, model, input, about
//	parameters  binary32 each, as many as the model has
//
// Integers and parameters are little-endian. The file has no checksum: it is named by
// its digest.
func Save(f File) ([]byte, error) {
	if err := f.Spec.checkParams(f.Params); err != nil {
		return nil, err
	}
	head, err := json.Marshal(header{version, f.Spec, f.Input, f.About})
	if err != nil {
		return nil, fmt.Errorf("header of the model file: %w", err)
	}
	if len(head) > maxHeader {
		return nil, fmt.Errorf("%w: a header of %d bytes, at most %d fit", ErrSpec, len(head), maxHeader)
	}
	b := make([]byte, 0, len(magic)+4+len(head)+4*len(f.Params))
	b = append(b, magic...)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(head)))
	b = append(b, head...)
	for _, v := range f.Params {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
	}
	return b, nil
}

// Load reads a model file. Memory stays within a few times len(file).
func Load(file []byte) (File, error) {
	refuse := func(format string, args ...any) (File, error) {
		return File{}, fmt.Errorf("%w: %s", ErrFormat, fmt.Sprintf(format, args...))
	}
	rest, ok := bytes.CutPrefix(file, []byte(magic))
	if !ok {
		return refuse("it does not start with %q", magic)
	}
	if len(rest) < 4 {
		return refuse("it ends before its header")
	}
	n := binary.LittleEndian.Uint32(rest)
	if rest = rest[4:]; n > maxHeader || int(n) > len(rest) {
		return refuse("a header of %d bytes in a file of %d, want at most %d", n, len(file), maxHeader)
	}
	var h header
	d := json.NewDecoder(bytes.NewReader(rest[:n]))
	d.DisallowUnknownFields()
	if err := d.Decode(&h); err != nil {
		return refuse("its header: %v", err)
	}
	if d.More() || h.Version != version {
		return refuse("version %d, want %d, and nothing behind the header", h.Version, version)
	}
	if err := h.Model.Check(); err != nil {
		return refuse("%v", err)
	}
	rest = rest[n:]
	if want := 4 * h.Model.Size(); len(rest) != want {
		return refuse("%d bytes of parameters, the model has %d", len(rest), want)
	}
	f := File{Spec: h.Model, Params: make([]float32, len(rest)/4), Input: h.Input, About: h.About}
	for i := range f.Params {
		f.Params[i] = math.Float32frombits(binary.LittleEndian.Uint32(rest[4*i:]))
	}
	if err := repro.Finite(f.Params); err != nil {
		return refuse("parameters: %v", err)
	}
	return f, nil
}
