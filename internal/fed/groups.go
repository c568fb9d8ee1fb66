package fed

import (
	"fmt"
	"math"
	"slices"

	"atoll/internal/core"
	"atoll/internal/fed/robust"
	"atoll/internal/secagg"
)

// Robust has a rule put the sites' work together in place of the mean. It is over groups
// of sites, for a rule must see what it compares: the hub sees the sum of each group.
type Robust struct {
	robust.Rule
	Group int `json:"group"` // sites in one, or one more where they do not come out even
}

// minGroups is how many groups a rule takes: of two none is in the middle.
const minGroups = 3

// terms are those of secure aggregation among so many sites.
type terms struct{ threshold, degree, shares int }

// group sets how many groups the sites are dealt into, and the terms of each size.
func (p *Plan) group() error {
	r := p.Spec.Robust
	p.Groups, p.terms = 1, map[int]terms{}
	if r != nil {
		if err := p.checkRobust(); err != nil {
			return err
		}
		p.Groups = p.Drawn / r.Group
	}
	for _, size := range p.sizes() {
		t := terms{threshold: 2*size/3 + 1}
		if !p.Spec.Secure.Off {
			var err error
			if t.threshold, t.degree, t.shares, err = secagg.Plan(size, p.dropout(), p.corruptShare()); err != nil {
				return err
			}
		}
		if r == nil && p.Spec.Sites.Least > t.threshold {
			t.threshold = p.Spec.Sites.Least
			if t.degree == 0 {
				t.shares = t.threshold - 1
			}
		}
		p.terms[size] = t
	}
	p.Threshold = p.terms[p.sizes()[0]].threshold
	p.least = max(p.Spec.Sites.Least, p.Drawn/2+1)
	return p.checkEnough()
}

func (p *Plan) checkRobust() error {
	r := p.Spec.Robust
	least := secagg.MinMembers
	if p.Spec.Secure.Off {
		least = 1
	}
	groups := p.Drawn / max(r.Group, 1)
	switch err := r.Check(); {
	case err != nil:
		return core.Errorf(core.Invalid, "%w", err).At("robust")
	case r.Group < least:
		return core.Errorf(core.Invalid, "groups of %d sites: want %d or more, for the hub sees the sum of each", r.Group, least).At("robust.group")
	case p.Spec.Weights.Rows > 0:
		return core.Errorf(core.Invalid, "with a robust rule all sites count alike: who poisons would lie about its rows, too").At("weights.rows")
	case groups < minGroups:
		return core.Errorf(core.Invalid, "%d sites are %d groups of %d: a rule takes at least %d groups", p.Drawn, groups, r.Group, minGroups).At("robust.group")
	case r.Withstands(groups) == 0:
		return core.Errorf(core.Invalid, "to trim %g of %d groups leaves none out: trim %.2g or more, or have more sites", r.Trim, groups, 1/float64(groups)+0.005).At("robust.trim")
	}
	return nil
}

// sizes are the sizes of groups that there are: one, or two that differ by one.
func (p *Plan) sizes() []int {
	size := p.Drawn / p.Groups
	if p.Drawn%p.Groups == 0 {
		return []int{size}
	}
	return []int{size, size + 1}
}

// largest is the size of the largest group.
func (p *Plan) largest() int { return slices.Max(p.sizes()) }

// params are those of secure aggregation in a group.
func (p *Plan) params(attempt core.Digest, members []secagg.Member, group []int) *secagg.Params {
	t := p.terms[len(group)]
	out := &secagg.Params{Round: attempt, Threshold: t.threshold, Degree: t.degree, Shares: t.shares, Dim: p.Dim(), Bits: int(p.Words.Modulus)}
	for _, i := range group {
		out.Members = append(out.Members, members[i])
	}
	return out
}

// bounded reports whether sites clip their updates: without masks only for a rule, lest a
// group's mean be what its longest update is.
func (p *Plan) bounded() bool { return !p.Spec.Secure.Off || p.Spec.Robust != nil }

// longest bounds the length of the mean of n updates of sites that clip theirs.
func (p *Plan) longest(n int) float64 {
	const slack = 1 + 1e-4 // of sums in binary32
	if p.Spec.Secure.Off {
		return p.Spec.Secure.Clip * slack
	}
	bound := p.Grid.L2()
	if p.Noise != nil {
		// The norm of d normal values, but for a chance of e^-x (Laurent and Massart, 2000).
		const x = 40
		d := float64(p.Grid.Len())
		bound += math.Sqrt(p.variance / float64(n) * (d + 2*math.Sqrt(d*x) + 2*x))
	}
	return bound * p.Grid.Step() * p.Grid.Gain() * slack
}

// Robustness says what a rule over groups is worth.
type Robustness struct {
	Rule  string `json:"rule"`
	Group int    `json:"group"`
	// Groups there are, of which the rule withstands so many tainted ones: and so as many
	// poisoners, wherever they are.
	Groups     int `json:"groups"`
	Withstands int `json:"withstands"`
	// Breakdown is the share of tainted groups from which on they have their way, and
	// Poisoners the share of sites that is expected to taint so many.
	Breakdown float64 `json:"breakdown"`
	Poisoners float64 `json:"poisoners"`
	Tainted10 float64 `json:"tainted_by_10_percent"` // expected share of groups
	Tainted20 float64 `json:"tainted_by_20_percent"`
	// Exposed is the chance that in a round a site is among so many that work with the hub
	// that the masks of its group do not hide it, if Corrupt of all do (sites.corrupt).
	Corrupt int     `json:"corrupt"`
	Exposed float64 `json:"exposed"`
}

// Robustness is what the Spec's rule is worth; nil: it asks for none.
func (p *Plan) Robustness() *Robustness {
	r := p.Spec.Robust
	if r == nil {
		return nil
	}
	out := &Robustness{
		Rule: string(r.Name), Group: p.Drawn / p.Groups, Groups: p.Groups, Withstands: r.Withstands(p.Groups), Breakdown: r.Breakdown(),
		Poisoners: robust.Poisoners(r.Group, r.Breakdown()), Tainted10: robust.Taint(r.Group, 0.1), Tainted20: robust.Taint(r.Group, 0.2),
		Corrupt: p.corrupt(), Exposed: p.Exposed(),
	}
	return out
}

// String is what somebody should know who relies on the rule, in one paragraph.
func (r *Robustness) String() string {
	rule := map[string]string{string(robust.Median): "median", string(robust.Trimmed): "trimmed mean"}[r.Rule]
	out := fmt.Sprintf("%s of %d groups of %d sites, dealt anew each round. Tainted groups that it withstands: %d, and so as many poisoners, whoever they are. It breaks down at %.0f %% tainted groups, "+
		"which %.0f %% of sites are expected to taint; 10 %% taint %.0f %% of groups, 20 %% taint %.0f %%.",
		rule, r.Groups, r.Group, r.Withstands, 100*r.Breakdown, 100*r.Poisoners, 100*r.Tainted10, 100*r.Tainted20)
	if r.Corrupt > 0 {
		out += fmt.Sprintf(" If %d sites work with the hub, a site's group hides it not at all in %.2g of rounds.", r.Corrupt, r.Exposed)
	}
	return out
}
