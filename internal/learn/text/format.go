package text

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"unicode"
	"unicode/utf8"

	"atoll/internal/repro"
)

// Limits of models and data. They bound what a stranger's model can cost.
const (
	MaxText    = 64 << 10 // bytes of one text
	MaxLabel   = 200      // bytes of one label
	MaxLabels  = 1024     //
	MinBits    = 10       // log2 of the number of buckets
	MaxBits    = 22       //
	MaxWeights = 64 << 20 // rows × labels
)

// ErrFormat means that bytes are not a model file of this version.
var ErrFormat = errors.New("not a text model")

const (
	magic   = "atolltxt"
	version = 1
	header  = len(magic) + 4*4

	// maxScore bounds bias and scale, so that no sum over a text of MaxText
	// bytes can leave the finite numbers.
	maxScore = 1 << 20
)

// Marshal returns the model file.
func (m *Model) Marshal() []byte {
	b := append(make([]byte, 0, header+len(m.buckets)*(8+len(m.labels))), magic...)
	for _, n := range []int{version, m.bits, len(m.labels), len(m.buckets)} {
		b = binary.LittleEndian.AppendUint32(b, uint32(n))
	}
	for _, l := range m.labels {
		b = binary.LittleEndian.AppendUint16(b, uint16(len(l)))
		b = append(b, l...)
	}
	for _, v := range m.bias {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
	}
	for _, v := range m.buckets {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	for _, v := range m.scales {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
	}
	for _, q := range m.weights {
		b = append(b, byte(q))
	}
	return b
}

// Parse reads a model file. It accepts exactly what Marshal writes: every other
// spelling of a model, and every byte too few or too many, is ErrFormat. Memory
// stays within a few times len(file), plus 4 bytes a bucket.
func Parse(file []byte) (*Model, error) {
	r := &reader{b: file}
	if string(r.take(len(magic))) != magic {
		return nil, fmt.Errorf("%w: it does not start with %q", ErrFormat, magic)
	}
	if v := r.u32(); r.err == nil && v != version {
		return nil, fmt.Errorf("%w: version %d, want %d", ErrFormat, v, version)
	}
	bits, labels, rows := r.within("bits", MinBits, MaxBits), r.within("labels", 2, MaxLabels), r.within("rows", 0, 1<<MaxBits)
	if r.err == nil && (rows > 1<<bits || rows > MaxWeights/labels) {
		r.fail("%d rows of %d labels in %d buckets", rows, labels, 1<<bits)
	}
	m := &Model{bits: bits}
	m.labels = r.labels(labels)
	m.bias = r.floats("bias", labels, -maxScore)
	m.buckets = r.buckets(rows, 1<<bits)
	m.scales = r.floats("scale", rows, 0x1p-96)
	m.weights = r.weights(rows * labels)
	if r.err == nil && len(r.b) > 0 {
		r.fail("%d bytes too many", len(r.b))
	}
	if r.err != nil {
		return nil, r.err
	}
	return newModel(m), nil
}

// reader takes fields off the front of b until one is wrong; then it keeps the
// error and yields nothing more.
type reader struct {
	b   []byte
	err error
}

func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: %s", ErrFormat, fmt.Sprintf(format, args...))
	}
}

func (r *reader) take(n int) []byte {
	if r.err == nil && n > len(r.b) {
		r.fail("it ends %d bytes early", n-len(r.b))
	}
	if r.err != nil {
		return nil
	}
	out := r.b[:n]
	r.b = r.b[n:]
	return out
}

func (r *reader) u32() uint32 {
	if b := r.take(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

func (r *reader) within(what string, low, high int) int {
	v := r.u32()
	if r.err == nil && (v < uint32(low) || v > uint32(high)) {
		r.fail("%d %s, want %d to %d", v, what, low, high)
	}
	return int(v)
}

func (r *reader) labels(n int) []string {
	var out []string
	for i := 0; i < n && r.err == nil; i++ {
		size := r.take(2)
		if size == nil {
			break
		}
		l := string(r.take(int(binary.LittleEndian.Uint16(size))))
		if err := CheckLabel(l); err != nil && r.err == nil {
			r.fail("%v", err)
		}
		if i > 0 && l <= out[i-1] {
			r.fail("label %.40q does not follow %.40q", l, out[i-1])
		}
		out = append(out, l)
	}
	return out
}

// floats reads n numbers from low to maxScore.
func (r *reader) floats(what string, n int, low float32) []float32 {
	b := r.take(4 * n)
	out := make([]float32, len(b)/4)
	for i := range out {
		out[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
	}
	if err := repro.Finite(out); err != nil {
		r.fail("%s: %v", what, err)
		return nil
	}
	for i, v := range out {
		if v < low || v > maxScore {
			r.fail("%s %d is %g, want %g to %d", what, i, v, low, maxScore)
			return nil
		}
	}
	return out
}

func (r *reader) buckets(n, limit int) []uint32 {
	b := r.take(4 * n)
	out := make([]uint32, len(b)/4)
	for i := range out {
		v := binary.LittleEndian.Uint32(b[4*i:])
		if v >= uint32(limit) || i > 0 && v <= out[i-1] {
			r.fail("bucket %d of row %d is out of order or range", v, i)
			return nil
		}
		out[i] = v
	}
	return out
}

func (r *reader) weights(n int) []int8 {
	b := r.take(n)
	out := make([]int8, len(b))
	for i, v := range b {
		if out[i] = int8(v); out[i] == math.MinInt8 {
			r.fail("weight %d is -128, want -127 to 127", i)
			return nil
		}
	}
	return out
}

// CheckLabel refuses what cannot be a label: it must be 1 to MaxLabel bytes of
// UTF-8, all printable, without a space at either end.
func CheckLabel(l string) error {
	if l == "" || len(l) > MaxLabel || !utf8.ValidString(l) {
		return fmt.Errorf("label %.40q: want 1 to %d bytes of UTF-8", l, MaxLabel)
	}
	if l[0] == ' ' || l[len(l)-1] == ' ' {
		return fmt.Errorf("label %.40q: starts or ends with a space", l)
	}
	for _, c := range l {
		if !unicode.IsPrint(c) {
			return fmt.Errorf("label %.40q: %U cannot be printed", l, c)
		}
	}
	return nil
}
