package conformance

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"

	bundlepb "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"

	"atoll/internal/core"
)

// tampered are copies of the fixture that a verifier must refuse.
type tampered struct {
	name   string
	bundle []byte
	result []byte
	root   []byte
}

func (f *fixture) tampered(t testing.TB) []tampered {
	t.Helper()
	edit := func(change func(*bundlepb.Bundle)) []byte {
		var b bundlepb.Bundle
		if err := protojson.Unmarshal(f.bundle, &b); err != nil {
			t.Fatal(err)
		}
		change(&b)
		return must[[]byte](t)(protojson.Marshal(&b))
	}
	forged := []byte("account_blocked\n")
	swap := func(payload []byte) []byte {
		return []byte(strings.ReplaceAll(string(payload), core.DigestOf(result).Hex(), core.DigestOf(forged).Hex()))
	}
	return []tampered{
		{"changed result", f.bundle, forged, f.root},
		{"changed statement", edit(func(b *bundlepb.Bundle) {
			e := b.GetDsseEnvelope()
			e.Payload = swap(e.GetPayload())
		}), forged, f.root},
		// The node itself signs another statement, which is not in the log.
		{"re-signed statement", edit(func(b *bundlepb.Bundle) {
			e := b.GetDsseEnvelope()
			e.Payload = swap(e.GetPayload())
			pae := fmt.Sprintf("DSSEv1 %d %s %d %s", len(e.GetPayloadType()), e.GetPayloadType(), len(e.GetPayload()), e.GetPayload())
			digest := sha256.Sum256([]byte(pae))
			e.Signatures[0].Sig = must[[]byte](t)(ecdsa.SignASN1(nil, f.node, digest[:]))
		}), forged, f.root},
		{"changed proof", edit(func(b *bundlepb.Bundle) {
			b.GetVerificationMaterial().GetTlogEntries()[0].GetInclusionProof().Hashes[1][7] ^= 1
		}), result, f.root},
		{"changed index", edit(func(b *bundlepb.Bundle) {
			e := b.GetVerificationMaterial().GetTlogEntries()[0]
			e.LogIndex++
			e.GetInclusionProof().LogIndex++
		}), result, f.root},
		{"changed checkpoint", edit(func(b *bundlepb.Bundle) {
			c := b.GetVerificationMaterial().GetTlogEntries()[0].GetInclusionProof().GetCheckpoint()
			c.Envelope = strings.Replace(c.GetEnvelope(), "\n700\n", "\n701\n", 1)
		}), result, f.root},
		{"changed root", edit(func(b *bundlepb.Bundle) {
			c := b.GetVerificationMaterial().GetTlogEntries()[0].GetInclusionProof().GetCheckpoint()
			lines := strings.SplitN(c.GetEnvelope(), "\n", 4)
			lines[2] = base64.StdEncoding.EncodeToString(make([]byte, 32))
			c.Envelope = strings.Join(lines, "\n")
		}), result, f.root},
		{"wrong log key", f.bundle, result, f.wrongRoot},
	}
}
