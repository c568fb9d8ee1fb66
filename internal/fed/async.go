package fed

import (
	"fmt"
	"maps"
	"slices"

	"atoll/internal/core"
)

// Async has sites train at their own pace, each on the newest parameters that it has seen
// when it begins, and the hub make a step as soon as Buffer of them are ready: FedBuff
// (Nguyen et al., "Federated learning with buffered asynchronous aggregation", 2022). A
// round is one buffer, and those in it are the members of its secure aggregation.
type Async struct {
	Buffer int `json:"buffer"`
	// Staleness is how many rounds old the parameters may be that an update was trained on.
	// What is older is thrown away; what is newer counts by 1/√(1 + its age).
	Staleness int `json:"staleness"`
}

// MaxStaleness bounds for how many rounds sites keep their journals.
const MaxStaleness = 100

// checkAsync refuses what buffers cannot be. The hub chooses who is in one, for it says who
// was ready first: so all who work with it are counted into each.
func (p *Plan) checkAsync() error {
	a, s := p.Spec.Async, &p.Spec.Sites
	if a == nil {
		return nil
	}
	switch {
	case s.Select != 0 || s.Enough != 0:
		return core.Errorf(core.Invalid, "a buffer is of the first %d that are ready: nobody is drawn, and nobody late", a.Buffer).At("sites")
	case p.Spec.Robust != nil:
		return core.Errorf(core.Invalid, "a lot deals groups for a robust rule among those whom nobody has chosen, and the hub could choose who is in a buffer").At("async")
	case a.Buffer < 1 || a.Buffer > p.Sites:
		return core.Errorf(core.Invalid, "a buffer of %d of %d sites", a.Buffer, p.Sites).At("async.buffer")
	case a.Staleness < 0 || a.Staleness > MaxStaleness:
		return core.Errorf(core.Invalid, "updates up to %d rounds old: want 0 to %d", a.Staleness, MaxStaleness).At("async.staleness")
	case !p.Spec.Secure.Off && 3*p.corrupt() > a.Buffer:
		return core.Errorf(core.Invalid, "%d of %d sites may work with the hub, which chooses who is in a buffer of %d: they must be a third of it at most", p.corrupt(), p.Sites, a.Buffer).
			At("sites.corrupt").WithHint(fmt.Sprintf("have a buffer of %d, or trust the sites more: sites.corrupt up to %.2g", 3*p.corrupt(), float64(a.Buffer/3)/float64(p.Sites)))
	}
	return nil
}

// Oldest is the first round whose journals a site still needs in a given one.
func (p *Plan) Oldest(round int) int {
	if p.Spec.Async == nil {
		return round
	}
	return max(round-p.Spec.Async.Staleness, 1)
}

// checkRoster refuses a buffer in which a site does not take part, or which is none.
func (p *Plan) checkRoster(site int, roster []int) error {
	ordered := slices.IsSorted(roster) && len(slices.Compact(slices.Clone(roster))) == len(roster)
	if !ordered || len(roster) != p.Drawn || roster[0] < 0 || roster[len(roster)-1] >= p.Sites {
		return core.Errorf(core.Invalid, "a buffer of %d sites: want %d, each once, in order", len(roster), p.Drawn)
	}
	if !slices.Contains(roster, site) {
		return core.Errorf(core.Forbidden, "this site is not in the buffer")
	}
	return nil
}

// takeReady puts a site into the buffer.
func (c *cohort) takeReady(r *Reply) error {
	if c.order.Step != StepReady {
		return core.Errorf(core.Conflict, "the buffer of round %d is closed", r.Round)
	}
	if oldest := c.plan.Oldest(r.Round); r.Version < oldest || r.Version > r.Round {
		return core.Errorf(core.Invalid, "an update of the parameters of round %d: want one of rounds %d to %d", r.Version, oldest, r.Round)
	}
	delete(c.out, r.Site) // it is back
	c.ready[r.Site] = r.Version
	return nil
}

// closeReady ends a buffer: those in it are the cohort from then on.
func (c *cohort) closeReady(o *Order) (err error) {
	if len(c.ready) < c.plan.Drawn {
		return core.Errorf(core.Unavailable, "%d of %d sites are ready: a buffer takes %d", len(c.ready), len(c.sites), c.plan.Drawn)
	}
	c.gather(slices.Sorted(maps.Keys(c.ready)))
	o.Roster, o.Params, c.params = c.sites, nil, nil
	if o.Step = StepPlain; c.plan.Spec.Secure.Off {
		return nil
	}
	o.Step = StepKeys
	return c.serve(o.At)
}

// stale is how old the parameters were that each of these sites has trained on, in rounds.
func (c *cohort) stale(sites []int) (out []int) {
	for _, i := range sites {
		out = append(out, c.order.Round-c.ready[i])
	}
	return out
}
