package fed

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"atoll/internal/codec"
	"atoll/internal/core"
	"atoll/internal/learn/merge"
)

// unmask ends a cohort with what its sum says.
func (c *cohort) unmask() error {
	words, err := c.server.Sum()
	if err != nil {
		return err
	}
	c.opened = true
	survivors, err := c.server.CloseVectors()
	if err != nil {
		return err
	}
	s := &sum{digest: digestWords(words)}
	for _, i := range survivors {
		s.sites = append(s.sites, c.sites[i])
	}
	n := c.plan.Grid.Len()
	s.counts = countsOf(words[n:])
	if s.update, err = c.plan.Grid.Decode(words[:n], c.plan.Words.Modulus, seed(c.order.id(), c.order.Keys)); err != nil {
		return err
	}
	return c.checked(s)
}

// addPlain ends a cohort without masks.
func (c *cohort) addPlain() error {
	if least := c.terms().threshold; len(c.plain) < least {
		return core.Errorf(core.Unavailable, "%d of %d sites have sent an update: %d must", len(c.plain), len(c.sites), least)
	}
	total := make([]float64, c.plan.Grid.Shape().Dim)
	s := &sum{update: make([]float32, len(total))}
	for _, site := range c.sites {
		u := c.plain[site]
		if u == nil {
			continue
		}
		for j, v := range u.update {
			total[j] += float64(v)
		}
		s.counts.add(u.counts)
		s.sites = append(s.sites, site)
	}
	for i, v := range total {
		s.update[i] = float32(v)
	}
	s.digest = core.DigestOf(packFloats(s.update))
	return c.checked(s)
}

// checked takes a sum if it is no longer than that of honest sites can be.
func (c *cohort) checked(s *sum) error {
	length, err := codec.Norm(s.update)
	if err != nil {
		return err
	}
	n := float64(len(s.sites))
	if most := n * c.plan.longest(len(s.sites)); c.plan.bounded() && !(length <= most) {
		return core.Errorf(core.Forbidden, "%s has a length of %.4g, and of sites that keep to the clip at most %.4g: one of them poisons the model", c, length, most)
	}
	c.sum = s
	return nil
}

// training reports whether the round is one in which the model is trained.
func (m *Machine) training() bool { return m.state.Round <= m.plan.Spec.Rounds }

// settle ends a round whose cohorts are over: it makes a step of what they have come to.
func (m *Machine) settle() error {
	total := m.total()
	next := m.state
	if m.training() {
		update, err := m.together(total)
		if err == nil {
			next.Params, next.Optimizer, err = m.plan.Spec.Server.Step(m.state.Params, update, m.state.Optimizer)
		}
		if err != nil {
			return fmt.Errorf("the sum of the updates: %w", err)
		}
	}
	if m.plan.compares(m.state.Round) {
		m.promote(&next, total.counts)
	}
	r := m.round(total)
	r.Params = ParamsDigest(next.Params)
	next.Rounds = append(slices.Clip(next.Rounds), r)
	next.Round, next.Attempt = next.Round+1, 0
	m.state = next
	return nil
}

// enough refuses to go on with a round if too few of its cohorts have not failed.
func (m *Machine) enough() error {
	sites, good := 0, 0
	var failed error
	for _, c := range m.cohorts {
		if c.failed != nil {
			failed = c.failed
			continue
		}
		sites, good = sites+c.alive(), good+1
	}
	switch r := m.plan.Spec.Robust; {
	case r == nil:
		return failed
	case r.Withstands(good) == 0:
		return core.Errorf(core.Unavailable, "%d of %d groups are left, of which the rule withstands no tainted one: %w", good, len(m.cohorts), failed)
	case sites < m.plan.least:
		return core.Errorf(core.Unavailable, "%d sites are left in %d groups: want %d", sites, good, m.plan.least)
	}
	return nil
}

// total is what of the cohorts' sums needs no rule.
func (m *Machine) total() *sum {
	t := new(sum)
	var digests []byte
	for _, c := range m.cohorts {
		if c.failed == nil {
			t.sites = append(t.sites, c.sum.sites...)
			t.counts.add(c.sum.counts)
			t.digest = c.sum.digest
			digests = append(digests, t.digest[:]...)
		}
	}
	if len(m.cohorts) > 1 {
		slices.Sort(t.sites)
		t.digest = core.DigestOf(digests)
	}
	return t
}

// together puts the cohorts' updates together: the mean of all sites, or what a rule makes
// of the means of groups.
func (m *Machine) together(total *sum) ([]float32, error) {
	r := m.plan.Spec.Robust
	if r == nil {
		weight := float64(len(total.sites))
		if most := m.plan.Spec.Weights.Rows; most > 0 {
			weight = float64(total.counts.Rows) / float64(most)
		}
		mean := m.cohorts[0].sum.update
		return mean, merge.Divide(mean, weight)
	}
	var means [][]float32
	for _, c := range m.cohorts {
		if c.failed != nil {
			continue
		}
		if err := merge.Divide(c.sum.update, float64(len(c.sum.sites))); err != nil {
			return nil, err
		}
		means = append(means, c.sum.update)
	}
	return r.Of(means)
}

// round tells of the one that ends.
func (m *Machine) round(total *sum) Round {
	r := Round{Number: m.state.Round, Attempts: m.state.Attempt, Sites: total.sites, Counts: total.counts, Sum: total.digest, BeganMs: m.began.UnixMilli()}
	for _, c := range m.cohorts {
		r.Sent += c.sent
		r.EndedMs = max(r.EndedMs, c.deadline.Add(-time.Duration(m.plan.Spec.Deadline)).UnixMilli())
		if m.plan.Spec.Async != nil {
			r.Stale = c.stale(r.Sites)
		}
		why := ""
		if c.failed != nil {
			why = c.failed.Error()
		}
		if len(m.cohorts) > 1 {
			r.Groups = append(r.Groups, Group{c.sites, why})
		}
		for _, i := range c.sites {
			if !slices.Contains(total.sites, i) {
				r.Out = append(r.Out, Out{i, cmp.Or(c.out[i], "its group: "+why)})
			}
		}
	}
	slices.SortFunc(r.Out, func(a, b Out) int { return a.Site - b.Site })
	if v := m.plan.Spec.Privacy; v != nil {
		r.Epsilon, _ = m.plan.PerRound.Times(m.state.Round).Epsilon(v.Delta)
	}
	return r
}

func digestWords(words []uint32) core.Digest {
	b := make([]byte, 0, 4*len(words))
	for _, w := range words {
		b = append(b, byte(w), byte(w>>8), byte(w>>16), byte(w>>24))
	}
	return core.DigestOf(b)
}

// plainSize is the most bytes of a vector without masks: the update, and the counts.
func (p *Plan) plainSize() int64 {
	dim := p.Grid.Shape().Dim
	n := 4 * int64(dim)
	if p.Feeds() {
		n = codec.MaxMessage(dim, p.keep(dim))
	}
	return n + counts*countWords
}

// appendPlain is an update as it is, and the counts.
func (p *Plan) appendPlain(update []float32, c Counts) []byte {
	return c.appendBytes(packFloats(update))
}

func (p *Plan) readPlain(b []byte) (update []float32, c Counts, err error) {
	if c, b, err = cutCounts(b); err != nil {
		return nil, c, err
	}
	if update, err = unpackFloats(b, p.Grid.Shape().Dim); err == nil {
		_, err = codec.Norm(update)
	}
	return update, c, err
}
