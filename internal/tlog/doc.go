// Package tlog is the transparency log's public face: a Merkle tree over the
// leaves that live in SQL, laid out as C2SP tlog-tiles, with signed checkpoints
// and proofs. It gives out no index and owns no leaf; it can be thrown away and
// rebuilt from the leaves at any time.
//
// # Layout
//
// Hashes are those of RFC 6962, as in golang.org/x/mod/sumdb/tlog:
//
//	leaf  SHA-256(0x00 | body)        body ≤ 65,535 bytes
//	node  SHA-256(0x01 | left | right)
//
// Tiles are 8 levels high. Tile N of level L holds 256 hashes of 32 bytes, those
// of level 8·L of the tree from 256·N on. Full tiles are files of 8,192 bytes,
//
//	DIR/tile/L/NNN or DIR/tile/L/xNNN/NNN     (C2SP: 1234067 is x001/x234/067)
//
// and are never changed. The right edge (fewer than 256 hashes for each level)
// is kept in memory. A partial tile is a prefix of the full one, so it needs no
// file: it is cut from the edge or from the full tile when it is asked for.
//
// A checkpoint is a C2SP tlog-checkpoint in a signed note:
//
//	<origin>\n<size>\n<base64 root>\n[extension lines\n]\n— <origin> <base64 signature>\n
//
// signed with Ed25519 and, if witnesses take part, cosigned (tlog-cosignature,
// cosignature/v1). The log's ID is the SHA-256 that a note's 4-byte key ID is the
// beginning of, which is also what a Sigstore trusted root calls logId.keyId:
//
//	SHA-256(<origin> | "\n" | 0x01 | Ed25519 public key:32)
//
// # What must hold
//
// A published checkpoint is never contradicted. Covered refuses to start on a
// database that has lost leaves which a checkpoint covers, Open refuses leaves
// that do not give the published root, and Next refuses a smaller or a forked
// tree. Tiles on disk may be missing or torn after a crash: Open uses only those
// below the published size, only if together they give the published root, and
// makes the others again from the leaves.
//
// Specs: c2sp.org/tlog-tiles, c2sp.org/tlog-checkpoint, c2sp.org/signed-note,
// c2sp.org/tlog-cosignature.
package tlog
