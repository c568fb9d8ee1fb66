package identity

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"strings"

	"atoll/internal/core"
)

// ErrToken means that a text is no token; the message never repeats the text.
var ErrToken = errors.New("not a valid token")

// TokenKind says what a token is for. It is the token's prefix, by which leak
// scanners and people can tell it.
type TokenKind string

const (
	JoinToken TokenKind = "atl_join_" // lets nodes in, on behalf of an account
	APIKey    TokenKind = "atl_key_"  // lets a client call the API
)

// Token is a secret of 256 random bits in its text form. It prints and logs as
// its kind alone; string(t) is the text. JSON carries the text, so a struct that
// holds a Token must not be logged whole unless it says how (slog.LogValuer).
type Token string

const secretSize = 32

var tokenEncoding = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

// NewJoinToken returns a fresh join token. pin is CA.Pin of the hub, or zero
// where the node needs none: on loopback, or behind a public certificate.
func NewJoinToken(pin core.Digest) Token {
	if pin.IsZero() {
		return newToken(JoinToken, nil)
	}
	return newToken(JoinToken, pin[:])
}

// NewAPIKey returns a fresh API key.
func NewAPIKey() Token { return newToken(APIKey, nil) }

func newToken(kind TokenKind, pin []byte) Token {
	secret := make([]byte, secretSize, secretSize+len(pin))
	_, _ = rand.Read(secret) // never fails since Go 1.24
	return formatToken(kind, append(secret, pin...))
}

func formatToken(kind TokenKind, body []byte) Token {
	sum := crc32.ChecksumIEEE(append([]byte(kind), body...))
	return Token(string(kind) + tokenEncoding.EncodeToString(binary.BigEndian.AppendUint32(body, sum)))
}

// ParseToken reads a token of one kind. Surrounding white space is the caller's
// to trim.
func ParseToken(kind TokenKind, text string) (Token, error) {
	if len(text) > maxToken {
		return "", fmt.Errorf("%w: longer than %d characters", ErrToken, maxToken)
	}
	coded, ok := strings.CutPrefix(text, string(kind))
	if !ok {
		return "", fmt.Errorf("%w: does not start with %s", ErrToken, kind)
	}
	body, err := tokenEncoding.DecodeString(coded)
	if err != nil {
		// The decoder's own words may quote the secret.
		return "", fmt.Errorf("%w: a character after %s is out of place", ErrToken, kind)
	}
	body = body[:max(len(body)-4, 0)]
	size := len(body) == secretSize || (kind == JoinToken && len(body) == secretSize+len(core.Digest{}))
	if !size {
		return "", fmt.Errorf("%w: cut short or too long", ErrToken)
	}
	// Encoding again checks the checksum and refuses other spellings at once.
	t := formatToken(kind, body)
	if subtle.ConstantTimeCompare([]byte(t), []byte(text)) != 1 {
		return "", fmt.Errorf("%w: checksum does not match; was it mistyped?", ErrToken)
	}
	return t, nil
}

// Kind returns the token's kind, or "" for a text that is none.
func (t Token) Kind() TokenKind {
	for _, k := range []TokenKind{JoinToken, APIKey} {
		if strings.HasPrefix(string(t), string(k)) {
			return k
		}
	}
	return ""
}

// Hash is what is stored in place of the token. A plain SHA-256 is enough for a
// secret that nobody can guess.
func (t Token) Hash() core.Digest { return core.DigestOf([]byte(t)) }

// Matches compares with a stored hash in constant time.
func (t Token) Matches(stored core.Digest) bool {
	h := t.Hash()
	return subtle.ConstantTimeCompare(h[:], stored[:]) == 1
}

// Pin returns the hub's CA pin from a parsed join token, or zero.
func (t Token) Pin() core.Digest {
	coded, _ := strings.CutPrefix(string(t), string(JoinToken))
	body, err := tokenEncoding.DecodeString(coded)
	if err != nil || len(body) != secretSize+len(core.Digest{})+4 {
		return core.Digest{}
	}
	return core.Digest(body[secretSize : secretSize+len(core.Digest{})])
}

// String redacts.
func (t Token) String() string { return string(t.Kind()) + "[redacted]" }

// GoString redacts.
func (t Token) GoString() string { return t.String() }

// LogValue redacts.
func (t Token) LogValue() slog.Value { return slog.StringValue(t.String()) }
