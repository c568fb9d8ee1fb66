package webhook

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Names of the headers.
const (
	HeaderID        = "webhook-id"
	HeaderTimestamp = "webhook-timestamp"
	HeaderSignature = "webhook-signature"
)

// Failures of Verify.
var (
	ErrHeaders   = errors.New("webhook: headers missing or malformed")
	ErrTimestamp = errors.New("webhook: timestamp outside the tolerance")
	ErrSignature = errors.New("webhook: no signature matches")
)

// Keys sign or verify. To change a secret without a gap, verify with both.
type Keys struct {
	Secrets []Secret            // v1
	Private ed25519.PrivateKey  // v1a, to sign; may be nil
	Publics []ed25519.PublicKey // v1a, to verify
}

// content is what is signed.
func content(id, timestamp string, body []byte) []byte {
	return append([]byte(id+"."+timestamp+"."), body...)
}

func (s Secret) mac(content []byte) []byte {
	h := hmac.New(sha256.New, *s.key)
	h.Write(content) // never fails
	return h.Sum(nil)
}

// Sign sets the three headers for body. It fails without any key, and if id
// holds what would make the signed content ambiguous.
func (k Keys) Sign(h http.Header, id string, now time.Time, body []byte) error {
	if !validID(id) {
		return fmt.Errorf("webhook: id %.80q: want 1 to 256 visible ASCII characters without a dot", id)
	}
	timestamp := strconv.FormatInt(now.Unix(), 10)
	signed := content(id, timestamp, body)
	var sigs []string
	for _, s := range k.Secrets {
		if !s.IsZero() {
			sigs = append(sigs, "v1,"+base64.StdEncoding.EncodeToString(s.mac(signed)))
		}
	}
	if k.Private != nil {
		sigs = append(sigs, "v1a,"+base64.StdEncoding.EncodeToString(ed25519.Sign(k.Private, signed)))
	}
	if len(sigs) == 0 {
		return errors.New("webhook: no key to sign with")
	}
	h.Set(HeaderID, id)
	h.Set(HeaderTimestamp, timestamp)
	h.Set(HeaderSignature, strings.Join(sigs, " "))
	return nil
}

func validID(id string) bool {
	for i := range len(id) {
		if id[i] <= ' ' || id[i] >= 0x7f || id[i] == '.' {
			return false
		}
	}
	return id != "" && len(id) <= 256
}

// Verify is the receiver's side: it accepts body if one of the signatures in h
// is by one of the keys and the timestamp is within Tolerance of now. Receivers
// should also drop IDs that they have seen within that time. The ID is
// authentic once Verify returns nil.
func (k Keys) Verify(h http.Header, body []byte, now time.Time) error {
	id, timestamp, header := h.Get(HeaderID), h.Get(HeaderTimestamp), h.Get(HeaderSignature)
	if !validID(id) || header == "" || len(header) > maxHeaderLength {
		return ErrHeaders
	}
	seconds, err := strconv.ParseInt(timestamp, 10, 64)
	// The signed text is rebuilt from the header, so it must have one spelling.
	if err != nil || seconds < 0 || strconv.FormatInt(seconds, 10) != timestamp {
		return ErrHeaders
	}
	if s, n := int64(Tolerance/time.Second), now.Unix(); seconds < n-s || seconds > n+s {
		return ErrTimestamp
	}
	signed := content(id, timestamp, body)
	left := maxSignatures
	for part := range strings.SplitSeq(header, " ") {
		if left--; left < 0 {
			break
		}
		version, text, _ := strings.Cut(part, ",")
		sig, err := base64.StdEncoding.Strict().DecodeString(text)
		if err == nil && k.matches(version, sig, signed) {
			return nil
		}
	}
	return ErrSignature
}

func (k Keys) matches(version string, sig, signed []byte) bool {
	switch version {
	case "v1":
		for _, s := range k.Secrets {
			if !s.IsZero() && hmac.Equal(sig, s.mac(signed)) {
				return true
			}
		}
	case "v1a":
		for _, p := range k.Publics {
			if len(p) == ed25519.PublicKeySize && ed25519.Verify(p, signed, sig) {
				return true
			}
		}
	}
	return false
}
