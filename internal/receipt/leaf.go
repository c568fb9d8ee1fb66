package receipt

import (
	"bytes"
	"encoding/base64"
	"fmt"

	"atoll/internal/core"
)

// Kind and version of a log entry.
const (
	leafKind    = "hashedrekord"
	leafVersion = "0.0.2"
	leafDetails = "PKIX_ECDSA_P256_SHA_256"
)

// appendLeaf writes the log entry for a signature over a PAE with the given
// digest. The text is canonical JSON (RFC 8785: members sorted, no space), put
// together by hand since it is made for every receipt; base64 needs no escapes.
func appendLeaf(digest core.Digest, sig []byte, k Key) []byte {
	b64 := base64.StdEncoding
	b := make([]byte, 0, 512)
	b = append(b, `{"apiVersion":"`+leafVersion+`","kind":"`+leafKind+`","spec":{"hashedRekordV002":{"data":{"algorithm":"SHA2_256","digest":"`...)
	b = b64.AppendEncode(b, digest[:])
	b = append(b, `"},"signature":{"content":"`...)
	b = b64.AppendEncode(b, sig)
	b = append(b, `","verifier":{"keyDetails":"`+leafDetails+`","publicKey":{"rawBytes":"`...)
	b = append(b, k.der64...)
	return append(b, `"}}}}}}`...)
}

// leafJSON is a log entry as JSON sees it.
type leafJSON struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Spec       struct {
		V002 struct {
			Data struct {
				Algorithm string `json:"algorithm"`
				Digest    []byte `json:"digest"`
			} `json:"data"`
			Signature struct {
				Content  []byte `json:"content"`
				Verifier struct {
					KeyDetails string `json:"keyDetails"`
					PublicKey  struct {
						RawBytes []byte `json:"rawBytes"`
					} `json:"publicKey"`
				} `json:"verifier"`
			} `json:"signature"`
		} `json:"hashedRekordV002"`
	} `json:"spec"`
}

// leaf is a parsed log entry.
type leaf struct {
	digest core.Digest
	sig    []byte
	key    Key
}

// parseLeaf reads a log entry. Only the canonical text is taken, so that no two
// leaves mean the same.
func parseLeaf(body []byte) (leaf, error) {
	var j leafJSON
	if len(body) > maxLeaf {
		return leaf{}, fmt.Errorf("%w: entry is larger than %d bytes", ErrEntry, maxLeaf)
	}
	if err := strict(body, &j); err != nil {
		return leaf{}, fmt.Errorf("%w: %w", ErrEntry, err)
	}
	d := j.Spec.V002.Data.Digest
	if len(d) != len(core.Digest{}) {
		return leaf{}, fmt.Errorf("%w: digest of %d bytes", ErrEntry, len(d))
	}
	k, err := ParseKey(j.Spec.V002.Signature.Verifier.PublicKey.RawBytes)
	if err != nil {
		return leaf{}, fmt.Errorf("%w: %w", ErrEntry, err)
	}
	l := leaf{core.Digest(d), j.Spec.V002.Signature.Content, k}
	if !bytes.Equal(appendLeaf(l.digest, l.sig, l.key), body) {
		return leaf{}, fmt.Errorf("%w: entry is not a canonical %s %s of %s", ErrEntry, leafKind, leafVersion, leafDetails)
	}
	return l, nil
}
