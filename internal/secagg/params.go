package secagg

import (
	"encoding/binary"
	"strings"

	"atoll/internal/core"
	"atoll/internal/identity"
)

// Limits of a round.
const (
	MinMembers = 3
	MaxMembers = 1 << 16
	MaxDim     = 1 << 28
	MaxBits    = 32
)

// Member is who may take part, with the key by which the owners know it.
type Member struct {
	Name string
	Key  identity.PublicKey
}

// Params are what all members and the hub must have in common before a round: not from
// the hub's word, but from what the owners have agreed to.
type Params struct {
	Round   core.Digest // another one for each attempt at a round
	Members []Member    // in the order of their names
	// Threshold is how many members must sign the set of survivors: more than two thirds.
	Threshold int
	// Degree is how many neighbours each has, an even number; 0: all others. Shares is
	// how many shares of a secret give it back.
	Degree, Shares int
	Dim            int // words of a vector
	Bits           int // of a word: sums are modulo 2^Bits
}

// Check refuses what no round can have.
func (p *Params) Check() error {
	n := len(p.Members)
	bad := func(field, format string, args ...any) error {
		return core.Errorf(core.Invalid, "secure aggregation: "+format, args...).At(field)
	}
	switch {
	case p.Round.IsZero():
		return bad("round", "the round has no ID")
	case n < MinMembers || n > MaxMembers:
		return bad("members", "%d members: want %d to %d, for the sum of two tells each what the other has", n, MinMembers, MaxMembers)
	case 3*p.Threshold <= 2*n || p.Threshold > n:
		return bad("threshold", "a threshold of %d of %d members: want over two thirds", p.Threshold, n)
	case p.Degree != 0 && (p.Degree < 2 || p.Degree%2 != 0 || p.Degree >= n-1):
		return bad("degree", "%d neighbours of %d members: want an even number under %d, or 0 for all", p.Degree, n, n-1)
	case p.Shares < 2 || p.Shares > p.neighbours():
		return bad("shares", "a secret from %d shares of %d: want 2 or more, and no more than there are", p.Shares, p.neighbours())
	case 2*p.Shares <= p.Degree:
		return bad("shares", "a secret from %d shares of %d: want over half, lest the members fall into groups", p.Shares, p.Degree)
	case p.Degree == 0 && p.Shares < p.Threshold-1:
		return bad("shares", "a secret from %d shares, though %d members must agree: want %d", p.Shares, p.Threshold, p.Threshold-1)
	case p.Dim < 1 || p.Dim > MaxDim:
		return bad("dim", "%d words: want 1 to %d", p.Dim, MaxDim)
	case p.Bits < 1 || p.Bits > MaxBits:
		return bad("bits", "%d bits: want 1 to %d", p.Bits, MaxBits)
	}
	for i, m := range p.Members {
		if m.Name == "" || m.Key.IsZero() || i > 0 && strings.Compare(p.Members[i-1].Name, m.Name) >= 0 {
			return bad("members", "member %d, %.80q: want names in order, each once, with a key", i, m.Name)
		}
	}
	return nil
}

// neighbours is how many each member has.
func (p *Params) neighbours() int {
	if p.Degree == 0 {
		return len(p.Members) - 1
	}
	return p.Degree
}

// Context names all of the parameters: what is signed or sealed in a round is of no use
// in another one.
func (p *Params) Context() core.Digest {
	b := append([]byte("atoll secagg v1\n"), p.Round[:]...)
	for _, n := range []int{len(p.Members), p.Threshold, p.Degree, p.Shares, p.Dim, p.Bits} {
		b = binary.LittleEndian.AppendUint64(b, uint64(n))
	}
	for _, m := range p.Members {
		b = binary.LittleEndian.AppendUint64(b, uint64(len(m.Name)))
		b = append(b, m.Name...)
		d := m.Key.Digest()
		b = append(b, d[:]...)
	}
	return core.DigestOf(b)
}

// Packed is how many bytes a vector takes.
func (p *Params) Packed() int { return packedSize(p.Dim, p.Bits) }
