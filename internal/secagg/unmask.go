package secagg

import (
	"bytes"
	"crypto/ecdh"
	"math/rand/v2"
	"slices"

	"atoll/internal/core"
)

// Openable reports whether the sum can be had from the openings that have come.
func (s *Server) Openable() bool {
	if s.step != Unmasking {
		return false
	}
	for m := range s.shared {
		if len(s.given[m].from) < s.p.Shares {
			return false
		}
	}
	return true
}

// given are the shares of one member's secret that others have given away, as they came:
// of its own mask if it has survived, else of its mask key.
type given struct {
	from   []int
	shares []secret
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

// masks are all that is in the sum and is to be taken away: the own masks of those who
// have survived, and those of the others with their surviving neighbours.
func (s *Server) masks() ([]term, error) {
	members := sorted(s.shared)
	secrets, err := s.secrets(members)
	if err != nil {
		return nil, err
	}
	var terms []term
	type pair struct {
		key     *ecdh.PrivateKey
		from, j int
	}
	var pairs []pair
	for i, m := range members {
		if _, survived := s.masked[m]; survived {
			terms = append(terms, term{key: ownKey(secrets[i], s.context), negate: true})
			continue
		}
		key := maskKey(secrets[i], s.context)
		for _, j := range neighbours(s.graph, s.all, m) {
			if _, survived := s.masked[j]; survived {
				pairs = append(pairs, pair{key, m, j})
			}
		}
	}
	own := len(terms)
	terms = slices.Grow(terms, len(pairs))[:own+len(pairs)]
	err = each(len(pairs), func(i int) error {
		x := pairs[i]
		key, err := pairKey(x.key, s.keys[x.j].Mask, s.context)
		terms[own+i] = term{key: key, negate: x.j < x.from} // j added it, or took it away
		return err
	})
	return terms, err
}

// secrets gives those of members back. First each is tried with the first shares of it;
// those where they do not fit then, one after the other.
func (s *Server) secrets(members []int) ([]secret, error) {
	out, fit := make([]secret, len(members)), make([]bool, len(members))
	for _, m := range members {
		if n := len(s.given[m].from); n < s.p.Shares {
			return nil, core.Errorf(core.Unavailable, "%d shares of a secret of %s have come: it takes %d", n, s.p.Members[m].Name, s.p.Shares)
		}
	}
	_ = each(len(members), func(i int) error { // nothing fails yet
		g, t := s.given[members[i]], s.p.Shares
		x, err := join(weights(g.from[:t]), g.shares[:t])
		out[i], fit[i] = x, err == nil && s.fits(members[i], x)
		return nil
	})
	for i, m := range members {
		if !fit[i] {
			var err error
			if out[i], err = s.search(m); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}

// guesses is how many sets of shares are tried where the first does not fit.
const guesses = 256

// search gives a secret back of which some shares are false. It takes others at random:
// what comes of it can be checked. Whoever is found to have given away a false share is
// asked last from then on.
func (s *Server) search(member int) (secret, error) {
	g := s.given[member]
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
		if x, err := join(weights(from), shares); err == nil && s.fits(member, x) {
			if try > 0 {
				s.findLiars(member, &g, order)
			}
			return x, nil
		}
		rng.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	}
	return secret{}, core.Errorf(core.Invalid, "the shares of a secret of %s do not fit together: too many have given away false ones", s.p.Members[member].Name)
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
