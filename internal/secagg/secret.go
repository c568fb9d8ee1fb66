package secagg

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"

	"filippo.io/edwards25519"

	"atoll/internal/core"
	"atoll/internal/planted"
)

// A secret is an element of the prime field of 2^252 + 27742317777372353535851937790883648493
// elements, in which it is also shared. Keys are derived from it, whole.
const secretSize = 32

type secret [secretSize]byte

// derive makes 32 bytes for one use of key material.
func derive(from []byte, context core.Digest, use string) [32]byte {
	b, err := hkdf.Key(sha256.New, from, context[:], "atoll secagg v1 "+use, 32)
	if err != nil { // only for lengths that are not used
		panic("secagg: " + err.Error())
	}
	return [32]byte(b)
}

// element derives one of the field, as good as uniform.
func element(from []byte, context core.Digest, use string) secret {
	b, err := hkdf.Key(sha256.New, from, context[:], "atoll secagg v1 "+use, 64)
	if err != nil {
		panic("secagg: " + err.Error())
	}
	return secret(scalar(b).Bytes())
}

// scalar reduces 64 uniform bytes.
func scalar(b []byte) *edwards25519.Scalar {
	s, err := new(edwards25519.Scalar).SetUniformBytes(b)
	if err != nil {
		panic("secagg: " + err.Error())
	}
	return s
}

// maskKey is the private key of pairwise masks, from the secret that is shared.
func maskKey(s secret, context core.Digest) *ecdh.PrivateKey {
	return privateKey(derive(s[:], context, "mask key"))
}

func privateKey(b [32]byte) *ecdh.PrivateKey {
	k, err := ecdh.X25519().NewPrivateKey(b[:]) // any 32 bytes are one
	if err != nil {
		panic("secagg: " + err.Error())
	}
	return k
}

// agreed is what two keys have in common. It refuses public keys of small order.
func agreed(mine *ecdh.PrivateKey, theirs []byte) ([32]byte, error) {
	public, err := ecdh.X25519().NewPublicKey(theirs)
	if err != nil {
		return [32]byte{}, core.Errorf(core.Invalid, "a public key: %w", err)
	}
	shared, err := mine.ECDH(public)
	if err != nil {
		return [32]byte{}, core.Errorf(core.Invalid, "a public key: %w", err)
	}
	return [32]byte(shared), nil
}

// pairKey is that of the mask between two members.
func pairKey(mine *ecdh.PrivateKey, theirs []byte, context core.Digest) ([32]byte, error) {
	shared, err := agreed(mine, theirs)
	if err != nil {
		return [32]byte{}, err
	}
	key := derive(shared[:], context, "pair")
	if planted.ShortSeed {
		clear(key[4:])
	}
	return key, nil
}

// ownKey is that of a member's own mask.
func ownKey(s secret, context core.Digest) [32]byte { return derive(s[:], context, "own") }

// boxKey is what two members have in common, from which keys of boxes come: one for each
// direction.
type boxKey [32]byte

// boxSize is that of what one member has for another: two shares, and a tag.
const boxSize = 2*secretSize + 16

// seal hides what one member has for another, once in a round: so the nonce is 0.
func (k *boxKey) seal(context core.Digest, from, to int, plain []byte) []byte {
	gcm := k.cipher(context, from, to)
	return gcm.Seal(nil, make([]byte, gcm.NonceSize()), plain, nil)
}

// open refuses what was not sealed so.
func (k *boxKey) open(context core.Digest, from, to int, box []byte) ([]byte, error) {
	gcm := k.cipher(context, from, to)
	return gcm.Open(nil, make([]byte, gcm.NonceSize()), box, nil)
}

func (k *boxKey) cipher(context core.Digest, from, to int) cipher.AEAD {
	use := binary.LittleEndian.AppendUint32([]byte("box "), uint32(from))
	key := derive(k[:], context, string(binary.LittleEndian.AppendUint32(use, uint32(to))))
	block, err := aes.NewCipher(key[:])
	if err != nil { // never: the key has 32 bytes
		panic("secagg: " + err.Error())
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		panic("secagg: " + err.Error())
	}
	return gcm
}
