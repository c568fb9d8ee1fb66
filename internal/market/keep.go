package market

import (
	"bytes"
	"cmp"
	"slices"

	"atoll/internal/core"
)

// Keep picks up to n nodes that are to hold a model in memory for requests that
// are yet to come: the best of those that may do it, were none of them busy. As
// each change costs a load, those that hold it, or were picked before, come first.
func (r *Request) Keep(offers []*Offer, before []core.NodeID, n int, budget core.Money) (picked []*Offer) {
	type candidate struct {
		*Offer
		new   bool
		score float64
		lot   core.Digest // spreads the models over equal nodes
	}
	var fit []candidate
	usual := usualLatency(offers)
	for _, o := range offers {
		if r.Never(o, budget) != "" {
			continue
		}
		idle := *o
		idle.InFlight = 0
		fit = append(fit, candidate{
			Offer: o, new: !slices.Contains(o.Loaded, r.Model) && !slices.Contains(before, o.Node),
			score: r.score(&idle, usual, nil), lot: core.DigestOf([]byte(r.Model.String() + string(o.Node))),
		})
	}
	slices.SortFunc(fit, func(a, b candidate) int {
		if a.new != b.new {
			if a.new {
				return 1
			}
			return -1
		}
		return cmp.Or(cmp.Compare(a.score, b.score), bytes.Compare(a.lot[:], b.lot[:]))
	})
	for _, o := range fit {
		taken := func(p *Offer) bool { return r.Distinct && p.Owner == o.Owner }
		if len(picked) < n && o.Price <= budget && !slices.ContainsFunc(picked, taken) {
			picked = append(picked, o.Offer)
			budget -= o.Price
		}
	}
	return picked
}
