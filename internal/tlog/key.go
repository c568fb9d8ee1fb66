package tlog

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

// Errors of keys.
var (
	ErrKey        = errors.New("tlog: not a log or witness key")
	ErrOriginName = errors.New("tlog: origin is not a host name")
)

// Algorithms of signed-note.
const (
	algEd25519     = 0x01
	algCosignature = 0x04
)

// CheckOrigin refuses what cannot be both a checkpoint's origin and the host of
// a URL: Sigstore's verifiers find the origin in the trusted root's baseUrl.
func CheckOrigin(origin string) error {
	if len(origin) > maxOrigin || !originForm.MatchString(origin) {
		return fmt.Errorf("%w: %.80q (want a-z, 0-9, - and dots; no port, no path)", ErrOriginName, origin)
	}
	return nil
}

var originForm = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$`)

// Key is the name and public key of a log: what one must know to believe its
// checkpoints. It is immutable.
type Key struct {
	origin string
	public ed25519.PublicKey
}

// NewKey names a log's public key.
func NewKey(origin string, public ed25519.PublicKey) (Key, error) {
	if err := CheckOrigin(origin); err != nil {
		return Key{}, err
	}
	if len(public) != ed25519.PublicKeySize {
		return Key{}, fmt.Errorf("%w: Ed25519 key of %d bytes", ErrKey, len(public))
	}
	return Key{origin, public}, nil
}

// ParseVKey reads a log key in the text form of signed-note, as VKey gives it.
func ParseVKey(vkey string) (Key, error) {
	origin, public, err := parseVKey(vkey, algEd25519)
	if err != nil {
		return Key{}, err
	}
	return NewKey(origin, public)
}

// Origin is the log's name.
func (k Key) Origin() string { return k.origin }

// Public is the log's key.
func (k Key) Public() ed25519.PublicKey { return k.public }

// ID is the log's ID: logId.keyId of Sigstore.
func (k Key) ID() [32]byte { return keyID(k.origin, algEd25519, k.public) }

// VKey is the text form "origin+hash+base64" that note.NewVerifier reads.
func (k Key) VKey() string { return vkey(k.origin, algEd25519, k.public) }

// IsZero reports whether k holds no key.
func (k Key) IsZero() bool { return k.public == nil }

func (k Key) verifier() note.Verifier {
	return verifier{k.origin, keyHash(k.ID()), func(msg, sig []byte) bool { return ed25519.Verify(k.public, msg, sig) }}
}

// Signer signs checkpoints for a log.
type Signer struct {
	key     Key
	private ed25519.PrivateKey
}

// NewSigner makes the signer of the log that is called origin.
func NewSigner(origin string, private ed25519.PrivateKey) (*Signer, error) {
	if len(private) != ed25519.PrivateKeySize {
		return nil, fmt.Errorf("%w: Ed25519 private key of %d bytes", ErrKey, len(private))
	}
	k, err := NewKey(origin, private.Public().(ed25519.PublicKey))
	if err != nil {
		return nil, err
	}
	return &Signer{k, private}, nil
}

// Key is the public half.
func (s *Signer) Key() Key { return s.key }

// Sign returns the checkpoint as a signed note. Equal checkpoints give equal
// bytes.
func (s *Signer) Sign(c Checkpoint) ([]byte, error) {
	return note.Sign(&note.Note{Text: FormatCheckpoint(s.key.origin, c)}, signer{
		s.key.origin, keyHash(s.key.ID()), func(msg []byte) ([]byte, error) { return ed25519.Sign(s.private, msg), nil },
	})
}

func keyID(name string, alg byte, public ed25519.PublicKey) [32]byte {
	b := append([]byte(name), '\n', alg)
	return sha256.Sum256(append(b, public...))
}

func keyHash(id [32]byte) uint32 { return binary.BigEndian.Uint32(id[:4]) }

func vkey(name string, alg byte, public ed25519.PublicKey) string {
	return fmt.Sprintf("%s+%08x+%s", name, keyHash(keyID(name, alg, public)), base64.StdEncoding.EncodeToString(append([]byte{alg}, public...)))
}

func parseVKey(s string, alg byte) (name string, public ed25519.PublicKey, err error) {
	name, rest, _ := strings.Cut(s, "+")
	hash, key64, ok := strings.Cut(rest, "+")
	raw, err := base64.StdEncoding.Strict().DecodeString(key64)
	switch {
	case !ok || err != nil || name == "" || len(s) > maxOrigin+64 || strings.ContainsAny(name, " \t\r\n"):
		return "", nil, fmt.Errorf("%w: %.80q is not name+hash+base64", ErrKey, s)
	case len(raw) != 1+ed25519.PublicKeySize || raw[0] != alg:
		return "", nil, fmt.Errorf("%w: %.80q is not of algorithm %d", ErrKey, s, alg)
	}
	want, err := strconv.ParseUint(hash, 16, 32)
	if err != nil || vkey(name, alg, raw[1:]) != s || uint32(want) != keyHash(keyID(name, alg, raw[1:])) {
		return "", nil, fmt.Errorf("%w: %.80q: name, hash and key do not belong together", ErrKey, s)
	}
	return name, raw[1:], nil
}

// verifier and signer are note.Verifier and note.Signer.
type verifier struct {
	name   string
	hash   uint32
	verify func(msg, sig []byte) bool
}

func (v verifier) Name() string                { return v.name }
func (v verifier) KeyHash() uint32             { return v.hash }
func (v verifier) Verify(msg, sig []byte) bool { return v.verify(msg, sig) }

type signer struct {
	name string
	hash uint32
	sign func(msg []byte) ([]byte, error)
}

func (s signer) Name() string                    { return s.name }
func (s signer) KeyHash() uint32                 { return s.hash }
func (s signer) Sign(msg []byte) ([]byte, error) { return s.sign(msg) }
