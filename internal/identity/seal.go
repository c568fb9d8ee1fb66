package identity

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"

	"atoll/internal/core"
)

// Errors of Open, each for one reason.
var (
	ErrSealForm  = errors.New("not a sealed message")
	ErrOtherSeal = errors.New("sealed by another key")
)

const (
	sealMagic  = "ATS1"
	sealHeader = len(sealMagic) + len(core.Digest{}) + 1
	maxECDSA   = 72 // bytes of an ASN.1 P-256 signature
)

// Sealed is a signed message as it travels; see the package comment.
type Sealed []byte

// Sealer seals for the holder of a key.
type Sealer func(payloadType string, payload []byte) (Sealed, error)

// Seal is a Sealer.
func (k *Key) Seal(payloadType string, payload []byte) (Sealed, error) {
	return Seal(payloadType, payload, k)
}

// Seal signs payload for one purpose, named by payloadType.
func Seal(payloadType string, payload []byte, key *Key) (Sealed, error) {
	if n := sealHeader + maxECDSA + len(payload); n > MaxSealed {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", ErrSealForm, n, MaxSealed)
	}
	sig, err := key.Sign(dsse.PAE(payloadType, payload))
	if err != nil {
		return nil, err
	}
	digest := key.Public().Digest()
	out := make([]byte, 0, sealHeader+len(sig)+len(payload))
	out = append(out, sealMagic...)
	out = append(out, digest[:]...)
	out = append(out, byte(len(sig)))
	out = append(out, sig...)
	return append(out, payload...), nil
}

// Open checks that sealed was made by the holder of public for payloadType and
// returns the payload, which shares memory with sealed.
func Open(sealed Sealed, payloadType string, public PublicKey) ([]byte, error) {
	if len(sealed) > MaxSealed {
		return nil, fmt.Errorf("%w: larger than %d bytes", ErrSealForm, MaxSealed)
	}
	rest, ok := bytes.CutPrefix(sealed, []byte(sealMagic))
	if !ok || len(sealed) < sealHeader {
		return nil, fmt.Errorf("%w: bad header", ErrSealForm)
	}
	signer := core.Digest(rest[:len(core.Digest{})])
	n := int(sealed[sealHeader-1])
	if n == 0 || n > maxECDSA || len(sealed) < sealHeader+n {
		return nil, fmt.Errorf("%w: signature of %d bytes does not fit", ErrSealForm, n)
	}
	if want := public.Digest(); signer != want {
		return nil, fmt.Errorf("%w: %s, want %s", ErrOtherSeal, signer.Short(), want.Short())
	}
	sig, payload := sealed[sealHeader:sealHeader+n], sealed[sealHeader+n:]
	if err := public.Verify(dsse.PAE(payloadType, payload), sig); err != nil {
		return nil, fmt.Errorf("sealed message for %s: %w", payloadType, err)
	}
	return payload, nil
}
