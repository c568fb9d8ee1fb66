// Package swarm brings the bytes of models from whoever has them: other nodes, and the
// hub where no node does. What comes is checked chunk by chunk against a manifest
// (package blob) and kept in the node's cache, so that a transfer goes on where it was
// when its process was killed, and one that needs some ranges fetches no others.
//
//	          Origin: manifest, and chunks that nobody else has (the hub, HTTP)
//	             │
//	File ─> transfer ─> blob.Part (cache) ─> Handler ─> other nodes' transfers
//	             │
//	          peers that Config.Sources names ("atoll-blobs/1")
//
// Several nodes that fetch the same content at the same time give one another what they
// have, so that about one copy leaves the first holder. Three rules make it so. What a
// fellow has, one who is fetching too, is not asked of those who have all, unless the
// fellow leaves it lying for some seconds. Of what only they have, the rarest goes first.
// And of equally rare chunks each node begins with those that the lot, cast over the
// nodes' keys, gives to it, so that no two ask for the same.
//
// A peer is no authority on anything. A chunk with a wrong digest ends its part in the
// transfer; one that keeps what it was asked for to itself is passed over, and then
// dropped. Only Origin's word is taken for which chunks a content has, and the digest of
// the whole proves that in the end, where a whole is fetched: a wrong manifest can have
// a range read wrong, and no more than that.
//
// # Protocol
//
// A stream of the protocol "atoll-blobs/1" (package peer) is about one content, and
// chunks move on it from the node that was dialled, the holder, to the one that has
// opened it. For both directions there are two streams. Messages are
//
//	kind    1 byte
//	length  4 bytes, of what follows
//
// with integers in big-endian order. From the one who asks come
//
//	'o' digest (32 bytes), size (8), chunk size (4)    first, and once
//	'g' chunk number (4)                               give me; at most 8 that are unanswered
//
// and from the holder
//
//	'a'                                        I have all chunks
//	'h' chunk numbers (4 each, up to 4,096)    I have these, too: at once, and as they come
//	'c' chunk number (4), its bytes            in the order asked
//	'n' text (up to 300 bytes)                 no, and why; the stream ends
//
// Only chunks that the holder has told of may be asked for.
package swarm
