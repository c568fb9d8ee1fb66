package gguf

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"math"
)

// The types of metadata values.
const (
	typeUint8 = iota
	typeInt8
	typeUint16
	typeInt16
	typeUint32
	typeInt32
	typeFloat32
	typeBool
	typeString
	typeArray
	typeUint64
	typeInt64
	typeFloat64
)

// decoder reads the tables. After its first error it returns zeros.
type decoder struct {
	r    *bufio.Reader
	pos  int64 // bytes read
	left int64 // bytes that the tables may still take
	err  error
	buf  [8]byte
}

func newDecoder(r io.ReaderAt, size int64) *decoder {
	left := min(size, maxTables)
	return &decoder{r: bufio.NewReaderSize(io.NewSectionReader(r, 0, left), 64<<10), left: left}
}

func (d *decoder) failf(format string, args ...any) {
	if d.err == nil {
		d.err = fmt.Errorf("%w: %s", ErrFormat, fmt.Sprintf(format, args...))
	}
}

// take books n bytes, which must still be there.
func (d *decoder) take(n int64) bool {
	if d.err == nil && n > d.left {
		d.failf("the tables end at byte %d, where %d more are announced; the file is cut short or damaged", d.pos+d.left, n)
	}
	if d.err != nil {
		return false
	}
	d.pos, d.left = d.pos+n, d.left-n
	return true
}

// bytes returns the next n bytes, n ≤ 8. They are valid until the next call.
func (d *decoder) bytes(n int) []byte {
	b := d.buf[:n]
	clear(b)
	if d.take(int64(n)) {
		if _, err := io.ReadFull(d.r, b); err != nil {
			d.err = fmt.Errorf("read: %w", err)
		}
	}
	return b
}

func (d *decoder) uint32() uint32 { return binary.LittleEndian.Uint32(d.bytes(4)) }
func (d *decoder) uint64() uint64 { return binary.LittleEndian.Uint64(d.bytes(8)) }

// text reads a string of at most limit bytes.
func (d *decoder) text(limit uint64) string {
	n := d.uint64()
	if d.err == nil && n > limit {
		d.failf("a string of %d bytes at byte %d, over %d", n, d.pos, limit)
	}
	// take proves that n bytes are there before they are allocated.
	if !d.take(int64(n)) {
		return ""
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(d.r, b); err != nil {
		d.err = fmt.Errorf("read: %w", err)
	}
	return string(b)
}

func (d *decoder) meta(pairs int) Meta {
	m := Meta{}
	for range pairs {
		key := d.text(maxKey)
		v := d.value(d.uint32(), key)
		if d.err != nil {
			return m
		}
		if m.Has(key) {
			d.failf("key %q comes twice", key)
			return m
		}
		m[key] = v
	}
	return m
}

// elements are the types that an array may hold: the least size of a value, in
// bytes, and what reads an array of them.
var elements = map[uint32]struct {
	size uint64
	read func(d *decoder, n uint64, key string, elem uint32) any
}{
	typeUint8: {1, array[uint8]}, typeInt8: {1, array[int8]}, typeUint16: {2, array[uint16]}, typeInt16: {2, array[int16]},
	typeUint32: {4, array[uint32]}, typeInt32: {4, array[int32]}, typeUint64: {8, array[uint64]}, typeInt64: {8, array[int64]},
	typeFloat32: {4, array[float32]}, typeFloat64: {8, array[float64]}, typeBool: {1, array[bool]}, typeString: {8, array[string]},
}

func (d *decoder) value(kind uint32, key string) any {
	if kind != typeArray {
		return d.scalar(kind, key)
	}
	elem, n := d.uint32(), d.uint64()
	e, ok := elements[elem]
	switch {
	case d.err != nil:
		return nil
	case !ok:
		d.failf("key %q: an array of type %d", key, elem)
		return nil
	case n > maxArray || n*e.size > uint64(d.left):
		d.failf("key %q: an array of %d elements, where %d bytes are left", key, n, d.left)
		return nil
	}
	return e.read(d, n, key, elem)
}

// array reads n values, as a []T. n·size has been proved against the file.
func array[T any](d *decoder, n uint64, key string, elem uint32) any {
	out := []T{}
	for range n {
		v, ok := d.scalar(elem, key).(T)
		if !ok || d.err != nil {
			break // d.err says why
		}
		out = append(out, v)
	}
	return out
}

func (d *decoder) scalar(kind uint32, key string) any {
	switch kind {
	case typeUint8:
		return d.bytes(1)[0]
	case typeInt8:
		return int8(d.bytes(1)[0])
	case typeUint16:
		return binary.LittleEndian.Uint16(d.bytes(2))
	case typeInt16:
		return int16(binary.LittleEndian.Uint16(d.bytes(2)))
	case typeUint32:
		return d.uint32()
	case typeInt32:
		return int32(d.uint32())
	case typeFloat32:
		return math.Float32frombits(d.uint32())
	case typeBool:
		b := d.bytes(1)[0]
		if b > 1 {
			d.failf("key %q: a bool of %d, want 0 or 1", key, b)
		}
		return b == 1
	case typeString:
		return d.text(maxString)
	case typeUint64:
		return d.uint64()
	case typeInt64:
		return int64(d.uint64())
	case typeFloat64:
		return math.Float64frombits(d.uint64())
	}
	d.failf("key %q: a value of type %d", key, kind)
	return nil
}
