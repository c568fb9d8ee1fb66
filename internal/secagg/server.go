package secagg

import (
	"bytes"
	"fmt"
	"maps"
	"slices"

	"atoll/internal/core"
)

// Server is the hub's side of one round. It decides no deadlines: its caller closes each
// step, when all have answered or when it has waited long enough, and learns from Missing
// for whom that would be. Messages may come twice; what a member says differently the
// second time is refused. All of a Server follows from the messages that it has taken, so
// a caller who keeps them can make it anew. It is not safe for concurrent use.
type Server struct {
	p       *Params
	context core.Digest
	step    Step
	keys    map[int]*Keys
	all     []Keys      // of those who take part, once that is closed
	digest  core.Digest // of all
	parts   map[int]*Part
	graph   *graph
	shared  map[int][]Sealed    // by who has sealed
	inboxes map[int][]Sealed    // by for whom
	masked  map[int]core.Digest // of the vectors that are in sum
	sum     []uint32
	has     map[int]*Included
	alive   []int // who has sent a vector
	agreed  map[int]*Agreement
	quorum  []Agreement
	opened  map[int]*Opening
	given   map[int]given // from opened, by whose the secret is
	liars   map[int]bool  // who has opened a share that fits no secret
}

// Step is what a round waits for.
type Step int

// The steps, in order.
const (
	Advertising Step = iota
	Revealing        // only with a Degree
	Sharing
	Masking
	Agreeing
	Unmasking
	Closed
)

// String names the step.
func (s Step) String() string {
	return [...]string{"keys", "lot", "shares", "vectors", "survivors", "openings", "closed"}[s]
}

// NewServer begins a round.
func NewServer(p *Params) (*Server, error) {
	if err := p.Check(); err != nil {
		return nil, err
	}
	return &Server{
		p: p, context: p.Context(), keys: map[int]*Keys{}, parts: map[int]*Part{}, shared: map[int][]Sealed{}, inboxes: map[int][]Sealed{},
		masked: map[int]core.Digest{}, has: map[int]*Included{}, agreed: map[int]*Agreement{}, opened: map[int]*Opening{}, given: map[int]given{}, liars: map[int]bool{},
	}, nil
}

// Step is what the round waits for now.
func (s *Server) Step() Step { return s.step }

// Missing are the members of whom the step still lacks a message.
func (s *Server) Missing() (out []int) {
	switch s.step {
	case Advertising:
		for i := range s.p.Members {
			if s.keys[i] == nil {
				out = append(out, i)
			}
		}
	case Revealing:
		out = lacking(s.present(), s.parts)
	case Sharing:
		out = lacking(s.present(), s.shared)
	case Masking:
		out = lacking(sorted(s.shared), s.masked)
	case Agreeing:
		out = lacking(s.alive, s.agreed)
	case Unmasking:
		for _, a := range s.quorum {
			if s.opened[a.From] == nil {
				out = append(out, a.From)
			}
		}
	}
	return out
}

func lacking[T any](of []int, have map[int]T) (out []int) {
	for _, m := range of {
		if _, ok := have[m]; !ok {
			out = append(out, m)
		}
	}
	return out
}

func sorted[T any](m map[int]T) (out []int) {
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// present are those who take part.
func (s *Server) present() (out []int) {
	for i := range s.all {
		out = append(out, s.all[i].From)
	}
	return out
}

// at refuses a message of another step, or of nobody.
func (s *Server) at(step Step, from int) error {
	switch {
	case from < 0 || from >= len(s.p.Members):
		return core.Errorf(core.Invalid, "a message of member %d of %d", from, len(s.p.Members))
	case s.step != step:
		return core.Errorf(core.Conflict, "%s sends its %s, and the round is at the %s", s.p.Members[from].Name, step, s.step)
	}
	return nil
}

func (s *Server) twice(from int) error {
	return core.Errorf(core.Conflict, "%s says something else than it did before", s.p.Members[from].Name)
}

// Advertise takes a member's keys.
func (s *Server) Advertise(k Keys) error {
	if err := s.at(Advertising, k.From); err != nil {
		return err
	}
	if had := s.keys[k.From]; had != nil {
		if !bytes.Equal(had.statement(s.context), k.statement(s.context)) {
			return s.twice(k.From)
		}
		return nil
	}
	m := &s.p.Members[k.From]
	if err := m.Key.Verify(k.statement(s.context), k.Sig); err != nil {
		return core.Errorf(core.Forbidden, "the keys are not signed by %s: %w", m.Name, err)
	}
	if (s.p.Degree > 0) == k.Commit.IsZero() {
		return core.Errorf(core.Invalid, "the keys of %s are with a part of a lot, or without one, and should not be", m.Name)
	}
	s.keys[k.From] = &k
	return nil
}

// CloseKeys goes on with those who have sent theirs, and returns what they are all told.
func (s *Server) CloseKeys() ([]Keys, error) {
	if s.step != Advertising {
		return s.all, nil
	}
	if err := s.enough(len(s.keys), "have sent keys"); err != nil {
		return nil, err
	}
	for _, m := range sorted(s.keys) {
		s.all = append(s.all, *s.keys[m])
	}
	s.digest, s.step = digestKeys(s.all), Revealing
	if s.p.Degree == 0 {
		s.graph, s.step = newGraph(len(s.p.Members), 0, core.Digest{}), Sharing
	}
	return s.all, nil
}

func (s *Server) enough(n int, what string) error {
	if n < s.p.Threshold {
		return core.Errorf(core.Unavailable, "%d of %d members %s: %d must", n, len(s.p.Members), what, s.p.Threshold)
	}
	return nil
}

// Reveal takes a member's part of the lot.
func (s *Server) Reveal(p Part) error {
	if err := s.at(Revealing, p.From); err != nil {
		return err
	}
	k := s.keys[p.From]
	if k == nil || commitment(p.Part) != k.Commit {
		return core.Errorf(core.Invalid, "%s shows another part of the lot than it has committed itself to", s.p.Members[p.From].Name)
	}
	if err := s.p.Members[p.From].Key.Verify(p.statement(s.context, s.digest), p.Sig); err != nil {
		return core.Errorf(core.Forbidden, "%s has not signed its part of the lot for these keys: %w", s.p.Members[p.From].Name, err)
	}
	s.parts[p.From] = &p
	return nil
}

// CloseLot orders the ring. All who take part must have shown their parts: else the round
// is to begin anew, under another ID and without them, lest somebody choose the order by
// staying away.
func (s *Server) CloseLot() ([]Part, error) {
	if s.p.Degree == 0 {
		return nil, nil
	}
	var parts []Part
	for _, m := range s.present() {
		if s.parts[m] == nil {
			return nil, core.Errorf(core.Unavailable, "%s has not shown its part of the lot: the round begins anew", s.p.Members[m].Name)
		}
		parts = append(parts, *s.parts[m])
	}
	if s.step == Revealing {
		s.graph, s.step = newGraph(len(s.all), degreeOf(s.p, len(s.all)), lot(s.context, parts)), Sharing
	}
	return parts, nil
}

// Share takes what a member has sealed for its neighbours.
func (s *Server) Share(from int, sealed []Sealed) error {
	if err := s.at(Sharing, from); err != nil {
		return err
	}
	if s.keys[from] == nil {
		return core.Errorf(core.Invalid, "%s has sent no keys, and seals shares", s.p.Members[from].Name)
	}
	near := neighbours(s.graph, s.all, from)
	if len(sealed) != len(near) {
		return core.Errorf(core.Invalid, "%s has sealed %d shares: want one for each of %d neighbours", s.p.Members[from].Name, len(sealed), len(near))
	}
	for i, x := range sealed {
		if x.From != from || x.To != near[i] || len(x.Box) != boxSize {
			return core.Errorf(core.Invalid, "%s has sealed a share from %d to %d: want one to %d", s.p.Members[from].Name, x.From, x.To, near[i])
		}
	}
	if had := s.shared[from]; had != nil {
		if !slices.EqualFunc(had, sealed, func(a, b Sealed) bool { return bytes.Equal(a.Box, b.Box) }) {
			return s.twice(from)
		}
		return nil
	}
	s.shared[from] = sealed
	return nil
}

// CloseShares goes on with those who have shared. Inbox is what each of them is told.
func (s *Server) CloseShares() error {
	if s.step != Sharing {
		return nil
	}
	if err := s.enough(len(s.shared), "have shared their secrets"); err != nil {
		return err
	}
	for _, from := range sorted(s.shared) {
		for _, x := range s.shared[from] {
			if s.shared[x.To] != nil {
				s.inboxes[x.To] = append(s.inboxes[x.To], x)
			}
		}
	}
	s.sum, s.step = make([]uint32, s.p.Dim), Masking
	return nil
}

// Inbox is what others have sealed for a member.
func (s *Server) Inbox(member int) []Sealed { return s.inboxes[member] }

// Mask adds a member's masked vector to the sum. in says whose masks it has.
func (s *Server) Mask(vector []byte, in Included) error {
	from := in.From
	if err := s.at(Masking, from); err != nil {
		return err
	}
	if s.shared[from] == nil {
		return core.Errorf(core.Invalid, "%s has shared no secrets, and sends a vector", s.p.Members[from].Name)
	}
	digest := core.DigestOf(vector)
	if had, ok := s.masked[from]; ok {
		if had != digest {
			return s.twice(from)
		}
		return nil
	}
	if err := checkPacked(s.p, vector); err != nil {
		return fmt.Errorf("%s: %w", s.p.Members[from].Name, err)
	}
	if err := s.includes(&in); err != nil {
		return err
	}
	addPacked(s.sum, vector, s.p.Bits)
	s.masked[from], s.has[from] = digest, &in
	return nil
}

// Masked is how many vectors are in the sum.
func (s *Server) Masked() int { return len(s.masked) }

// includes refuses a vector that has not just the masks of those who have shared.
func (s *Server) includes(in *Included) error {
	m := &s.p.Members[in.From]
	if !slices.Equal(in.Without, lacking(neighbours(s.graph, s.all, in.From), s.shared)) {
		return core.Errorf(core.Invalid, "the vector of %s has not the masks of just those neighbours who have shared", m.Name)
	}
	if err := m.Key.Verify(in.statement(s.context), in.Sig); err != nil {
		return core.Errorf(core.Forbidden, "%s has not signed whose masks it has: %w", m.Name, err)
	}
	return nil
}

// Included is what a survivor's neighbours have said of their vectors.
func (s *Server) Included(member int) (out []Included) {
	for _, j := range neighbours(s.graph, s.all, member) {
		if in := s.has[j]; in != nil {
			out = append(out, *in)
		}
	}
	return out
}

// CloseVectors ends what can be in the sum, and returns the survivors: whom all of them
// are to sign.
func (s *Server) CloseVectors() ([]int, error) {
	if s.step != Masking {
		return s.alive, nil
	}
	if err := s.enough(len(s.masked), "have sent a vector"); err != nil {
		return nil, err
	}
	s.alive, s.step = sorted(s.masked), Agreeing
	return s.alive, nil
}

// Agree takes a survivor's signature.
func (s *Server) Agree(a Agreement) error {
	if err := s.at(Agreeing, a.From); err != nil {
		return err
	}
	if _, ok := s.masked[a.From]; !ok {
		return core.Errorf(core.Invalid, "%s has sent no vector, and signs who has", s.p.Members[a.From].Name)
	}
	if err := s.p.Members[a.From].Key.Verify(a.statement(s.context, digestSet(s.alive)), a.Sig); err != nil {
		return core.Errorf(core.Forbidden, "%s has not signed these survivors: %w", s.p.Members[a.From].Name, err)
	}
	s.agreed[a.From] = &a
	return nil
}

// CloseAgreement returns the signatures, which all who have signed are told.
func (s *Server) CloseAgreement() ([]Agreement, error) {
	if s.step != Agreeing {
		return s.quorum, nil
	}
	if err := s.enough(len(s.agreed), "have signed the survivors"); err != nil {
		return nil, err
	}
	for _, m := range sorted(s.agreed) {
		s.quorum = append(s.quorum, *s.agreed[m])
	}
	s.step = Unmasking
	return s.quorum, nil
}

// Open takes a member's shares.
func (s *Server) Open(o *Opening) error {
	if o == nil {
		return core.Errorf(core.Invalid, "an opening without shares")
	}
	if err := s.at(Unmasking, o.From); err != nil {
		return err
	}
	if s.agreed[o.From] == nil {
		return core.Errorf(core.Invalid, "%s opens masks, and has not signed the survivors", s.p.Members[o.From].Name)
	}
	if had := s.opened[o.From]; had != nil {
		if !maps.Equal(had.Own, o.Own) || !maps.Equal(had.Masks, o.Masks) {
			return s.twice(o.From)
		}
		return nil
	}
	own, masks := 0, 0
	for _, x := range s.inboxes[o.From] {
		_, survived := s.masked[x.From]
		_, a := o.Own[x.From]
		_, b := o.Masks[x.From]
		if a != survived || b == survived {
			return core.Errorf(core.Invalid, "%s opens another secret of %s than it should, or none", s.p.Members[o.From].Name, s.p.Members[x.From].Name)
		}
		if a {
			own++
		} else {
			masks++
		}
	}
	if own != len(o.Own) || masks != len(o.Masks) {
		return core.Errorf(core.Invalid, "%s opens secrets of members who are not its neighbours", s.p.Members[o.From].Name)
	}
	s.opened[o.From] = o
	for _, of := range []map[int]secret{o.Own, o.Masks} {
		for m, share := range of {
			g := s.given[m]
			s.given[m] = given{append(g.from, o.From), append(g.shares, share)}
		}
	}
	return nil
}
