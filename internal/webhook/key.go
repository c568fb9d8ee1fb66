package webhook

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"
)

const (
	secretPrefix  = "whsec_"
	privatePrefix = "whsk_"
	publicPrefix  = "whpk_"
)

// Secret is the symmetric key that an account shares with the hub. It does not
// print: only Reveal gives its text. The zero Secret is none.
type Secret struct {
	key *[]byte // behind a pointer, so that printing a struct that holds one shows no bytes
}

// NewSecret makes a secret of 32 bytes from random.
func NewSecret(random io.Reader) (Secret, error) {
	key := make([]byte, 32)
	if _, err := io.ReadFull(random, key); err != nil {
		return Secret{}, fmt.Errorf("webhook secret: %w", err)
	}
	return Secret{&key}, nil
}

// ParseSecret reads whsec_ and base64 of 24 to 64 bytes. Errors do not repeat
// the text.
func ParseSecret(text string) (Secret, error) {
	key, err := decodeKey(text, secretPrefix)
	if err != nil {
		return Secret{}, err
	}
	if len(key) < minSecret || len(key) > maxSecret {
		return Secret{}, fmt.Errorf("webhook secret of %d bytes: want %d to %d", len(key), minSecret, maxSecret)
	}
	return Secret{&key}, nil
}

// Reveal returns the text form, for the account's owner and for storage.
func (s Secret) Reveal() string {
	if s.IsZero() {
		return ""
	}
	return secretPrefix + base64.StdEncoding.EncodeToString(*s.key)
}

// IsZero reports whether there is no secret.
func (s Secret) IsZero() bool { return s.key == nil }

// String hides the secret.
func (s Secret) String() string { return secretPrefix + "[hidden]" }

// GoString hides the secret from %#v.
func (s Secret) GoString() string { return s.String() }

// MarshalText hides the secret from encoders, slog's included.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// ParsePrivateKey reads whsk_ and base64 of an Ed25519 private key: its 32-byte
// seed, or the 64 bytes of seed and public key.
func ParsePrivateKey(text string) (ed25519.PrivateKey, error) {
	key, err := decodeKey(text, privatePrefix)
	if err != nil {
		return nil, err
	}
	if len(key) != ed25519.SeedSize && len(key) != ed25519.PrivateKeySize {
		return nil, fmt.Errorf("webhook private key of %d bytes: want 32 or 64", len(key))
	}
	private := ed25519.NewKeyFromSeed(key[:ed25519.SeedSize])
	if len(key) == ed25519.PrivateKeySize && !private.Equal(ed25519.PrivateKey(key)) {
		return nil, errors.New("webhook private key: its public half does not belong to it")
	}
	return private, nil
}

// FormatPublicKey returns whpk_ and base64: what receivers are given.
func FormatPublicKey(key ed25519.PublicKey) string {
	return publicPrefix + base64.StdEncoding.EncodeToString(key)
}

// ParsePublicKey reads what FormatPublicKey writes.
func ParsePublicKey(text string) (ed25519.PublicKey, error) {
	key, err := decodeKey(text, publicPrefix)
	if err != nil {
		return nil, err
	}
	if len(key) != ed25519.PublicKeySize {
		return nil, fmt.Errorf("webhook public key of %d bytes: want 32", len(key))
	}
	return key, nil
}

// decodeKey undoes the base64 behind a prefix, without repeating it in errors.
func decodeKey(text, prefix string) ([]byte, error) {
	body, ok := strings.CutPrefix(text, prefix)
	if !ok {
		return nil, fmt.Errorf("webhook key: want %s and base64", prefix)
	}
	key, err := base64.StdEncoding.Strict().DecodeString(body)
	if err != nil || strings.ContainsAny(body, "\r\n") {
		return nil, fmt.Errorf("webhook key: what follows %s is not standard base64", prefix)
	}
	return key, nil
}
