package receipt

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"

	"atoll/internal/core"
)

// Key is the P-256 public key of a node or hub, with its encodings at hand. It
// is immutable.
type Key struct {
	public *ecdsa.PublicKey
	der64  string // PKIX, as in a leaf
	digest core.Digest
}

// NewKey wraps a P-256 public key.
func NewKey(public *ecdsa.PublicKey) (Key, error) {
	if public == nil || public.Curve != elliptic.P256() {
		return Key{}, fmt.Errorf("%w: want ECDSA P-256", ErrKey)
	}
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return Key{}, fmt.Errorf("%w: %w", ErrKey, err)
	}
	return Key{public, base64.StdEncoding.EncodeToString(der), core.DigestOf(der)}, nil
}

// ParseKey reads a public key in PEM (PKIX), or such a key's DER.
func ParseKey(b []byte) (Key, error) {
	if len(b) > maxPEM {
		return Key{}, fmt.Errorf("%w: larger than %d bytes", ErrKey, maxPEM)
	}
	if block, _ := pem.Decode(b); block != nil {
		b = block.Bytes
	}
	parsed, err := x509.ParsePKIXPublicKey(b)
	if err != nil { // in the words of ASN.1, which help nobody who took the wrong file
		return Key{}, fmt.Errorf("%w: neither PEM nor DER of a public key", ErrKey)
	}
	public, ok := parsed.(*ecdsa.PublicKey)
	if !ok {
		return Key{}, fmt.Errorf("%w: %T, want ECDSA P-256", ErrKey, parsed)
	}
	return NewKey(public)
}

// Digest is the SHA-256 of the key's PKIX DER bytes: its name everywhere.
func (k Key) Digest() core.Digest { return k.digest }

// IsZero reports whether k holds no key.
func (k Key) IsZero() bool { return k.public == nil }

// hint is how a bundle names its key; the same as cosign's.
func (k Key) hint() string { return base64.StdEncoding.EncodeToString(k.digest[:]) }

// Signer signs statements with one key. It is safe for concurrent use.
type Signer struct {
	key     Key
	private crypto.Signer
}

// NewSigner wraps a private key whose public half is ECDSA P-256.
func NewSigner(private crypto.Signer) (*Signer, error) {
	public, ok := private.Public().(*ecdsa.PublicKey)
	if !ok {
		return nil, fmt.Errorf("%w: %T, want ECDSA P-256", ErrKey, private.Public())
	}
	k, err := NewKey(public)
	if err != nil {
		return nil, err
	}
	return &Signer{k, private}, nil
}

// Key is the public half.
func (s *Signer) Key() Key { return s.key }

func (s *Signer) sign(digest [sha256.Size]byte) ([]byte, error) {
	if k, ok := s.private.(*ecdsa.PrivateKey); ok {
		return k.Sign(nil, digest[:], crypto.SHA256) // without randomness: RFC 6979
	}
	return s.private.Sign(rand.Reader, digest[:], crypto.SHA256)
}
