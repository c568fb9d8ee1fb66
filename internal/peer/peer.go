package peer

import (
	"context"
	"errors"
	"io"
	"net"

	"atoll/internal/core"
)

// Address says who a node is and where it can be dialled.
type Address struct {
	Node core.NodeID `json:"node"`
	Key  core.Digest `json:"key"`          // of its public key (SubjectPublicKeyInfo)
	At   []string    `json:"at,omitempty"` // for Config.Dial, tried in order; none: it has to dial us
}

// Peer is the node at the other end of a stream.
type Peer struct {
	Node core.NodeID
	Key  core.Digest
}

// Stream is an ordered, reliable sequence of bytes in each direction. Close ends
// both.
type Stream interface {
	net.Conn
	Peer() Peer
}

// Handler serves one stream that a peer has opened, which is closed when it
// returns. ctx ends with the Endpoint.
type Handler func(ctx context.Context, s Stream)

// Dial makes a connection that carries bytes to an address.
type Dial func(ctx context.Context, at string) (net.Conn, error)

// Failures of Open. Those that the caller has brought about are core.Errors.
var (
	ErrUnreachable = errors.New("the peer cannot be reached")
	ErrIdentity    = errors.New("the peer is not who it should be")
	ErrProtocol    = errors.New("the peer does not speak this protocol")
	ErrClosed      = errors.New("the endpoint is closed")
)

// MaxName bounds the name of a protocol, in bytes.
const MaxName = 64

// Answers to a stream's name.
const (
	taken   = 0
	unknown = 1
)

// writeName begins a stream.
func writeName(w io.Writer, name string) error {
	_, err := w.Write(append([]byte{byte(len(name))}, name...))
	return err
}

// readName reads what a stream begins with.
func readName(r io.Reader) (string, error) {
	var b [1 + MaxName]byte
	if _, err := io.ReadFull(r, b[:1]); err != nil {
		return "", err
	}
	if b[0] == 0 || b[0] > MaxName {
		return "", ErrProtocol
	}
	name := b[1 : 1+b[0]]
	if _, err := io.ReadFull(r, name); err != nil {
		return "", err
	}
	return string(name), nil
}
