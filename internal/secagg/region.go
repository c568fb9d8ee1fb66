package secagg

import (
	"fmt"

	"atoll/internal/core"
)

// Region is a hub in between: it adds the vectors of some members of a round and passes
// their sum on, so that the top receives one vector of each region. It holds no share and
// can take no mask away; the members, and all other steps, are the top's.
type Region struct {
	p       *Params
	context core.Digest
	sum     []uint32
	taken   map[int]core.Digest
	has     map[int]Included
	done    bool
}

// Partial is what a region passes on.
type Partial struct {
	From    []Included    `json:"from"`    // of those whose vectors are in it, in order
	Vectors []core.Digest `json:"vectors"` // of each, as it was sent
	Sum     []byte        `json:"sum"`     // packed like a vector
}

// NewRegion begins a region's part of a round.
func NewRegion(p *Params) (*Region, error) {
	if err := p.Check(); err != nil {
		return nil, err
	}
	return &Region{p: p, context: p.Context(), sum: make([]uint32, p.Dim), taken: map[int]core.Digest{}, has: map[int]Included{}}, nil
}

// Mask adds a member's masked vector. Who signs there falsely whose masks it has, spoils
// its region's sum, and is named by the top: the region does not know who has shared.
func (r *Region) Mask(vector []byte, in Included) error {
	from := in.From
	if from < 0 || from >= len(r.p.Members) {
		return core.Errorf(core.Invalid, "a vector of member %d of %d", from, len(r.p.Members))
	}
	name := r.p.Members[from].Name
	digest := core.DigestOf(vector)
	if had, ok := r.taken[from]; ok {
		if had != digest {
			return core.Errorf(core.Conflict, "%s says something else than it did before", name)
		}
		return nil
	}
	if r.done {
		return core.Errorf(core.Conflict, "%s sends its vector, and the region has passed its sum on", name)
	}
	if err := checkPacked(r.p, vector); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if err := r.p.Members[from].Key.Verify(in.statement(r.context), in.Sig); err != nil {
		return core.Errorf(core.Forbidden, "%s has not signed whose masks it has: %w", name, err)
	}
	addPacked(r.sum, vector, r.p.Bits)
	r.taken[from], r.has[from] = digest, in
	return nil
}

// Close returns what is passed on, the same each time. No vector is taken after it: the
// top could not tell two sums of one region apart.
func (r *Region) Close() *Partial {
	r.done = true
	out := &Partial{Sum: pack(r.sum, r.p.Bits)}
	for _, m := range sorted(r.taken) {
		out.From, out.Vectors = append(out.From, r.has[m]), append(out.Vectors, r.taken[m])
	}
	return out
}

// MaskRegion adds what a region has passed on, all of it or nothing.
func (s *Server) MaskRegion(x *Partial) error {
	if len(x.From) == 0 || len(x.From) != len(x.Vectors) {
		return core.Errorf(core.Invalid, "a region's sum of %d vectors with %d digests: want one for each", len(x.From), len(x.Vectors))
	}
	again := 0
	for i := range x.From {
		m := x.From[i].From
		if err := s.at(Masking, m); err != nil {
			return err
		}
		had, ok := s.masked[m]
		switch {
		case i > 0 && x.From[i-1].From >= m:
			return core.Errorf(core.Invalid, "a region's members: %d after %d: want each once, in order", m, x.From[i-1].From)
		case s.shared[m] == nil:
			return core.Errorf(core.Invalid, "%s has shared no secrets, and a region has its vector", s.p.Members[m].Name)
		case ok && had != x.Vectors[i]:
			return s.twice(m)
		case ok:
			again++
			continue
		}
		if err := s.includes(&x.From[i]); err != nil {
			return err
		}
	}
	if again == len(x.From) {
		return nil
	}
	if again > 0 {
		return core.Errorf(core.Conflict, "%d of a region's %d vectors are in the sum already", again, len(x.From))
	}
	if err := checkPacked(s.p, x.Sum); err != nil {
		return fmt.Errorf("a region: %w", err)
	}
	addPacked(s.sum, x.Sum, s.p.Bits)
	for i := range x.From {
		m := x.From[i].From
		s.masked[m], s.has[m] = x.Vectors[i], &x.From[i]
	}
	return nil
}
