package sandbox

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
)

const (
	headerSize = 5
	ioBuffer   = 64 << 10 // one pipe full
	growStep   = 1 << 20  // what an unproven length may reserve at a time
	keepBuffer = 1 << 20  // a larger body buffer is not kept for later frames

	// kindHello is the kind of a child's first frame; workers use 0 to 254.
	kindHello = 255
)

// ErrFrame means that the other side sent something that is not a frame.
var ErrFrame = errors.New("bad frame")

// Frame is one message. Its body is valid until the next call of Next.
type Frame struct {
	Kind byte
	Body []byte
}

// Reader reads frames from a pipe.
type Reader struct {
	r   *bufio.Reader
	max int
	buf []byte
}

// NewReader returns a Reader that refuses bodies of more than max bytes.
func NewReader(r io.Reader, max int) *Reader {
	return &Reader{r: bufio.NewReaderSize(r, ioBuffer), max: max}
}

// Next returns the next frame. It returns io.EOF at the end between two frames,
// io.ErrUnexpectedEOF inside one, and ErrFrame for a body over the limit.
func (r *Reader) Next() (Frame, error) {
	head, err := r.r.Peek(headerSize)
	if err != nil {
		if len(head) > 0 && errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return Frame{}, err
	}
	size, kind := binary.LittleEndian.Uint32(head), head[4]
	_, _ = r.r.Discard(headerSize) // was peeked
	if uint64(size) > uint64(r.max) {
		return Frame{}, fmt.Errorf("%w: kind %d with a body of %d bytes, limit %d", ErrFrame, kind, size, r.max)
	}
	if err := r.fill(int(size)); err != nil {
		return Frame{}, err
	}
	return Frame{Kind: kind, Body: r.buf}, nil
}

// fill reads n bytes into r.buf, growing it only as they come.
func (r *Reader) fill(n int) error {
	if cap(r.buf) > keepBuffer && n <= keepBuffer {
		r.buf = nil
	}
	r.buf = r.buf[:0]
	for len(r.buf) < n {
		at := len(r.buf)
		step := min(n-at, growStep)
		r.buf = slices.Grow(r.buf, step)[:at+step]
		if _, err := io.ReadFull(r.r, r.buf[at:]); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
	}
	return nil
}

// Writer writes frames to a pipe. Nothing need arrive before Flush, so that
// several small frames share one system call and one wake-up.
type Writer struct {
	w   *bufio.Writer
	max int
}

// NewWriter returns a Writer that refuses bodies of more than max bytes.
func NewWriter(w io.Writer, max int) *Writer {
	return &Writer{w: bufio.NewWriterSize(w, ioBuffer), max: max}
}

// Put adds one frame, whose body is the pieces one after the other.
func (w *Writer) Put(kind byte, pieces ...[]byte) error {
	size := 0
	for _, p := range pieces {
		size += len(p)
	}
	if size > w.max {
		return fmt.Errorf("%w: kind %d with a body of %d bytes, limit %d", ErrFrame, kind, size, w.max)
	}
	var head [headerSize]byte
	binary.LittleEndian.PutUint32(head[:], uint32(size))
	head[4] = kind
	if _, err := w.w.Write(head[:]); err != nil {
		return err
	}
	for _, p := range pieces {
		if _, err := w.w.Write(p); err != nil {
			return err
		}
	}
	return nil
}

// Flush sends what Put has gathered.
func (w *Writer) Flush() error { return w.w.Flush() }
