// Package receipt builds, signs and checks the statements that everything
// else in Atoll is settled by: a node's execution receipt, which says what it
// computed under which leases, a hub's verdict, which says which of these
// count, and a hub's word on a round of federated learning. Whoever holds a receipt
// can check it offline, with this package or with tools that others wrote (cosign,
// sigstore-go).
//
// # Layers
//
//	statement   in-toto Statement v1; one subject for each lease: its name is the
//	            lease ID, its sha256 the result; of a Round the model that came of it.
//	            Predicate: Execution, Verdict or Round.
//	envelope    DSSE, payload type application/vnd.in-toto+json, one signature:
//	            ECDSA P-256 with SHA-256 over the pre-authentication encoding (PAE)
//	leaf        what the log stores: a hashedrekord 0.0.2 entry in canonical JSON
//	            (RFC 8785) with the SHA-256 of the PAE, signature and public key
//	bundle      Sigstore bundle v0.3: envelope, leaf, inclusion proof, checkpoint
//
// A receipt's digest is the SHA-256 of its PAE. It covers the statement and not
// the signature (of which ECDSA allows many), and it is the digest in the leaf.
// Signatures by keys of crypto/ecdsa are deterministic: signing again after a
// crash gives the same leaf.
//
// The subject of a failed lease is the SHA-256 of its error text. Statements
// hold integers, strings and digests only, no floats and no maps. They are read
// strictly at every level: unknown or doubled members, trailing data, subjects
// that are not the leases' results are refused.
//
// # Whom one trusts
//
// Check takes up to three kinds of keys from its caller, and proves only what
// they carry:
//
//   - The signer's public key, got from the node's owner or the hub, says who
//     made the statement. Without it Check takes the key that the log entry
//     names: the statement was signed by whoever holds that key and has not been
//     changed, but the node's name in it is only a claim.
//   - The log's key (trusted root) says that the statement is public in a log
//     that its hub cannot quietly rewrite. It does not say that it is true.
//   - A witness' key says that somebody else saw the log only grow.
//
// That a result is right is said by a verdict, and its signer is the hub. The
// times in a statement are its signer's own.
//
// Norms: in-toto Statement v1, DSSE v1, Sigstore bundle v0.3 and trusted root
// v0.1, rekor hashedrekord 0.0.2, RFC 8785; for the log see package tlog.
package receipt
