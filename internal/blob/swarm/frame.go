package swarm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"atoll/internal/blob"
	"atoll/internal/core"
)

// Protocol is the name of streams that carry chunks.
const Protocol = "atoll-blobs/1"

// Kinds of messages.
const (
	askOpen   = 'o'
	askChunk  = 'g'
	tellAll   = 'a'
	tellHave  = 'h'
	tellChunk = 'c'
	tellNo    = 'n'
)

// Bounds of messages.
const (
	frameHeader = 5
	openSize    = len(core.Digest{}) + 8 + 4
	maxHave     = 4096 // numbers in one message
	maxText     = 300
	maxAsked    = 8 // chunks that one stream may have to send
)

var errFrame = errors.New("not the protocol " + Protocol)

// ask is a message of the one who asks.
type ask struct {
	kind   byte
	digest core.Digest // of an open, as the next two
	size   int64
	chunk  int64
	n      uint32 // of a chunk
}

// tell is a message of a holder.
type tell struct {
	kind   byte
	chunks []uint32
	n      uint32 // of a chunk, of which data are the bytes
	data   []byte
	text   string
}

// head appends what a message begins with.
func head(b []byte, kind byte, length int) []byte {
	return binary.BigEndian.AppendUint32(append(b, kind), uint32(length))
}

func readHead(r io.Reader) (kind byte, length int, err error) {
	var b [frameHeader]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return 0, 0, err
	}
	if n := binary.BigEndian.Uint32(b[1:]); n <= blob.MaxChunk+4 {
		return b[0], int(n), nil
	}
	return 0, 0, fmt.Errorf("%w: a message of %d bytes", errFrame, binary.BigEndian.Uint32(b[1:]))
}

func (a *ask) append(b []byte) []byte {
	if a.kind == askChunk {
		return binary.BigEndian.AppendUint32(head(b, askChunk, 4), a.n)
	}
	b = append(head(b, askOpen, openSize), a.digest[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(a.size))
	return binary.BigEndian.AppendUint32(b, uint32(a.chunk))
}

// readAsk reads a message of the one who asks.
func readAsk(r io.Reader) (a ask, err error) {
	var length int
	if a.kind, length, err = readHead(r); err != nil {
		return a, err
	}
	var b [openSize]byte
	switch {
	case a.kind == askOpen && length == openSize:
		if _, err := io.ReadFull(r, b[:]); err != nil {
			return a, err
		}
		a.digest = core.Digest(b[:len(a.digest)])
		a.size = int64(binary.BigEndian.Uint64(b[len(a.digest):]))
		a.chunk = int64(binary.BigEndian.Uint32(b[len(a.digest)+8:]))
		if a.size < 0 || a.chunk < blob.MinChunk || a.chunk > blob.MaxChunk || a.digest.IsZero() {
			return a, fmt.Errorf("%w: asked for %d bytes in chunks of %d", errFrame, a.size, a.chunk)
		}
	case a.kind == askChunk && length == 4:
		if _, err := io.ReadFull(r, b[:4]); err != nil {
			return a, err
		}
		a.n = binary.BigEndian.Uint32(b[:])
	default:
		return a, fmt.Errorf("%w: asked with kind %q of %d bytes", errFrame, a.kind, length)
	}
	return a, nil
}

// sayHave tells of chunks, at most maxHave.
func sayHave(chunks []uint32) []byte {
	b := head(nil, tellHave, 4*len(chunks))
	for _, n := range chunks {
		b = binary.BigEndian.AppendUint32(b, n)
	}
	return b
}

func sayNo(text string) []byte {
	text = core.Clip(text, maxText)
	return append(head(nil, tellNo, len(text)), text...)
}

// readTell reads a message of a holder; a chunk is read into buf, which is as long as
// one may be.
func readTell(r io.Reader, buf []byte) (t tell, err error) {
	var length int
	if t.kind, length, err = readHead(r); err != nil {
		return t, err
	}
	switch {
	case t.kind == tellAll && length == 0:
	case t.kind == tellHave && length%4 == 0 && length <= 4*maxHave:
		b := make([]byte, length)
		if _, err := io.ReadFull(r, b); err != nil {
			return t, err
		}
		for ; len(b) > 0; b = b[4:] {
			t.chunks = append(t.chunks, binary.BigEndian.Uint32(b))
		}
	case t.kind == tellChunk && length >= 4 && length-4 <= len(buf):
		var b [4]byte
		if _, err := io.ReadFull(r, b[:]); err != nil {
			return t, err
		}
		t.n, t.data = binary.BigEndian.Uint32(b[:]), buf[:length-4]
		if _, err := io.ReadFull(r, t.data); err != nil {
			return t, err
		}
	case t.kind == tellNo && length <= maxText:
		b := make([]byte, length)
		if _, err := io.ReadFull(r, b); err != nil {
			return t, err
		}
		t.text = core.Clip(string(b), maxText)
	default:
		return t, fmt.Errorf("%w: told with kind %q of %d bytes", errFrame, t.kind, length)
	}
	return t, nil
}
