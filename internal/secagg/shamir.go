package secagg

import (
	"encoding/binary"
	"math/bits"
	"slices"

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

func point(member int) *edwards25519.Scalar { return small(uint64(member) + 1) }

func small(n uint64) *edwards25519.Scalar {
	var b [32]byte
	binary.LittleEndian.PutUint64(b[:], n)
	x, err := new(edwards25519.Scalar).SetCanonicalBytes(b[:])
	if err != nil { // so small a number always is one
		panic("secagg: " + err.Error())
	}
	return x
}

// weights are what shares of these members are multiplied by to add up to the secret:
// Lagrange's polynomials at 0. Who has shares is no secret, so numbers may take their time.
//
//	Π j≠i  x_j / (x_j − x_i)  =  Π x_j  /  (x_i · Π j≠i (x_j − x_i))
func weights(members []int) []*edwards25519.Scalar {
	var above product
	below := make([]*edwards25519.Scalar, len(members))
	for i, a := range members {
		above.times(a + 1)
		var p product
		p.times(a + 1)
		for j, b := range members {
			if j != i {
				p.times(b - a)
			}
		}
		below[i] = p.scalar()
	}
	invert(below)
	all := above.scalar()
	for _, w := range below {
		w.Multiply(w, all)
	}
	return below
}

// product multiplies small numbers, as many as fit into a machine's word at a time.
type product struct {
	all      *edwards25519.Scalar // nil: 1
	some     uint64               // 0: 1
	negative bool
}

func (p *product) times(n int) {
	if n < 0 {
		n, p.negative = -n, !p.negative
	}
	high, low := bits.Mul64(max(p.some, 1), uint64(n))
	if high > 0 {
		p.gather()
		low = uint64(n)
	}
	p.some = low
}

func (p *product) gather() {
	if some := small(max(p.some, 1)); p.all == nil {
		p.all = some
	} else {
		p.all.Multiply(p.all, some)
	}
	p.some = 1
}

func (p *product) scalar() *edwards25519.Scalar {
	p.gather()
	if p.negative {
		p.all.Negate(p.all)
	}
	return p.all
}

// invert inverts all of some numbers, none of which is 0, at the price of one and three
// multiplications each (Montgomery).
func invert(xs []*edwards25519.Scalar) {
	before := make([]*edwards25519.Scalar, len(xs)) // products of those before each
	all := small(1)
	for i, x := range xs {
		before[i] = edwards25519.NewScalar().Set(all)
		all.Multiply(all, x)
	}
	all.Invert(all)
	for i, x := range slices.Backward(xs) {
		rest := edwards25519.NewScalar().Multiply(all, before[i])
		all.Multiply(all, x)
		x.Set(rest)
	}
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
