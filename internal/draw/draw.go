// Package draw is the lot that decides whether a result is run again by another
// owner. Neither side can choose it, and everybody can cast it again later:
//
//   - the hub makes a secret for each lease and commits itself in the lease to
//     SHA-256(secret), which the node's receipt repeats: so the hub cannot choose
//     the secret when it has seen the result;
//   - the node signs its receipt without knowing the secret: so it cannot know
//     whether it will be checked;
//   - the requester may add a nonce of its own: so nothing that was prepared before
//     the task was submitted escapes;
//   - the verdict reveals the secret.
//
// A hub that betrays its secret to a node is not held by this: the two can sign
// receipts until the lot falls as they like.
//
// The lot is SHA-256 of four lines of text,
//
//	atoll draw v1
//	SECRET
//	NONCE
//	RECEIPT
//
// without a line end after the last. SECRET is as the verdict reveals it, NONCE
// the requester's or empty, RECEIPT the receipt's digest, "sha256:" and 64 hex
// digits. The first eight bytes, read as a big-endian number and divided by 2^64,
// are a share from 0 to 1; the result is run again if that is under the rate. It
// is pure.
package draw

import (
	"encoding/binary"
	"fmt"
	"math/bits"

	"atoll/internal/core"
)

// Always is the rate at which every result is drawn: rates are in millionths.
const Always = 1_000_000

// Commit is what a lease says of its secret.
func Commit(secret string) core.Digest { return core.DigestOf([]byte(secret)) }

// Lot decides about one receipt.
type Lot core.Digest

// Cast returns a receipt's lot. Secret and nonce hold no line ends.
func Cast(secret, nonce string, receipt core.Digest) Lot {
	return Lot(core.DigestOf(fmt.Appendf(nil, "atoll draw v1\n%s\n%s\n%s", secret, nonce, receipt)))
}

// Under reports whether the lot falls under a rate, in millionths.
func (l Lot) Under(rate int64) bool {
	share, _ := bits.Mul64(binary.BigEndian.Uint64(l[:8]), Always)
	return int64(share) < rate
}
