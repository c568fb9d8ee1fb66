package core

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
)

// Digest is a SHA-256 content address. Its text form is "sha256:" followed by
// 64 lower-case hex digits; no other spelling is accepted, so that equal
// digests have equal text. The zero Digest stands for "none" and has the empty
// text form.
type Digest [sha256.Size]byte

const (
	digestPrefix = "sha256:"
	digestText   = len(digestPrefix) + 2*sha256.Size
)

// DigestOf returns the digest of b.
func DigestOf(b []byte) Digest { return sha256.Sum256(b) }

// ParseDigest reads the text form of a digest. The empty string is refused:
// use UnmarshalText where a digest is optional.
func ParseDigest(s string) (Digest, error) {
	var d Digest
	hexa, ok := strings.CutPrefix(s, digestPrefix)
	if !ok || len(hexa) != 2*len(d) || strings.ToLower(hexa) != hexa {
		return Digest{}, fmt.Errorf("digest %.80q: want sha256: and 64 lower-case hex digits", s)
	}
	if _, err := hex.Decode(d[:], []byte(hexa)); err != nil {
		return Digest{}, fmt.Errorf("digest %.80q: %w", s, err)
	}
	if d.IsZero() { // it would have two spellings
		return Digest{}, fmt.Errorf("digest %.80q: all zeros stand for no digest", s)
	}
	return d, nil
}

// IsZero reports whether d is the zero digest.
func (d Digest) IsZero() bool { return d == Digest{} }

// Hex returns the 64 hex digits without the algorithm.
func (d Digest) Hex() string { return hex.EncodeToString(d[:]) }

// String returns the text form.
func (d Digest) String() string {
	var b [digestText]byte
	text, _ := d.AppendText(b[:0]) // never fails
	return string(text)
}

// Short is for people: enough hex digits to tell two digests apart on a screen.
func (d Digest) Short() string { return d.Hex()[:12] }

// AppendText implements encoding.TextAppender.
func (d Digest) AppendText(b []byte) ([]byte, error) {
	if d.IsZero() {
		return b, nil
	}
	return hex.AppendEncode(append(b, digestPrefix...), d[:]), nil
}

// MarshalText implements encoding.TextMarshaler.
func (d Digest) MarshalText() ([]byte, error) { return d.AppendText(make([]byte, 0, digestText)) }

// UnmarshalText implements encoding.TextUnmarshaler; empty text is the zero digest.
func (d *Digest) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		*d = Digest{}
		return nil
	}
	v, err := ParseDigest(string(b))
	if err != nil {
		return err
	}
	*d = v
	return nil
}
