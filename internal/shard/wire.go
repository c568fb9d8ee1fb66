package shard

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"unicode/utf8"

	"atoll/internal/llm"
	"atoll/internal/shard/charter"
)

// version of the format.
const version = 1

// Kinds of message.
const (
	kindHello = iota + 1
	kindHave
	kindOpen
	kindRows
	kindEnd
	kindDrawn
	kindFail
)

// Limits of messages. A receiver's memory is bounded by them and by what it has
// agreed to hold.
const (
	maxMessage   = 64 << 20 // bytes
	maxSequences = 4096     // that a link speaks of
	maxSpans     = 1024     // of one message
	maxOpening   = 1 << 20  // bytes of JSON
	maxOpenings  = 64 << 20 // of all sequences of a stage
	maxTop       = 20
	maxWords     = 1000
)

// LineID names a line of stages.
type LineID = charter.ID

// errFormat means that a peer does not keep to the format.
var errFormat = errors.New("not a message of this protocol")

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errFormat, fmt.Sprintf(format, args...))
}

// A message is one of these.
type (
	hello struct {
		Line  LineID
		Epoch uint32
		Stage uint16
	}
	have struct{ Logs []length }
	// length is how many positions of a sequence are there.
	length struct{ Sequence, Positions uint32 }
	opened struct {
		Sequence, Prompt, Limit uint32
		Opening                 []byte // JSON of an Opening
	}
	rows struct {
		Spans []span
		Data  []byte // the spans' rows, one after another, in the form of their boundary
	}
	span  struct{ Sequence, First, Count uint32 }
	ended struct{ Sequence uint32 }
	drawn struct{ Tokens []token }
	token struct {
		Sequence uint32
		llm.Token
	}
	failed struct {
		Sequence uint32
		Why      string
	}
)

// encoder writes messages.
type encoder struct {
	w   *bufio.Writer
	buf []byte
}

func newEncoder(w io.Writer) *encoder { return &encoder{w: bufio.NewWriterSize(w, 64<<10)} }

func (e *encoder) flush() error { return e.w.Flush() }

// write buffers a message.
func (e *encoder) write(m any) error {
	b := e.buf[:0]
	b = append(b, 0, 0, 0, 0) // the length, below
	switch m := m.(type) {
	case *hello:
		b = append(b, kindHello, version)
		b = append(b, m.Line[:]...)
		b = binary.LittleEndian.AppendUint32(b, m.Epoch)
		b = binary.LittleEndian.AppendUint16(b, m.Stage)
	case *have:
		b = u32(append(b, kindHave), uint32(len(m.Logs)))
		for _, l := range m.Logs {
			b = u32(b, l.Sequence, l.Positions)
		}
	case *opened:
		b = append(u32(append(b, kindOpen), m.Sequence, m.Prompt, m.Limit), m.Opening...)
	case *rows:
		b = binary.LittleEndian.AppendUint16(append(b, kindRows), uint16(len(m.Spans)))
		for _, s := range m.Spans {
			b = u32(b, s.Sequence, s.First, s.Count)
		}
		b = append(b, m.Data...)
	case *ended:
		b = u32(append(b, kindEnd), m.Sequence)
	case *drawn:
		b = binary.LittleEndian.AppendUint16(append(b, kindDrawn), uint16(len(m.Tokens)))
		for i := range m.Tokens {
			b = appendToken(b, &m.Tokens[i])
		}
	case *failed:
		b = append(u32(append(b, kindFail), m.Sequence), m.Why...)
	default:
		return fmt.Errorf("shard: no message %T", m)
	}
	binary.LittleEndian.PutUint32(b, uint32(len(b)-4))
	e.buf = b
	_, err := e.w.Write(b)
	return err
}

func u32(b []byte, values ...uint32) []byte {
	for _, v := range values {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	return b
}

func appendToken(b []byte, t *token) []byte {
	b = u32(b, t.Sequence, uint32(t.Position), uint32(t.ID), math.Float32bits(t.Logprob))
	b = append(b, byte(len(t.Top)))
	for _, o := range t.Top {
		b = u32(b, uint32(o.ID), math.Float32bits(o.Logprob))
	}
	return b
}

// decoder reads messages. row is the bytes of a row; 0: none may come.
type decoder struct {
	r   *bufio.Reader
	row int
	buf []byte
}

func newDecoder(r io.Reader) *decoder { return &decoder{r: bufio.NewReaderSize(r, 64<<10)} }

// hello reads what a stream begins with.
func (d *decoder) hello() (*hello, error) {
	m, err := d.read()
	if err != nil {
		return nil, err
	}
	h, ok := m.(*hello)
	if !ok {
		return nil, malformed("a stream that does not begin with hello")
	}
	return h, nil
}

// read returns the next message, which is valid until the one after. Memory grows
// with what has arrived, not with what is said to come.
func (d *decoder) read() (any, error) {
	var head [4]byte
	if _, err := io.ReadFull(d.r, head[:]); err != nil {
		return nil, err
	}
	n := int(binary.LittleEndian.Uint32(head[:]))
	if n < 1 || n > maxMessage {
		return nil, malformed("%d bytes", n)
	}
	d.buf = d.buf[:0]
	for len(d.buf) < n {
		piece := min(n-len(d.buf), 1<<20)
		at := len(d.buf)
		d.buf = append(d.buf, make([]byte, piece)...)
		if _, err := io.ReadFull(d.r, d.buf[at:]); err != nil {
			return nil, io.ErrUnexpectedEOF
		}
	}
	return parse(d.buf[0], &fields{b: d.buf[1:]}, d.row)
}

// fields takes numbers from a message. What is missing is zero, and makes bad true.
type fields struct {
	b   []byte
	bad bool
}

func (f *fields) take(n int) []byte {
	if n < 0 || n > len(f.b) {
		f.bad, f.b = true, nil
		return make([]byte, max(n, 0)%64)
	}
	v := f.b[:n]
	f.b = f.b[n:]
	return v
}

func (f *fields) u8() byte     { return f.take(1)[0] }
func (f *fields) u16() uint16  { return binary.LittleEndian.Uint16(f.take(2)) }
func (f *fields) u32() uint32  { return binary.LittleEndian.Uint32(f.take(4)) }
func (f *fields) f32() float32 { return math.Float32frombits(f.u32()) }

// parse reads a message whose kind is known.
func parse(kind byte, f *fields, row int) (any, error) {
	m, err := parseKind(kind, f, row)
	switch {
	case err != nil:
		return nil, err
	case f.bad:
		return nil, malformed("kind %d is too short", kind)
	case len(f.b) > 0:
		return nil, malformed("kind %d has %d bytes too many", kind, len(f.b))
	}
	return m, nil
}

func parseKind(kind byte, f *fields, row int) (any, error) {
	switch kind {
	case kindHello:
		if v := f.u8(); v != version {
			return nil, malformed("version %d, this is %d", v, version)
		}
		m := &hello{}
		copy(m.Line[:], f.take(len(m.Line)))
		m.Epoch, m.Stage = f.u32(), f.u16()
		return m, nil
	case kindHave:
		return parseHave(f)
	case kindOpen:
		m := &opened{Sequence: f.u32(), Prompt: f.u32(), Limit: f.u32()}
		if len(f.b) > maxOpening {
			return nil, malformed("an opening of %d bytes", len(f.b))
		}
		m.Opening = f.take(len(f.b))
		return m, nil
	case kindRows:
		return parseRows(f, row)
	case kindEnd:
		return &ended{f.u32()}, nil
	case kindDrawn:
		return parseDrawn(f)
	case kindFail:
		m := &failed{Sequence: f.u32()}
		if len(f.b) > maxWords || !utf8.Valid(f.b) {
			return nil, malformed("a reason of %d bytes", len(f.b))
		}
		m.Why = string(f.take(len(f.b)))
		return m, nil
	}
	return nil, malformed("kind %d", kind)
}

func parseHave(f *fields) (any, error) {
	n := int(f.u32())
	if n > maxSequences || len(f.b) != 8*n {
		return nil, malformed("%d sequences in %d bytes", n, len(f.b))
	}
	m := &have{Logs: make([]length, n)}
	for i := range m.Logs {
		m.Logs[i] = length{f.u32(), f.u32()}
	}
	return m, nil
}

func parseRows(f *fields, row int) (any, error) {
	n := int(f.u16())
	if n > maxSpans || len(f.b) < 12*n {
		return nil, malformed("%d spans in %d bytes", n, len(f.b))
	}
	m := &rows{Spans: make([]span, n)}
	all := 0
	for i := range m.Spans {
		s := span{f.u32(), f.u32(), f.u32()}
		if s.Count == 0 || s.Count > maxMessage || s.First > math.MaxInt32 {
			return nil, malformed("%d positions from %d on", s.Count, s.First)
		}
		m.Spans[i] = s
		all += int(s.Count)
	}
	if len(f.b) != row*all {
		return nil, malformed("%d bytes for %d rows of %d", len(f.b), all, row)
	}
	m.Data = f.take(len(f.b))
	return m, nil
}

func parseDrawn(f *fields) (any, error) {
	n := int(f.u16())
	if n > maxSpans {
		return nil, malformed("%d tokens", n)
	}
	m := &drawn{Tokens: make([]token, n)}
	for i := range m.Tokens {
		t := &m.Tokens[i]
		t.Sequence, t.Position, t.ID, t.Logprob = f.u32(), int(f.u32()), int32(f.u32()), f.f32()
		top := int(f.u8())
		if top > maxTop || t.Position > math.MaxInt32 {
			return nil, malformed("a token at position %d with %d others", t.Position, top)
		}
		for range top {
			t.Top = append(t.Top, llm.Alternative{ID: int32(f.u32()), Logprob: f.f32()})
		}
	}
	return m, nil
}
