package secagg

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"

	"filippo.io/edwards25519"

	"atoll/internal/core"
)

// Openable reports whether the sum can be had from the openings that have come.
func (s *Server) Openable() bool {
	if s.step != Unmasking {
		return false
	}
	for _, m := range sorted(s.shared) {
		if len(s.sharesOf(m).from) < s.p.Shares {
			return false
		}
	}
	return true
}

// given are the shares of one member's secret.
type given struct {
	from   []int
	shares []secret
}

// sharesOf collects what others have given away of a member: of its own mask if it has
// survived, else of its mask key.
func (s *Server) sharesOf(member int) (g given) {
	_, survived := s.masked[member]
	for _, from := range sorted(s.opened) {
		o := s.opened[from]
		x, ok := o.Masks[member]
		if survived {
			x, ok = o.Own[member]
		}
		if ok && from != member {
			g.from, g.shares = append(g.from, from), append(g.shares, x)
		}
	}
	return g
}

// Sum takes the masks away and returns the sum of the survivors' vectors, modulo 2^Bits.
func (s *Server) Sum() ([]uint32, error) {
	if s.step == Closed {
		return s.sum, nil
	}
	if s.step != Unmasking {
		return nil, core.Errorf(core.Conflict, "the round is at the %s, and there is no sum yet", s.step)
	}
	terms, err := s.masks()
	if err != nil {
		return nil, err
	}
	apply(s.sum, terms)
	reduce(s.sum, s.p.Bits)
	s.step = Closed
	return s.sum, nil
}

// masks are all that is in the sum and is to be taken away.
func (s *Server) masks() (terms []term, err error) {
	cached := map[string][]*edwards25519.Scalar{}
	for _, m := range sorted(s.shared) {
		x, err := s.reconstruct(m, cached)
		if err != nil {
			return nil, err
		}
		if _, survived := s.masked[m]; survived {
			terms = append(terms, term{key: ownKey(x, s.context), negate: true})
			continue
		}
		key := maskKey(x, s.context)
		for _, j := range neighbours(s.graph, s.all, m) {
			if _, survived := s.masked[j]; !survived {
				continue
			}
			pair, err := pairKey(key, s.keys[j].Mask, s.context)
			if err != nil {
				return nil, err
			}
			terms = append(terms, term{key: pair, negate: j < m}) // j added it, or took it away
		}
	}
	return terms, nil
}

// guesses is how many sets of shares are tried where the first does not fit.
const guesses = 256

// reconstruct gives a member's secret back from its shares. Of those the first are taken,
// and where they do not fit together others, at random: what comes of it can be checked.
// Whoever is found to have given away a false share is asked last from then on.
func (s *Server) reconstruct(member int, cached map[string][]*edwards25519.Scalar) (secret, error) {
	g := s.sharesOf(member)
	name := s.p.Members[member].Name
	if len(g.from) < s.p.Shares {
		return secret{}, core.Errorf(core.Unavailable, "%d shares of a secret of %s have come: it takes %d", len(g.from), name, s.p.Shares)
	}
	order := make([]int, 0, len(g.from))
	for _, liar := range []bool{false, true} {
		for i, from := range g.from {
			if s.liars[from] == liar {
				order = append(order, i)
			}
		}
	}
	rng := rand.New(rand.NewPCG(uint64(member), 0)) // only which shares are tried
	for try := range guesses {
		from, shares := g.pick(order[:s.p.Shares])
		at := fmt.Sprint(from)
		if cached[at] == nil {
			cached[at] = weights(from)
		}
		x, err := join(cached[at], shares)
		if err == nil && s.fits(member, x) {
			if try > 0 {
				s.findLiars(member, &g, order)
			}
			return x, nil
		}
		rng.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	}
	return secret{}, core.Errorf(core.Invalid, "the shares of a secret of %s do not fit together: too many have given away false ones", name)
}

// findLiars notes whose share does not fit with the first of an order, which do.
func (s *Server) findLiars(member int, g *given, order []int) {
	for _, other := range order[s.p.Shares:] {
		from, shares := g.pick(append([]int{other}, order[1:s.p.Shares]...))
		if x, err := join(weights(from), shares); err != nil || !s.fits(member, x) {
			s.liars[g.from[other]] = true
		}
	}
}

// pick takes some of the shares.
func (g *given) pick(some []int) (from []int, shares []secret) {
	some = slices.Sorted(slices.Values(some)) // so that members with the same neighbours share weights
	for _, i := range some {
		from, shares = append(from, g.from[i]), append(shares, g.shares[i])
	}
	return from, shares
}

// fits reports whether a secret is the one that a member has named in the beginning.
func (s *Server) fits(member int, x secret) bool {
	k := s.keys[member]
	if _, survived := s.masked[member]; survived {
		return digestOwn(x) == k.Own
	}
	return bytes.Equal(maskKey(x, s.context).PublicKey().Bytes(), k.Mask)
}
