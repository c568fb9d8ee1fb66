// Package peer carries streams directly between nodes: the frames of models that
// are served by several machines, and blobs.
//
//	Endpoint.Open ─> yamux stream ─> TLS 1.3, both sides ─> TCP, the hub's relay, memory
//	                                                            │
//	Handler of the protocol <─ yamux stream <─ TLS 1.3 <────────┘
//
// A node shows the certificate that the hub's CA has given it and takes no other
// node for one of the hub's. Whoever dials also knows the key that it expects, from
// the hub's sealed word: so neither a node with a valid certificate of its own nor
// whoever carries the bytes can stand in for another. Who may ask what is for the
// protocol's handler to say.
//
// One connection between two nodes carries all their streams, in both directions,
// whoever has dialled. It is made when the first stream is opened, kept while it
// lives, and made again by the next Open. A node's addresses are dialled best first, each
// with a head start over the next: one that swallows what it is sent costs a second, not
// the stream. Each stream has a window of its own, so
// that one that is not read holds up no other, and holds no more than MaxWindow
// bytes.
//
// # Format
//
// Within TLS with the ALPN name "atoll-peer/1" is a yamux session. A stream begins
// with the length of its protocol's name in one byte, and the name. The answer is
// one byte: 0, and the stream is the protocol's; or 1, the name is not known, and
// the stream ends.
package peer
