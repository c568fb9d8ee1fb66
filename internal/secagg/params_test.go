package secagg

import (
	"slices"
	"testing"

	"atoll/internal/core"
)

// What is refused of Params.
func TestParamsAreRefused(t *testing.T) {
	t.Parallel()
	good := newCast(t, 1, 9, 4, 3, 10, 8).p
	for reason, change := range map[string]func(*Params){
		"the round has no ID":               func(p *Params) { p.Round = core.Digest{} },
		"2 members":                         func(p *Params) { p.Members = p.Members[:2] },
		"want over two thirds":              func(p *Params) { p.Threshold = 6 },
		"want an even number":               func(p *Params) { p.Degree = 3 },
		"lest the members fall into groups": func(p *Params) { p.Shares = 2 },
		"no more than there are":            func(p *Params) { p.Shares = 5 },
		"though 7 members must agree":       func(p *Params) { p.Degree, p.Shares = 0, 5 },
		"0 words":                           func(p *Params) { p.Dim = 0 },
		"33 bits":                           func(p *Params) { p.Bits = 33 },
		"want names in order":               func(p *Params) { p.Members = slices.Clone(p.Members); p.Members[3].Name = p.Members[2].Name },
	} {
		p := *good
		change(&p)
		_, err := NewServer(&p)
		refused(t, err, core.Invalid, reason)
	}
}
