package identity

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/nats-io/nkeys"

	"atoll/internal/core"
)

// Errors of keys and signatures.
var (
	ErrPublicKey = errors.New("not a P-256 public key")
	ErrSignature = errors.New("signature does not match")
)

const pemPublic = "PUBLIC KEY"

// PublicKey is an ECDSA P-256 public key with its text form and digest at hand.
// It is immutable and comparable by Digest.
type PublicKey struct {
	key    *ecdsa.PublicKey
	pem    string
	digest core.Digest
}

// Key is the private key of a node or hub. It is immutable and safe for
// concurrent use; printing it shows the public key's digest.
type Key struct {
	private *ecdsa.PrivateKey
	public  PublicKey
}

// LoadOrCreate returns the P-256 key in dir/name.pem, making it the first time.
func LoadOrCreate(dir, name string) (*Key, error) {
	k, err := loadOrCreate(dir, name, func() (crypto.PrivateKey, error) {
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	})
	if err != nil {
		return nil, err
	}
	private, ok := k.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("key %s: %w: %T, want ECDSA P-256", name, ErrKeyFile, k)
	}
	return NewKey(private)
}

// Generate returns a fresh key that is kept nowhere.
func Generate() (*Key, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("generate key: %w", err)
	}
	return NewKey(private)
}

// NewKey wraps a P-256 private key.
func NewKey(private *ecdsa.PrivateKey) (*Key, error) {
	public, err := NewPublicKey(&private.PublicKey)
	if err != nil {
		return nil, err
	}
	return &Key{private: private, public: public}, nil
}

// Public returns the public half.
func (k *Key) Public() PublicKey { return k.public }

// Signer gives the key to TLS and X.509.
func (k *Key) Signer() crypto.Signer { return k.private }

// Sign returns the ASN.1 ECDSA signature over SHA-256(data). It is
// deterministic (RFC 6979): the same bytes have the same signature, so signing
// again after a crash changes nothing.
func (k *Key) Sign(data []byte) ([]byte, error) {
	h := sha256.Sum256(data)
	sig, err := k.private.Sign(nil, h[:], crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	return sig, nil
}

// String shows which key it is without its secret.
func (k *Key) String() string { return "private key of " + k.public.String() }

// GoString keeps %#v from printing the secret.
func (k *Key) GoString() string { return k.String() }

// NewPublicKey wraps a P-256 public key.
func NewPublicKey(key *ecdsa.PublicKey) (PublicKey, error) {
	if key == nil || key.Curve != elliptic.P256() {
		return PublicKey{}, fmt.Errorf("%w: other curve", ErrPublicKey)
	}
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return PublicKey{}, fmt.Errorf("%w: %w", ErrPublicKey, err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: pemPublic, Bytes: der})
	return PublicKey{key: key, pem: string(text), digest: core.DigestOf(der)}, nil
}

// ParsePublicKey reads a key in PEM (PKIX). Only the one spelling that PEM
// returns is accepted, so that equal keys have equal text.
func ParsePublicKey(text string) (PublicKey, error) {
	if len(text) > maxPublicPEM {
		return PublicKey{}, fmt.Errorf("%w: larger than %d bytes", ErrPublicKey, maxPublicPEM)
	}
	block, _ := pem.Decode([]byte(text))
	if block == nil || block.Type != pemPublic {
		return PublicKey{}, fmt.Errorf("%w: want one PEM block of type %s", ErrPublicKey, pemPublic)
	}
	k, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return PublicKey{}, fmt.Errorf("%w: %w", ErrPublicKey, err)
	}
	key, ok := k.(*ecdsa.PublicKey)
	if !ok {
		return PublicKey{}, fmt.Errorf("%w: %T", ErrPublicKey, k)
	}
	p, err := NewPublicKey(key)
	if err != nil {
		return PublicKey{}, err
	}
	if p.pem != text {
		return PublicKey{}, fmt.Errorf("%w: PEM is not in its canonical form", ErrPublicKey)
	}
	return p, nil
}

// Verify checks an ASN.1 ECDSA signature over SHA-256(data).
func (p PublicKey) Verify(data, sig []byte) error {
	h := sha256.Sum256(data)
	if p.key == nil || !ecdsa.VerifyASN1(p.key, h[:], sig) {
		return ErrSignature
	}
	return nil
}

// PEM returns the PKIX text form.
func (p PublicKey) PEM() string { return p.pem }

// Digest is the SHA-256 of the PKIX DER bytes: the key's name everywhere.
func (p PublicKey) Digest() core.Digest { return p.digest }

// ECDSA returns the key for the standard library.
func (p PublicKey) ECDSA() *ecdsa.PublicKey { return p.key }

// IsZero reports whether p holds no key.
func (p PublicKey) IsZero() bool { return p.key == nil }

// String returns the digest.
func (p PublicKey) String() string { return p.digest.String() }

// LoadOrCreateEd25519 returns the Ed25519 key in dir/name.pem, making it the
// first time.
func LoadOrCreateEd25519(dir, name string) (ed25519.PrivateKey, error) {
	k, err := loadOrCreate(dir, name, func() (crypto.PrivateKey, error) {
		_, private, err := ed25519.GenerateKey(rand.Reader)
		return private, err
	})
	if err != nil {
		return nil, err
	}
	private, ok := k.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("key %s: %w: %T, want Ed25519", name, ErrKeyFile, k)
	}
	return private, nil
}

// LoadOrCreateNkey returns the messaging key in dir/name.pem, making it the
// first time. On disk it is an Ed25519 key like any other; role says which kind
// of nkey is made of it (nkeys.PrefixByteUser and so on).
func LoadOrCreateNkey(dir, name string, role nkeys.PrefixByte) (nkeys.KeyPair, error) {
	private, err := LoadOrCreateEd25519(dir, name)
	if err != nil {
		return nil, err
	}
	pair, err := nkeys.FromRawSeed(role, private.Seed())
	if err != nil {
		return nil, fmt.Errorf("key %s: %w", name, err)
	}
	return pair, nil
}
