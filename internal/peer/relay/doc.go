// Package relay carries connections between nodes through their hub, for those that
// cannot be dialled. It is a carrier for package peer, as TCP is: the two nodes speak
// TLS with one another inside, so that the hub sees who talks to whom, when and how
// much, and can end it, but neither read nor change what is said.
//
//	Endpoint.Open ─> Client.Dial ──HTTP upgrade──> Hub ──yamux stream──> Listener ─> Endpoint.Serve
//	   (node a)                                   circuit                  (node b, which has
//	                                                                        dialled the hub)
//
// A node that takes connections keeps one to the hub, its attachment. For each that is
// relayed to it, the hub opens a stream within, and joins it to the connection on which
// the other node has asked: a circuit. Whoever only dials needs no attachment.
//
// # Format
//
// Both are HTTP/1.1 requests without a body, with a node's API key:
//
//	GET /v1/node/relay HTTP/1.1           attach
//	GET /v1/node/relay/NODE HTTP/1.1      connect to NODE
//	Authorization: Bearer atl_key_…
//	Connection: Upgrade
//	Upgrade: atoll-relay/1
//
// A reverse proxy in front of the hub has to pass upgrades on, as for WebSockets. What
// comes after "101 Switching Protocols" is no HTTP any more. Refusals are problem
// documents:
//
//	400 invalid         no upgrade to atoll-relay/1 was asked for, or a node asks for itself
//	401, 403            the key is not known, or no node's
//	429 rate-limited    the node's owner has asked too often; Retry-After says when
//	503 unavailable     NODE is not attached; or it, the asking node, that node's owner or
//	                    the hub has as many connections as it may; or the hub is about to end
//
// An attachment is a yamux session in which the hub opens streams, and refuses those of
// the node. A stream begins with the length of the asking node's name in one byte (1 to
// 63), and the name: the hub's word, good for logs alone. All that follows, and all
// that goes back, is the other node's bytes. Both sides ping every 10 seconds, and take
// one that has not answered within 15 for dead; so the hub knows how far its nodes are. A node has one attachment: the newest
// ends the one before.
//
// A connection, once made, carries bytes as they are, until one side closes it. The
// peers' TLS begins with the asking node's ClientHello. An end that sends nothing for 30
// seconds (peers ping every 5), or takes nothing for as long, is dead, and ends it.
//
// # Limits
//
// The hub holds no more than Window bytes of a circuit in each direction, beside what
// the operating system does: whoever sends waits until the other side reads. Circuits
// are bounded in total, for each node, and for each account to half of the total; how often
// an account may ask is bounded, too.
// Once a node's key is void its attachment and its circuits end at once.
package relay
