package receipt

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/base64"
	"fmt"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"

	"atoll/internal/core"
)

// Signed is a statement with its signature, in the forms that are stored.
type Signed struct {
	Envelope []byte      // DSSE, JSON
	Leaf     []byte      // the log entry's body
	Digest   core.Digest // of the PAE: the receipt's name
}

// Execution signs a receipt.
func (s *Signer) Execution(e *Execution) (Signed, error) {
	payload, err := encode(ExecutionType, e)
	if err != nil {
		return Signed{}, err
	}
	return s.wrap(payload)
}

// Verdict signs a verdict.
func (s *Signer) Verdict(v *Verdict) (Signed, error) {
	payload, err := encode(VerdictType, v)
	if err != nil {
		return Signed{}, err
	}
	return s.wrap(payload)
}

func (s *Signer) wrap(payload []byte) (Signed, error) {
	digest := sha256.Sum256(dsse.PAE(payloadType, payload))
	sig, err := s.sign(digest)
	if err != nil {
		return Signed{}, fmt.Errorf("sign statement: %w", err)
	}
	out := Signed{Envelope: appendEnvelope(payload, sig), Leaf: appendLeaf(digest, sig, s.key), Digest: digest}
	if len(out.Envelope) > MaxEnvelope {
		return Signed{}, fault("envelope has %d bytes, at most %d: sign fewer leases at once", len(out.Envelope), MaxEnvelope)
	}
	return out, nil
}

func appendEnvelope(payload, sig []byte) []byte {
	const frame = len(`{"payloadType":"` + payloadType + `","payload":"","signatures":[{"sig":""}]}`)
	b64 := base64.StdEncoding
	b := make([]byte, 0, frame+b64.EncodedLen(len(payload))+b64.EncodedLen(len(sig)))
	b = append(b, `{"payloadType":"`+payloadType+`","payload":"`...)
	b = b64.AppendEncode(b, payload)
	b = append(b, `","signatures":[{"sig":"`...)
	b = b64.AppendEncode(b, sig)
	return append(b, `"}]}`...)
}

// envelope is a DSSE envelope, taken apart and not yet verified.
type envelope struct {
	payload []byte
	sig     []byte
	digest  core.Digest
}

func parseEnvelope(b []byte) (envelope, error) {
	var e struct {
		PayloadType string `json:"payloadType"`
		Payload     []byte `json:"payload"`
		Signatures  []struct {
			Sig []byte `json:"sig"`
		} `json:"signatures"`
	}
	if len(b) > MaxEnvelope {
		return envelope{}, fmt.Errorf("%w: envelope is larger than %d bytes", ErrBundle, MaxEnvelope)
	}
	if err := strict(b, &e); err != nil {
		return envelope{}, fmt.Errorf("%w: envelope: %w", ErrBundle, err)
	}
	if e.PayloadType != payloadType {
		return envelope{}, fmt.Errorf("%w: payload type %.80q, want %s", ErrBundle, e.PayloadType, payloadType)
	}
	if len(e.Signatures) != 1 {
		return envelope{}, fmt.Errorf("%w: %d signatures, want one", ErrBundle, len(e.Signatures))
	}
	return envelope{e.Payload, e.Signatures[0].Sig, sha256.Sum256(dsse.PAE(payloadType, e.Payload))}, nil
}

func (k Key) verify(e *envelope) error {
	if k.IsZero() || !ecdsa.VerifyASN1(k.public, e.digest[:], e.sig) {
		return fmt.Errorf("%w: key %s", ErrSignature, k.digest.Short())
	}
	return nil
}

// open verifies and parses an envelope.
func (k Key) open(b []byte) (*opened, Signed, error) {
	e, err := parseEnvelope(b)
	if err != nil {
		return nil, Signed{}, err
	}
	if err := k.verify(&e); err != nil {
		return nil, Signed{}, err
	}
	o, err := decode(e.payload)
	if err != nil {
		return nil, Signed{}, err
	}
	return o, Signed{Envelope: b, Leaf: appendLeaf(e.digest, e.sig, k), Digest: e.digest}, nil
}

// OpenExecution verifies that k signed the envelope and returns the receipt in
// it, with the leaf to log. It is for the caller to compare the node, the leases
// and the nonces with what it gave out.
func (k Key) OpenExecution(envelope []byte) (Execution, Signed, error) {
	o, s, err := k.open(envelope)
	if err != nil {
		return Execution{}, Signed{}, err
	}
	if o.execution == nil {
		return Execution{}, Signed{}, fmt.Errorf("%w: %s", ErrType, o.kind)
	}
	return *o.execution, s, nil
}

// OpenVerdict verifies that k signed the envelope and returns the verdict in it.
func (k Key) OpenVerdict(envelope []byte) (Verdict, Signed, error) {
	o, s, err := k.open(envelope)
	if err != nil {
		return Verdict{}, Signed{}, err
	}
	if o.verdict == nil {
		return Verdict{}, Signed{}, fmt.Errorf("%w: %s", ErrType, o.kind)
	}
	return *o.verdict, s, nil
}

// ParseExecution reads a receipt without looking at its signature.
func ParseExecution(envelope []byte) (Execution, error) {
	o, err := parse(envelope)
	if err != nil {
		return Execution{}, err
	}
	if o.execution == nil {
		return Execution{}, fmt.Errorf("%w: %s", ErrType, o.kind)
	}
	return *o.execution, nil
}

// ParseVerdict reads a verdict without looking at its signature.
func ParseVerdict(envelope []byte) (Verdict, error) {
	o, err := parse(envelope)
	if err != nil {
		return Verdict{}, err
	}
	if o.verdict == nil {
		return Verdict{}, fmt.Errorf("%w: %s", ErrType, o.kind)
	}
	return *o.verdict, nil
}

func parse(b []byte) (*opened, error) {
	e, err := parseEnvelope(b)
	if err != nil {
		return nil, err
	}
	return decode(e.payload)
}
