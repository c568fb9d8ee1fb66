package tlog

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/note"
)

// ErrCosignature means that a witness has not cosigned a checkpoint.
var ErrCosignature = errors.New("tlog: checkpoint is not cosigned by the witness")

// A cosignature is a big-endian Unix time and an Ed25519 signature over
// "cosignature/v1\ntime <seconds>\n" and the checkpoint's text.
const cosignatureSize = 8 + ed25519.SignatureSize

func cosigned(unix uint64, text []byte) []byte {
	return append(fmt.Appendf(nil, "cosignature/v1\ntime %d\n", unix), text...)
}

// Witness is somebody who watches that a log only grows, and says so by
// cosigning its checkpoints.
type Witness struct {
	name   string
	public ed25519.PublicKey
}

// ParseWitness reads a witness' key, "name+hash+base64" with algorithm 4.
func ParseWitness(vkey string) (Witness, error) {
	name, public, err := parseVKey(vkey, algCosignature)
	return Witness{name, public}, err
}

// Name is the name in the witness' key.
func (w Witness) Name() string { return w.name }

// Cosigned returns when, in seconds since 1970, the witness cosigned the
// checkpoint, or ErrCosignature. It says nothing of the log's own signature.
func (w Witness) Cosigned(msg []byte) (unix int64, err error) {
	if len(msg) > MaxCheckpoint {
		return 0, fmt.Errorf("%w: larger than %d bytes", ErrCheckpoint, MaxCheckpoint)
	}
	hash := keyHash(keyID(w.name, algCosignature, w.public))
	n, err := note.Open(msg, note.VerifierList(verifier{w.name, hash, func(text, sig []byte) bool {
		return len(sig) == cosignatureSize && ed25519.Verify(w.public, cosigned(binary.BigEndian.Uint64(sig), text), sig[8:])
	}}))
	if err != nil {
		return 0, fmt.Errorf("%w %s: %w", ErrCosignature, w.name, err)
	}
	raw, err := base64.StdEncoding.DecodeString(n.Sigs[0].Base64)
	if err != nil || len(raw) != 4+cosignatureSize {
		return 0, fmt.Errorf("%w %s: malformed", ErrCosignature, w.name)
	}
	return int64(binary.BigEndian.Uint64(raw[4:])), nil
}

// Cosigner signs as a witness.
type Cosigner struct {
	witness Witness
	private ed25519.PrivateKey
}

// NewCosigner makes the signer of the witness called name.
func NewCosigner(name string, private ed25519.PrivateKey) (*Cosigner, error) {
	if len(private) != ed25519.PrivateKeySize {
		return nil, fmt.Errorf("%w: Ed25519 private key of %d bytes", ErrKey, len(private))
	}
	w, err := ParseWitness(vkey(name, algCosignature, private.Public().(ed25519.PublicKey)))
	if err != nil {
		return nil, err
	}
	return &Cosigner{w, private}, nil
}

// VKey is the witness' key in text form.
func (c *Cosigner) VKey() string { return vkey(c.witness.name, algCosignature, c.witness.public) }

// Cosign adds a cosignature to a checkpoint of log, made at unix seconds. It is
// for the caller to have checked that the log has only grown.
func (c *Cosigner) Cosign(msg []byte, log Key, unix int64) ([]byte, error) {
	if _, err := log.Open(msg); err != nil {
		return nil, err
	}
	n, err := note.Open(msg, note.VerifierList(log.verifier()))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSignature, err)
	}
	hash := keyHash(keyID(c.witness.name, algCosignature, c.witness.public))
	return note.Sign(n, signer{c.witness.name, hash, func(text []byte) ([]byte, error) {
		at := binary.BigEndian.AppendUint64(nil, uint64(unix))
		return append(at, ed25519.Sign(c.private, cosigned(uint64(unix), text))...), nil
	}})
}
