package fed

import (
	"fmt"
	"slices"
	"time"

	"atoll/internal/core"
	"atoll/internal/learn/merge"
	"atoll/internal/secagg"
)

// maxAttempts is how often a round is begun anew before the run stops.
const maxAttempts = 5

// State is a run between two rounds: all that there is to keep, besides the replies of the
// round under way.
type State struct {
	Run       core.Digest `json:"run"`
	Round     int         `json:"round"` // the one to come, or under way
	Attempt   int         `json:"attempt"`
	Params    []float32   `json:"params"`
	Optimizer merge.State `json:"optimizer"`
	Rounds    []Round     `json:"rounds"`            // that are over
	Stopped   string      `json:"stopped,omitempty"` // why there will be no more
}

// Round is what came of one.
type Round struct {
	Number   int         `json:"number"`
	Attempts int         `json:"attempts"`
	Sites    []int       `json:"sites"` // in the sum
	Out      []Out       `json:"out,omitempty"`
	Counts   Counts      `json:"counts"` // of the model that the round began with
	Params   core.Digest `json:"params"` // of the parameters that it ended with
	Sum      core.Digest `json:"sum"`    // of what the hub has unmasked
	Sent     int64       `json:"sent"`   // bytes of vectors that have come
	BeganMs  int64       `json:"began_ms"`
	EndedMs  int64       `json:"ended_ms"`
	Epsilon  float64     `json:"epsilon,omitempty"` // spent by the end of the round
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
	plan     *Plan
	members  []secagg.Member
	state    State
	server   *secagg.Server // of the attempt under way, if there are masks
	plain    map[int][]byte // vectors, if there are none
	step     Step
	order    Order // of the step, as all are told
	deadline time.Time
	began    time.Time
	out      map[int]string // who takes no part in the attempt any more
	waited   int            // deadlines that have passed without enough openings
	sent     int64
}

// NewMachine begins a run, or goes on with one between two rounds.
func NewMachine(p *Plan, members []secagg.Member, state *State) (*Machine, error) {
	if len(members) != p.Sites {
		return nil, core.Errorf(core.Invalid, "%d sites in a plan for %d", len(members), p.Sites)
	}
	run, err := RunID(p.Spec, members)
	if err != nil {
		return nil, err
	}
	m := &Machine{plan: p, members: members, state: State{Run: run, Round: 1, Params: p.Model.Start(p.Spec.Model.Seed)}}
	if state != nil {
		if m.state = *state; state.Run != run {
			return nil, core.Errorf(core.Mismatch, "the state is of another run")
		}
	}
	return m, nil
}

// RunID names a run: its Spec, and who takes part.
func RunID(s *Spec, members []secagg.Member) (core.Digest, error) {
	d, err := s.Digest()
	b := append([]byte("atoll federation run v1\n"), d[:]...)
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

// Waiting returns the step under way, the sites that it waits for, and until when.
func (m *Machine) Waiting() (Step, []int, time.Time) {
	return m.step, m.missing(), m.deadline
}

// Begin starts the round that is due.
func (m *Machine) Begin(now time.Time) ([]Send, error) {
	if m.Over() {
		return nil, core.Errorf(core.Conflict, "the run is over")
	}
	m.state.Attempt, m.began = m.state.Attempt+1, now
	m.waited = 0
	m.out, m.plain, m.sent = map[int]string{}, map[int][]byte{}, 0
	at := At{Run: m.state.Run, Round: m.state.Round, Attempt: m.state.Attempt, Step: StepKeys}
	if m.plan.Spec.Secure.Off {
		at.Step = StepPlain
		return m.ask(Order{At: at, Params: packFloats(m.state.Params)}, now), nil
	}
	var err error
	if m.server, err = secagg.NewServer(m.plan.Params(at.id(), m.members)); err != nil {
		return nil, err
	}
	return m.ask(Order{At: at}, now), nil
}

// ask begins a step: it orders it of all who still take part.
func (m *Machine) ask(o Order, now time.Time) (out []Send) {
	m.step, m.order = o.Step, o
	m.deadline = now.Add(time.Duration(m.plan.Spec.Deadline))
	for _, site := range m.missing() {
		out = append(out, Send{site, m.orderFor(site)})
	}
	return out
}

// orderFor is the step's order as one site is told.
func (m *Machine) orderFor(site int) *Order {
	o := m.order
	switch o.Step {
	case StepVector, StepSign, StepOpening:
		o.Inbox = m.server.Inbox(site)
	}
	return &o
}

// Again are the orders that the step still waits for: for sites that may have lost them.
func (m *Machine) Again() (out []Send) {
	for _, site := range m.missing() {
		out = append(out, Send{site, m.orderFor(site)})
	}
	return out
}

// missing are the sites that the step waits for.
func (m *Machine) missing() (out []int) {
	var lack []int
	if m.plan.Spec.Secure.Off {
		for i := range m.members {
			if m.plain[i] == nil {
				lack = append(lack, i)
			}
		}
	} else {
		lack = m.server.Missing()
	}
	for _, i := range lack {
		if _, gone := m.out[i]; !gone {
			out = append(out, i)
		}
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
	if err := m.take(r); err != nil {
		return nil, fmt.Errorf("%s: %w", m.members[r.Site].Name, err)
	}
	return m.advance(now)
}

// take adds a reply to the step that it is for.
func (m *Machine) take(r *Reply) error {
	empty := func(is bool) error {
		if is {
			return core.Errorf(core.Invalid, "a reply to the step %q without what it asks for", r.Step)
		}
		return nil
	}
	if r.Refused != "" {
		if r.Step == m.step && slices.Contains(m.missing(), r.Site) {
			m.out[r.Site] = "it refuses: " + core.Clip(r.Refused, 500)
		}
		return nil
	}
	if m.plan.Spec.Secure.Off {
		return m.takePlain(r)
	}
	switch r.Step {
	case StepKeys:
		if err := empty(r.Keys == nil || r.Keys.From != r.Site); err != nil {
			return err
		}
		return m.server.Advertise(*r.Keys)
	case StepLot:
		if err := empty(r.Part == nil || r.Part.From != r.Site); err != nil {
			return err
		}
		return m.server.Reveal(*r.Part)
	case StepShares:
		return m.server.Share(r.Site, r.Sealed)
	case StepVector:
		err := m.server.Mask(r.Site, r.Vector)
		if err == nil {
			m.sent += int64(len(r.Vector))
		}
		return err
	case StepSign:
		if err := empty(r.Agreement == nil || r.Agreement.From != r.Site); err != nil {
			return err
		}
		return m.server.Agree(*r.Agreement)
	case StepOpening:
		if err := empty(r.Opening == nil || r.Opening.From != r.Site); err != nil {
			return err
		}
		return m.server.Open(r.Opening)
	}
	return core.Errorf(core.Invalid, "a reply to the step %.40q, which there is not", r.Step)
}

func (m *Machine) takePlain(r *Reply) error {
	if want := m.plan.plainSize(); r.Step != StepPlain || len(r.Vector) != want {
		return core.Errorf(core.Invalid, "a vector of %d bytes: want %d", len(r.Vector), want)
	}
	if m.plain[r.Site] == nil {
		m.sent += int64(len(r.Vector))
		m.plain[r.Site] = r.Vector
	}
	return nil
}

// Tick lets time pass: sites that have not answered by the deadline are out of the step.
func (m *Machine) Tick(now time.Time) ([]Send, error) {
	if m.Over() || m.step == "" || now.Before(m.deadline) {
		return nil, nil
	}
	if m.step == StepOpening && m.waited < maxWaits {
		// Sites open the masks of one attempt alone: there may be no other.
		m.waited++
		m.deadline = now.Add(time.Duration(m.plan.Spec.Deadline))
		return m.Again(), nil
	}
	for _, site := range m.missing() {
		m.out[site] = fmt.Sprintf("no %s within %s", m.step, time.Duration(m.plan.Spec.Deadline))
	}
	return m.advance(now)
}

// maxWaits is for how many deadlines openings are waited for.
const maxWaits = 10

// advance closes the step once nobody is waited for.
func (m *Machine) advance(now time.Time) ([]Send, error) {
	if len(m.missing()) > 0 && (m.step != StepOpening || !m.server.Openable()) {
		return nil, nil
	}
	next, err := m.close()
	switch {
	case err != nil:
		return m.failed(err, now)
	case next != nil:
		return m.ask(*next, now), nil
	}
	m.step = ""
	if m.Over() {
		return nil, nil
	}
	return m.Begin(now)
}

// close ends the step, and returns the next one's order; nil: the round is over.
func (m *Machine) close() (*Order, error) {
	o := m.order
	var err error
	switch m.step {
	case StepKeys:
		o.Keys, err = m.server.CloseKeys()
		o.Step = StepLot
		if m.plan.Degree == 0 {
			o.Step = StepShares
		}
	case StepLot:
		o.Parts, err = m.server.CloseLot()
		o.Step = StepShares
	case StepShares:
		o.Params, o.Step, err = packFloats(m.state.Params), StepVector, m.server.CloseShares()
	case StepVector:
		o.Survivors, err = m.server.CloseVectors()
		o.Params, o.Step = nil, StepSign
	case StepSign:
		o.Agreements, err = m.server.CloseAgreement()
		o.Step = StepOpening
	case StepOpening:
		return nil, m.unmask()
	case StepPlain:
		return nil, m.addPlain()
	}
	return &o, err
}

// failed begins the round anew, under other masks.
func (m *Machine) failed(why error, now time.Time) ([]Send, error) {
	m.step = ""
	if m.state.Attempt >= maxAttempts {
		m.state.Stopped = fmt.Sprintf("round %d failed %d times: %v", m.state.Round, m.state.Attempt, why)
		return nil, nil
	}
	return m.Begin(now)
}
