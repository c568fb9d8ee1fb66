package secagg

import (
	"encoding/binary"

	"filippo.io/edwards25519"

	"atoll/internal/core"
)

// Shamir's sharing over the field of secrets, in constant time (filippo.io/edwards25519).
// Member i's share is the polynomial's value at i + 1; its value at 0 is the secret.

// split is a polynomial of which any t values give the secret, and t − 1 nothing.
type split []*edwards25519.Scalar

// newSplit derives the coefficients from key material that nobody else has.
func newSplit(s secret, t int, from []byte, context core.Digest, use string) (split, error) {
	first, err := new(edwards25519.Scalar).SetCanonicalBytes(s[:])
	if err != nil {
		return nil, core.Errorf(core.Internal, "a secret that is no element of the field")
	}
	out := split{first}
	for i := 1; i < t; i++ {
		c := element(from, context, use+string(binary.LittleEndian.AppendUint32([]byte(" coefficient "), uint32(i))))
		x, err := new(edwards25519.Scalar).SetCanonicalBytes(c[:])
		if err != nil {
			return nil, err
		}
		out = append(out, x)
	}
	return out, nil
}

// at is a member's share.
func (p split) at(member int) secret {
	x, y := point(member), edwards25519.NewScalar()
	for i := len(p) - 1; i >= 0; i-- { // Horner
		y.MultiplyAdd(y, x, p[i])
	}
	return secret(y.Bytes())
}

func point(member int) *edwards25519.Scalar {
	var b [32]byte
	binary.LittleEndian.PutUint64(b[:], uint64(member)+1)
	x, err := new(edwards25519.Scalar).SetCanonicalBytes(b[:])
	if err != nil { // so small a number always is one
		panic("secagg: " + err.Error())
	}
	return x
}

// weights are what shares of these members are multiplied by to add up to the secret:
// Lagrange's polynomials at 0.
func weights(members []int) []*edwards25519.Scalar {
	xs := make([]*edwards25519.Scalar, len(members))
	for i, m := range members {
		xs[i] = point(m)
	}
	out := make([]*edwards25519.Scalar, len(members))
	for i := range xs {
		above, below, d := point(0), point(0), edwards25519.NewScalar()
		for j := range xs {
			if j != i {
				above.Multiply(above, xs[j])
				below.Multiply(below, d.Subtract(xs[j], xs[i]))
			}
		}
		out[i] = above.Multiply(above, below.Invert(below))
	}
	return out
}

// join gives a secret back from shares, with the weights of who has them.
func join(weights []*edwards25519.Scalar, shares []secret) (secret, error) {
	sum := edwards25519.NewScalar()
	for i, s := range shares {
		y, err := new(edwards25519.Scalar).SetCanonicalBytes(s[:])
		if err != nil {
			return secret{}, core.Errorf(core.Invalid, "a share that is no element of the field")
		}
		sum.MultiplyAdd(y, weights[i], sum)
	}
	return secret(sum.Bytes()), nil
}
