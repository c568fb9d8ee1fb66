package fed

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"atoll/internal/core"
	"atoll/internal/learn/merge"
	"atoll/internal/secagg"
)

// maxAttempts is how often a round is begun anew before the run stops; secagg.Plan counts
// on no more than 16.
const maxAttempts = 5

// State is a run between two rounds: all that there is to keep, besides the replies of the
// round under way.
type State struct {
	Run       core.Digest `json:"run"`
	Round     int         `json:"round"` // the one to come, or under way
	Attempt   int         `json:"attempt"`
	Params    []float32   `json:"params"`
	Optimizer merge.State `json:"optimizer"`
	Rounds    []Round     `json:"rounds"`          // that are over
	Start     []float32   `json:"start,omitempty"` // the parameters of the earlier model that it began with
	Promotion *Promotion  `json:"promotion,omitempty"`
	Stopped   string      `json:"stopped,omitempty"` // why there will be no more
}

// Vectors are what is large of a state: who keeps it may keep them apart.
func (s *State) Vectors() []*[]float32 {
	return []*[]float32{&s.Params, &s.Optimizer.First, &s.Optimizer.Second, &s.Start}
}

// Round is what came of one.
type Round struct {
	Number   int         `json:"number"`
	Attempts int         `json:"attempts"`
	Sites    []int       `json:"sites"`           // in the sum
	Stale    []int       `json:"stale,omitempty"` // how many rounds old each of their updates is, in an asynchronous run
	Out      []Out       `json:"out,omitempty"`
	Counts   Counts      `json:"counts"` // of the model that the round began with
	Params   core.Digest `json:"params"` // of the parameters that it ended with
	Sum      core.Digest `json:"sum"`    // of what the hub has unmasked
	Sent     int64       `json:"sent"`   // bytes of vectors that have come
	BeganMs  int64       `json:"began_ms"`
	EndedMs  int64       `json:"ended_ms"`
	Epsilon  float64     `json:"epsilon,omitempty"` // spent by the end of the round
	Groups   []Group     `json:"groups,omitempty"`  // of sites, with a robust rule
}

// Group is of sites that were added up together, or why they were not.
type Group struct {
	Sites []int  `json:"sites"`
	Why   string `json:"why,omitempty"` // it is not in the round
}

// Out is a site that is not in a round's sum, and why.
type Out struct {
	Site int    `json:"site"`
	Why  string `json:"why"`
}

// Send is an order to a site.
type Send struct {
	Site  int
	Order *Order
}

// Machine decides how a run goes on. It is not safe for concurrent use.
type Machine struct {
	plan    *Plan
	members []secagg.Member
	state   State
	cohorts []*cohort // of the attempt under way
	began   time.Time
}

// NewMachine begins a run, or goes on with one between two rounds. If the Spec begins with
// an earlier model the first state is of Plan.StateFrom.
func NewMachine(p *Plan, members []secagg.Member, state *State) (*Machine, error) {
	if len(members) != p.Sites {
		return nil, core.Errorf(core.Invalid, "%d sites in a plan for %d", len(members), p.Sites)
	}
	run, err := p.RunID(members)
	if err != nil {
		return nil, err
	}
	m := &Machine{plan: p, members: members, state: State{Run: run, Round: 1, Params: p.Model.Start(p.Spec.Model.Seed)}}
	if state != nil {
		if m.state = *state; state.Run != run {
			return nil, core.Errorf(core.Mismatch, "the state is of another run")
		}
	}
	return m, p.checkStart(state)
}

// RunID names a run: its ID, its Spec, and who takes part.
func (p *Plan) RunID(members []secagg.Member) (core.Digest, error) {
	d, err := p.Spec.Digest()
	b := append([]byte("atoll federation run v1\n"), p.ID...)
	b = append(append(b, '\n'), d[:]...)
	for _, m := range members {
		k := m.Key.Digest()
		b = append(append(append(b, m.Name...), '\n'), k[:]...)
	}
	return core.DigestOf(b), err
}

// State is the run as it was when the round under way began.
func (m *Machine) State() State { return m.state }

// Over reports whether there will be no more rounds.
func (m *Machine) Over() bool { return m.state.Stopped != "" || m.state.Round > m.last() }

// last is the number of the last round. Without privacy another one measures the model
// that came of all.
func (m *Machine) last() int {
	if m.plan.Spec.Privacy != nil {
		return m.plan.Spec.Rounds
	}
	return m.plan.Spec.Rounds + 1
}

// Waiting returns the step whose deadline is the next, that deadline, and all sites that
// are waited for. Groups of sites go through a round side by side.
func (m *Machine) Waiting() (step Step, sites []int, until time.Time) {
	for _, c := range m.cohorts {
		if c.idle() {
			continue
		}
		sites = append(sites, c.missing()...)
		if step == "" || c.deadline.Before(until) {
			step, until = c.order.Step, c.deadline
		}
	}
	return step, sites, until
}

// Begin starts the round that is due.
func (m *Machine) Begin(now time.Time) ([]Send, error) {
	if m.Over() {
		return nil, core.Errorf(core.Conflict, "the run is over")
	}
	m.state.Attempt, m.began, m.cohorts = m.state.Attempt+1, now, nil
	at := At{Run: m.state.Run, Round: m.state.Round, Attempt: m.state.Attempt}
	params := m.shown()
	var out []Send
	for _, sites := range m.plan.Deal(at.id()) {
		c, err := newCohort(m.plan, at, m.members, sites, params)
		if err != nil {
			return nil, err
		}
		m.cohorts = append(m.cohorts, c)
		out = append(out, c.ask(c.order, now)...)
	}
	return out, nil
}

// Again are the orders that the round still waits for: for sites that may have lost them.
func (m *Machine) Again() (out []Send) {
	for _, c := range m.cohorts {
		out = append(out, c.again()...)
	}
	return out
}

// Receive takes a site's reply. Its error says what is wrong with that; the round goes on.
func (m *Machine) Receive(r *Reply, now time.Time) ([]Send, error) {
	switch {
	case m.Over() || r.Run != m.state.Run || r.Round != m.state.Round || r.Attempt != m.state.Attempt:
		return nil, core.Errorf(core.Conflict, "a reply of round %d, attempt %d: the run is at round %d, attempt %d", r.Round, r.Attempt, m.state.Round, m.state.Attempt)
	case r.Site < 0 || r.Site >= len(m.members):
		return nil, core.Errorf(core.Invalid, "a reply of site %d of %d", r.Site, len(m.members))
	}
	i := slices.IndexFunc(m.cohorts, func(c *cohort) bool { return slices.Contains(c.sites, r.Site) })
	if i < 0 {
		return nil, core.Errorf(core.Conflict, "a reply of round %d, attempt %d, which has not begun, or for which the lot has not drawn %s", r.Round, r.Attempt, m.members[r.Site].Name)
	}
	if err := m.cohorts[i].take(r); err != nil {
		return nil, fmt.Errorf("%s: %w", m.members[r.Site].Name, err)
	}
	return m.advance(m.cohorts[i:i+1], now)
}

// Leave has a site out of the step that it is waited for in: it is known not to answer.
func (m *Machine) Leave(site int, why string, now time.Time) ([]Send, error) {
	for i, c := range m.cohorts {
		if slices.Contains(c.missing(), site) {
			c.out[site] = why
			return m.advance(m.cohorts[i:i+1], now)
		}
	}
	return nil, nil
}

// Tick lets time pass: sites that have not answered by the deadline are out of the step.
func (m *Machine) Tick(now time.Time) ([]Send, error) {
	var late []*cohort
	var again []Send
	for _, c := range m.cohorts {
		if c.idle() || now.Before(c.deadline) {
			continue
		}
		if more := c.expire(now); len(more) > 0 {
			again = append(again, more...)
			continue
		}
		late = append(late, c)
	}
	if m.Over() || len(late) == 0 {
		return again, nil
	}
	next, err := m.advance(late, now)
	return append(again, next...), err
}

// complaints are why sites are out of the attempt, of a few of them.
func (m *Machine) complaints() (out string) {
	const most = 3
	n := 0
	for _, c := range m.cohorts {
		for _, site := range slices.Sorted(maps.Keys(c.out)) {
			if n++; n <= most {
				out += fmt.Sprintf("; %s: %s", m.members[site].Name, c.out[site])
			}
		}
	}
	if n > most {
		out += fmt.Sprintf("; and %d more", n-most)
	}
	return out
}

// advance has cohorts go on, and the run once all of them are over. Sites open the masks
// of one attempt at a round alone: so nobody is asked to before it is known that enough
// groups can.
func (m *Machine) advance(cohorts []*cohort, now time.Time) (out []Send, err error) {
	for _, c := range cohorts {
		out = append(out, c.advance(now)...)
	}
	if slices.ContainsFunc(m.cohorts, func(c *cohort) bool { return !c.idle() }) {
		return out, nil
	}
	if err = m.enough(); err == nil {
		held := false
		for _, c := range m.cohorts {
			held = held || c.held != nil
			out = append(out, c.open(now)...)
		}
		if held { // and a machine made anew may have all openings already
			next, err := m.advance(m.cohorts, now)
			return append(out, next...), err
		}
		err = m.settle()
	}
	opened := slices.ContainsFunc(m.cohorts, func(c *cohort) bool { return c.opened })
	if err != nil && (opened || m.state.Attempt >= maxAttempts) {
		m.state.Stopped = fmt.Sprintf("round %d failed at attempt %d: %v%s", m.state.Round, m.state.Attempt, err, m.complaints())
	}
	if m.Over() {
		m.cohorts = nil
		return nil, nil
	}
	return m.Begin(now) // the next round, or this one anew, under other masks
}
