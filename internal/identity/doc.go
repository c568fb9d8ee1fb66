// Package identity holds who is who: the long-lived keys of nodes and hubs, the
// secrets that let a node or a client in, the hub's own certificate authority,
// and the two things that are signed outside of receipts, namely a node's request
// to join and the leases a hub hands out.
//
// # Keys on disk
//
// A key lives in its own file NAME.pem in a directory that only its owner may
// read: PKCS#8 in PEM, mode 0600. It is made once and never overwritten; two
// processes that start together end up with the same key. A file that others
// may read is refused, because its secret must be taken as known.
//
//	node, hub identity   ECDSA P-256 (Key)     receipts, verdicts, leases, TLS
//	log, webhook         Ed25519               checkpoints, callbacks
//	messaging            Ed25519 as an nkey    see LoadOrCreateNkey
//
// # Wire forms
//
// A token (join token or API key) is one line of text:
//
//	atl_join_ or atl_key_ | base32( secret:32 | pin:0 or 32 | crc32:4 )
//
// in lower-case Crockford base 32 without padding. The checksum covers the
// prefix and what precedes it, and only catches typing errors. The pin of a join
// token is the SHA-256 of the hub's CA public key, so that the one secret a
// provider copies also tells the node which hub to trust. Only a token's hash is
// ever stored.
//
// A sealed message, by which a hub signs a batch of leases, is binary:
//
//	"ATS1" | SHA-256 of the signer's public key:32 | n:1 | signature:n | payload
//
// The signature is ECDSA P-256 over the SHA-256 of the DSSE pre-authentication
// encoding of (payload type, payload). The payload type is not on the wire: the
// reader knows what it expects, and a message sealed for another purpose fails.
package identity
