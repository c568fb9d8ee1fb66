package peer

import (
	"bytes"
	"encoding/binary"
	"net"
	"slices"
	"testing"
)

// writes notes what is written, piece by piece.
type writes struct {
	net.Conn
	pieces [][]byte
}

func (w *writes) Write(b []byte) (int, error) {
	w.pieces = append(w.pieces, bytes.Clone(b))
	return len(b), nil
}

// A body goes out together with its header, and everything in order.
func TestJoined(t *testing.T) {
	t.Parallel()
	header := func(kind byte, length int) []byte {
		h := make([]byte, muxHeader)
		h[1] = kind
		binary.BigEndian.PutUint32(h[8:], uint32(length))
		return h
	}
	w := &writes{}
	c := &joined{Conn: w}
	var all []byte
	var want []int
	for _, f := range []struct {
		kind   byte
		body   int
		pieces []int
	}{
		{muxData, 5, []int{muxHeader + 5}},
		{1, 0, []int{muxHeader}},
		{muxData, 0, []int{muxHeader}},
		{muxData, muxHeader, []int{2 * muxHeader}}, // a body as long as a header
		{muxData, maxJoined + 1, []int{muxHeader, maxJoined + 1}},
		{muxData, maxJoined, []int{muxHeader + maxJoined}},
	} {
		body := bytes.Repeat([]byte{0}, f.body) // may look like a header
		for _, b := range [][]byte{header(f.kind, f.body), body} {
			if len(b) == 0 {
				continue
			}
			if n, err := c.Write(b); n != len(b) || err != nil {
				t.Fatalf("%d of %d bytes: %v", n, len(b), err)
			}
			all = append(all, b...)
		}
		want = append(want, f.pieces...)
	}
	var got []int
	for _, p := range w.pieces {
		got = append(got, len(p))
	}
	if !bytes.Equal(bytes.Join(w.pieces, nil), all) {
		t.Error("other bytes than were written")
	}
	if !slices.Equal(got, want) {
		t.Errorf("pieces of %v bytes, want %v", got, want)
	}
}
