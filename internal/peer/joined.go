package peer

import (
	"encoding/binary"
	"net"
)

// joined writes a frame's header together with its body. yamux writes one after the
// other, which would be two TLS records, two system calls, and a receiver that is
// woken twice for each message.
type joined struct {
	net.Conn
	buf  []byte
	held bool // buf is a header whose body is to come
}

// JoinFrames returns c for a yamux session that writes each frame at once.
func JoinFrames(c net.Conn) net.Conn { return &joined{Conn: c} }

// A header of yamux: version, type, flags of two bytes, a stream's number and a
// length of four bytes each. Type 0 is data, which alone has a body.
const (
	muxHeader = 12
	muxData   = 0
	// maxJoined is the longest body that is worth a copy.
	maxJoined = 64 << 10
)

// Write is called by yamux's one sending goroutine: with a header and then, if that
// says so, with the body.
func (c *joined) Write(b []byte) (int, error) {
	if !c.held {
		if len(b) != muxHeader || b[1] != muxData || binary.BigEndian.Uint32(b[8:]) == 0 {
			return c.Conn.Write(b)
		}
		c.buf, c.held = append(c.buf[:0], b...), true
		return len(b), nil
	}
	c.held = false
	if len(b) > maxJoined {
		if _, err := c.Conn.Write(c.buf); err != nil {
			return 0, err
		}
		return c.Conn.Write(b)
	}
	c.buf = append(c.buf, b...)
	n, err := c.Conn.Write(c.buf)
	return max(n-muxHeader, 0), err
}
