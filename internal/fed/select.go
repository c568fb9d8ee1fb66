package fed

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"atoll/internal/core"
	"atoll/internal/fed/robust"
	"atoll/internal/keystream"
	"atoll/internal/secagg"
)

// LeastSites is a number of sites with which a Spec is possible, if it is with any.
func (s *Spec) LeastSites() int {
	n := max(secagg.MinMembers, s.Sites.Least, s.Sites.Enough)
	if s.Secure.Off {
		n = max(2, s.Sites.Least, s.Sites.Enough)
	}
	if s.Async != nil {
		n = max(n, s.Async.Buffer)
	}
	if r := s.Robust; r != nil {
		groups := minGroups
		if r.Trim > 0 {
			groups = max(groups, int(math.Ceil(min(1/r.Trim, secagg.MaxMembers))))
		}
		n = max(n, groups*min(r.Group, secagg.MaxMembers))
	}
	return min(max(n, s.Sites.Select), secagg.MaxMembers)
}

// draw sets how many sites take part in an attempt. What they must be follows from their
// number, not from that of all: the privacy of a run is not counted as better for it, for
// the hub and all sites know who is drawn.
func (p *Plan) draw() error {
	s := &p.Spec.Sites
	if p.Drawn = cmp.Or(s.Select, p.Sites); p.Spec.Async != nil {
		p.Drawn = p.Spec.Async.Buffer
	}
	if err := p.checkAsync(); err != nil {
		return err
	}
	switch {
	case s.Select < 0 || s.Select > p.Sites:
		return core.Errorf(core.Invalid, "%d of %d sites are to be drawn for a round", s.Select, p.Sites).At("sites.select")
	case s.Least > p.Drawn:
		return core.Errorf(core.Invalid, "at least %d sites of %d", s.Least, p.Drawn).At("sites.least")
	case s.Enough != 0 && p.Spec.Robust != nil:
		return core.Errorf(core.Invalid, "groups for a robust rule are too small to leave the slow ones out").At("sites.enough")
	}
	return nil
}

// checkEnough refuses to close a sum with fewer vectors than it can be opened with.
func (p *Plan) checkEnough() error {
	if k := p.Spec.Sites.Enough; k != 0 && (k < p.Threshold || k > p.Drawn) {
		return core.Errorf(core.Invalid, "a sum is closed with the vectors of %d of %d sites: want %d or more, whom secure aggregation needs, and no more than there are", k, p.Drawn, p.Threshold).At("sites.enough")
	}
	return nil
}

// dropout is the share of those asked who may be left out of a sum: those who are too slow
// are, whether or not they come.
func (p *Plan) dropout() float64 {
	if k := p.Spec.Sites.Enough; k > 0 {
		return max(p.Spec.Sites.Dropout, min(1-float64(k)/float64(p.Drawn), 1.0/3))
	}
	return p.Spec.Sites.Dropout
}

// corruptShare is how many of those in an attempt may work with the hub, by their share.
func (p *Plan) corruptShare() float64 {
	if p.Spec.Async != nil {
		return float64(p.corrupt()) / float64(p.Drawn)
	}
	return p.Spec.Sites.Corrupt
}

// corrupt is how many of all sites may work with the hub. A lot may draw all of them.
func (p *Plan) corrupt() int { return int(p.Spec.Sites.Corrupt * float64(p.Sites)) }

// Deal draws the sites for an attempt at a round, and divides them among groups, each in
// order. The lot follows from the attempt's name, and so from the Spec and from whom its
// owners have agreed on: the hub cannot draw its own, nor put a site among them, and who
// poisons cannot choose a group. All know the lots of all rounds beforehand; a hub that
// gives up attempts can choose among maxAttempts of them.
func (p *Plan) Deal(attempt core.Digest) [][]int {
	order := make([]int, p.Sites)
	for i := range order {
		order[i] = i
	}
	if p.Groups == 1 && (p.Drawn == p.Sites || p.Spec.Async != nil) {
		return [][]int{order}
	}
	s := keystream.Public(keystream.Seed(attempt), "atoll federation groups v1")
	for i := len(order) - 1; i > 0; i-- {
		j := s.Below(uint64(i) + 1)
		order[i], order[j] = order[j], order[i]
	}
	groups := make([][]int, p.Groups)
	for i, site := range order[:p.Drawn] {
		groups[i%p.Groups] = append(groups[i%p.Groups], site)
	}
	for _, g := range groups {
		slices.Sort(g)
	}
	return groups
}

// groupOf is the group that the lot of an attempt puts a site into: a site asks for itself,
// and takes nobody's word. Of a buffer the hub says who is in it.
func (p *Plan) groupOf(site int, o *Order) ([]int, error) {
	if p.Spec.Async != nil {
		return o.Roster, p.checkRoster(site, o.Roster)
	}
	for _, g := range p.Deal(o.id()) {
		if slices.Contains(g, site) {
			return g, nil
		}
	}
	return nil, core.Errorf(core.Forbidden, "the lot has not drawn this site for round %d, attempt %d", o.Round, o.Attempt)
}

// Exposed is the chance that in an attempt at a round a site is among so many that work
// with the hub that masks hide it not at all, if sites.corrupt of all do. It is 0 unless a
// lot decides who is together, and 1 without masks.
func (p *Plan) Exposed() (chance float64) {
	if p.Spec.Secure.Off {
		return 1
	}
	if p.Spec.Async != nil { // they are too few, whoever is in the buffer
		return 0
	}
	for size, t := range p.terms {
		enough := 2*t.threshold - size // fewer cannot sign two sets of survivors
		if t.degree == 0 {
			enough = min(enough, t.shares) // nor put a secret together
		}
		if size < p.Sites {
			chance = max(chance, robust.Exposed(p.Sites, p.corrupt(), size, enough))
		}
	}
	return chance
}

// Lot says in a sentence who is in a round; empty: all are.
func (p *Plan) Lot() string {
	if p.Drawn == p.Sites {
		return ""
	}
	if p.Spec.Async != nil {
		return fmt.Sprintf("the first %d of %d sites that are ready.", p.Drawn, p.Sites)
	}
	out := fmt.Sprintf("%d of %d sites, drawn anew for each attempt.", p.Drawn, p.Sites)
	if p.corrupt() > 0 && !p.Spec.Secure.Off {
		out += fmt.Sprintf(" If %d sites work with the hub, masks do not hide a site at all in %.2g of rounds.", p.corrupt(), p.Exposed())
	}
	return out
}
