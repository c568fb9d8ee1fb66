package gguf_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"atoll/internal/llm/gguf"
	"atoll/internal/llm/quant"
)

func source(name string, kind quant.Type, data []byte, dims ...int) gguf.Source {
	return gguf.Source{Name: name, Type: kind, Dims: dims, Data: func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	}}
}

func write(t testing.TB, meta gguf.Meta, tensors ...gguf.Source) []byte {
	t.Helper()
	var b bytes.Buffer
	n, err := gguf.Write(&b, meta, tensors)
	if err != nil {
		t.Fatal(err)
	}
	if n != int64(b.Len()) {
		t.Fatalf("Write says %d bytes, but wrote %d", n, b.Len())
	}
	return b.Bytes()
}

func read(b []byte) (*gguf.File, error) { return gguf.Read(bytes.NewReader(b), int64(len(b))) }

// every holds each type that a value can have.
var every = gguf.Meta{
	"a.u8": uint8(1), "a.i8": int8(-1), "a.u16": uint16(2), "a.i16": int16(-2), "a.u32": uint32(3), "a.i32": int32(-3),
	"a.u64": uint64(4), "a.i64": int64(-4), "a.f32": float32(1.5), "a.f64": 2.5, "a.bool": true, "a.text": "hello",
	"b.u8": []uint8{1}, "b.i8": []int8{-1}, "b.u16": []uint16{2}, "b.i16": []int16{-2}, "b.u32": []uint32{3}, "b.i32": []int32{-3},
	"b.u64": []uint64{4}, "b.i64": []int64{-4}, "b.f32": []float32{1.5, 2}, "b.f64": []float64{2.5}, "b.bool": []bool{true, false},
	"b.text": []string{"", "x"}, "b.none": []string{},
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	data := make([]byte, 2*34)
	for i := range data {
		data[i] = byte(i)
	}
	b := write(t, every, source("w", quant.Q8_0, data, 32, 2), source("v", quant.F32, data[:12], 3))
	f, err := read(b)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(f.Meta, every) {
		t.Errorf("metadata came back as %v", f.Meta)
	}
	if len(f.Tensors) != 2 || f.Tensors[0].Name != "w" || f.Tensors[1].Name != "v" {
		t.Fatalf("tensors %v", f.Tensors)
	}
	for i, want := range [][]byte{data, data[:12]} {
		x := f.Tensors[i]
		if !bytes.Equal(b[x.Offset:x.Offset+x.Bytes], want) {
			t.Errorf("tensor %s came back as other bytes", x.Name)
		}
	}
	if again := write(t, every, source("w", quant.Q8_0, data, 32, 2), source("v", quant.F32, data[:12], 3)); !bytes.Equal(again, b) {
		t.Error("the same values gave other bytes")
	}
}

func TestAccessors(t *testing.T) {
	t.Parallel()
	m := gguf.Meta{"u": uint64(7), "huge": uint64(math.MaxUint64), "neg": int8(-1), "f": float32(0.5), "inf": float32(math.Inf(1)),
		"s": "x", "b": true, "ss": []string{"x"}, "u32": []uint32{1, 2}, "big": []uint32{1 << 31}}
	if n, err := m.Int("u", 0); n != 7 || err != nil {
		t.Errorf("Int: %d, %v", n, err)
	}
	if n, err := m.Int("none", 9); n != 9 || err != nil {
		t.Errorf("Int of nothing: %d, %v", n, err)
	}
	if f, err := m.Float("neg", 0); f != -1 || err != nil {
		t.Errorf("Float of an integer: %v, %v", f, err)
	}
	if x, err := m.Ints("u32"); len(x) != 2 || err != nil {
		t.Errorf("Ints of uint32: %v, %v", x, err)
	}
	bad := map[string]func() error{
		"huge": func() error { _, err := m.Int("huge", 0); return err },
		"f":    func() error { _, err := m.Int("f", 0); return err },
		"inf":  func() error { _, err := m.Float("inf", 0); return err },
		"u":    func() error { _, err := m.Text("u"); return err },
		"s":    func() error { _, err := m.Bool("s", false); return err },
		"b":    func() error { _, err := m.Texts("b"); return err },
		"ss":   func() error { _, err := m.Floats("ss"); return err },
		"big":  func() error { _, err := m.Ints("big"); return err },
	}
	for key, get := range bad {
		if err := get(); !errors.Is(err, gguf.ErrFormat) || !strings.Contains(err.Error(), `"`+key+`"`) {
			t.Errorf("%s: %v, want ErrFormat with the key", key, err)
		}
	}
}

// raw builds files that Write would not.
type raw []byte

func header(version uint32, tensors, pairs uint64) raw {
	return raw("GGUF").u32(version).u64(tensors).u64(pairs)
}
func (b raw) u32(v uint32) raw { return binary.LittleEndian.AppendUint32(b, v) }
func (b raw) u64(v uint64) raw { return binary.LittleEndian.AppendUint64(b, v) }
func (b raw) text(s string) raw {
	return append(b.u64(uint64(len(s))), s...)
}
func (b raw) tensor(name string, kind quant.Type, offset uint64, dims ...uint64) raw {
	b = b.text(name).u32(uint32(len(dims)))
	for _, d := range dims {
		b = b.u64(d)
	}
	return b.u32(uint32(kind)).u64(offset)
}
func (b raw) data(n int) raw {
	for len(b)%32 != 0 {
		b = append(b, 0)
	}
	return append(b, make([]byte, n)...)
}

func TestBadFiles(t *testing.T) {
	t.Parallel()
	one := func(b raw) raw { return b.tensor("w", quant.F32, 0, 8) }
	for _, c := range []struct {
		name, want string
		file       raw
	}{
		{"empty", "does not begin", nil},
		{"magic", "does not begin", raw("GGML").u64(0).u64(0)},
		{"version 1", "version 1", header(1, 0, 0)},
		{"big-endian", "version 50331648", header(3<<24, 0, 0)},
		{"cut in the header", "cut short", header(3, 0, 0)[:20]},
		{"a billion tensors", "announces", header(3, 1e9, 0)},
		{"many pairs", "announces", header(3, 0, 1<<63)},
		{"a tensor that is not there", "cut short", header(3, 1, 0)},
		{"a long key", "a string of", header(3, 0, 1).u64(1 << 62)},
		{"a string past the end", "cut short", header(3, 0, 1).text("k").u32(8).u64(1 << 20)},
		{"an unknown value", "type 99", header(3, 0, 1).text("k").u32(99)},
		{"a bool of 2", "a bool of 2", append(header(3, 0, 1).text("k").u32(7), 2)},
		{"an array of arrays", "array of type 9", header(3, 0, 1).text("k").u32(9).u32(9).u64(1)},
		{"a huge array", "an array of", header(3, 0, 1).text("k").u32(9).u32(4).u64(1 << 60)},
		{"an array past the end", "an array of", header(3, 0, 1).text("k").u32(9).u32(8).u64(1000)},
		{"a key twice", "comes twice", append(append(header(3, 0, 2).text("k").u32(7), 1).text("k").u32(7), 1)},
		{"no dimensions", "dimensions", header(3, 1, 0).tensor("w", quant.F32, 0).data(32)},
		{"five dimensions", "dimensions", header(3, 1, 0).tensor("w", quant.F32, 0, 1, 1, 1, 1, 1).data(32)},
		{"a dimension of 0", "out of range", header(3, 1, 0).tensor("w", quant.F32, 0, 0).data(32)},
		{"too many elements", "out of range", header(3, 1, 0).tensor("w", quant.F32, 0, 1<<30, 1<<30, 1<<30).data(32)},
		{"half a block", "whole number of blocks", header(3, 1, 0).tensor("w", quant.Q8_0, 0, 31).data(34)},
		{"offset unaligned", "no multiple", header(3, 1, 0).tensor("w", quant.F32, 4, 8).data(64)},
		{"offset past the end", "cut short", header(3, 1, 0).tensor("w", quant.F32, 1<<40, 8).data(32)},
		{"offset over 63 bits", "out of range", header(3, 1, 0).tensor("w", quant.F32, 1<<63, 8).data(32)},
		{"data cut", "cut short", one(header(3, 1, 0)).data(31)},
		{"no data", "cut short", one(header(3, 1, 0))},
		{"overlap", "overlap", header(3, 2, 0).tensor("w", quant.F32, 0, 9).tensor("v", quant.F32, 32, 8).data(64)},
		{"the same place", "overlap", header(3, 2, 0).tensor("w", quant.F32, 0, 8).tensor("v", quant.F32, 0, 8).data(64)},
		{"a tensor twice", "comes twice", header(3, 2, 0).tensor("w", quant.F32, 0, 8).tensor("w", quant.F32, 32, 8).data(64)},
		{"alignment 3", "power of two", header(3, 0, 1).text("general.alignment").u32(4).u32(3)},
	} {
		f, err := read(c.file)
		if err == nil {
			t.Errorf("%s: read as %v", c.name, f)
			continue
		}
		if !errors.Is(err, gguf.ErrFormat) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v; want ErrFormat and %q", c.name, err, c.want)
		}
	}
	_, err := read(header(3, 1, 0).tensor("w", 10, 0, 256).data(256))
	if !errors.Is(err, quant.ErrType) || !strings.Contains(err.Error(), "Q2_K") {
		t.Errorf("a format that is not understood: %v", err)
	}
}

// Cut anywhere, a file is refused.
func TestTruncated(t *testing.T) {
	t.Parallel()
	b := write(t, every, source("w", quant.F32, make([]byte, 32), 8))
	for n := range len(b) {
		if _, err := read(b[:n]); !errors.Is(err, gguf.ErrFormat) {
			t.Fatalf("cut to %d of %d bytes: %v", n, len(b), err)
		}
	}
}

// A file that announces a lot and holds little takes little memory.
func TestAnnouncedLengthsAreNotAllocated(t *testing.T) { // alone: it measures the whole process
	for name, b := range map[string]raw{
		"strings":  header(3, 0, 1).text("k").u32(9).u32(8).u64(1 << 22).data(1 << 10),
		"one text": header(3, 0, 1).text("k").u32(8).u64(15 << 20).data(1 << 10),
		"tensors":  header(3, 1<<16, 0).data(1 << 10),
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if _, err := read(b); err == nil {
			t.Errorf("%s: read", name)
		}
		runtime.ReadMemStats(&after)
		if n := after.TotalAlloc - before.TotalAlloc; n > 1<<20 {
			t.Errorf("%s: a file of %d bytes took %d bytes of memory", name, len(b), n)
		}
	}
}

func TestWriteRefuses(t *testing.T) {
	t.Parallel()
	x := make([]byte, 32)
	for name, f := range map[string]func() error{
		"alignment": func() error {
			_, err := gguf.Write(io.Discard, gguf.Meta{"general.alignment": uint32(64)}, nil)
			return err
		},
		"type": func() error { _, err := gguf.Write(io.Discard, gguf.Meta{"k": 1}, nil); return err },
		"dimensions": func() error {
			_, err := gguf.Write(io.Discard, nil, []gguf.Source{source("w", quant.F32, x)})
			return err
		},
		"twice": func() error {
			_, err := gguf.Write(io.Discard, nil, []gguf.Source{source("w", quant.F32, x, 8), source("w", quant.F32, x, 8)})
			return err
		},
		"too few bytes": func() error {
			_, err := gguf.Write(io.Discard, nil, []gguf.Source{source("w", quant.F32, x, 9)})
			return err
		},
		"too many bytes": func() error {
			_, err := gguf.Write(io.Discard, nil, []gguf.Source{source("w", quant.F32, x, 7)})
			return err
		},
		"half a block": func() error {
			_, err := gguf.Write(io.Discard, nil, []gguf.Source{source("w", quant.Q8_0, x, 8)})
			return err
		},
	} {
		if f() == nil {
			t.Errorf("%s: written", name)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add(write(f, every, source("w", quant.F32, make([]byte, 32), 8)))
	f.Add([]byte(header(3, 2, 0).tensor("w", quant.F32, 0, 9).tensor("v", quant.Q8_0, 32, 32, 2).data(200)))
	f.Fuzz(func(t *testing.T, b []byte) {
		file, err := read(b)
		if err != nil {
			return
		}
		// What is read lies in the file, apart, and can be written again.
		var sources []gguf.Source
		for _, x := range file.Tensors {
			if x.Offset < 0 || x.Bytes <= 0 || x.Offset+x.Bytes > int64(len(b)) {
				t.Fatalf("tensor %q lies at %d+%d of %d", x.Name, x.Offset, x.Bytes, len(b))
			}
			sources = append(sources, source(x.Name, x.Type, b[x.Offset:x.Offset+x.Bytes], x.Dims...))
		}
		delete(file.Meta, "general.alignment")
		again, err := read(write(t, file.Meta, sources...))
		if err != nil {
			t.Fatal(err)
		}
		if len(again.Tensors) != len(file.Tensors) || len(again.Meta) != len(file.Meta) {
			t.Fatal("written again, it is another file")
		}
	})
}
