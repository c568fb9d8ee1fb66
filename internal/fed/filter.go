package fed

import (
	"slices"

	"atoll/internal/core"
	"atoll/internal/policy"
)

// Candidate is a node that has the dataset.
type Candidate struct {
	Name    string
	Country string
	Labels  map[string]string
}

// Filter returns what says why a candidate is not asked; empty: it is. Its error is
// core.Invalid.
func (s *Sites) Filter() (func(*Candidate) string, error) {
	selector, err := policy.ParseSelector(s.Selector)
	if err != nil {
		return nil, core.Errorf(core.Invalid, "%w", err).At("sites.selector")
	}
	residency, err := policy.Parse(s.Residency)
	if err != nil {
		return nil, core.Errorf(core.Invalid, "%w", err).At("sites.residency")
	}
	return func(c *Candidate) string {
		switch {
		case len(s.Nodes) > 0 && !slices.Contains(s.Nodes, c.Name):
			return "sites.nodes does not name it"
		case !selector.Matches(c.Labels):
			return "its labels do not match " + selector.String()
		case !residency.Allows(c.Country):
			return "it is in " + c.Country + ", not in " + residency.String()
		}
		return ""
	}, nil
}
