package fed

import (
	"fmt"
	"math"
	"slices"

	"atoll/internal/core"
	"atoll/internal/secagg"
)

// Promote has the model that was trained take the place of the one that the run began with
// only if it is better on the rows that the sites hold out. Both are measured in the last
// round, at the same sites; the hub learns sums over all of them.
type Promote struct {
	By Measure `json:"by"`
	// Margin is by how much it must be better than the old one, in nats a row or as a
	// share of the rows.
	Margin float64 `json:"margin,omitzero"`
}

// Measure is what models are compared by.
type Measure string

// The measures: the mean cross entropy of a row, and the share answered rightly.
const (
	ByLoss     Measure = "loss"
	ByAccuracy Measure = "accuracy"
)

// Promotion is what came of comparing.
type Promotion struct {
	Promoted bool        `json:"promoted"`
	By       Measure     `json:"by"`
	Margin   float64     `json:"margin"`
	Rows     int64       `json:"rows"` // held out, of the sites in the last sum
	Old      float64     `json:"old"`
	New      float64     `json:"new"`
	Trained  core.Digest `json:"trained"` // the parameters that training came to
}

func (s *Spec) checkPromote() error {
	p := s.Promote
	switch {
	case p == nil:
		return nil
	case p.By != ByLoss && p.By != ByAccuracy:
		return core.Errorf(core.Invalid, "models are compared by %.40q: want %s or %s", string(p.By), ByLoss, ByAccuracy).At("promote.by")
	case !(p.Margin >= 0) || math.IsInf(p.Margin, 0) || p.By == ByAccuracy && p.Margin >= 1:
		return core.Errorf(core.Invalid, "a margin of %g: want 0 or more, and a share of rows to be under 1", p.Margin).At("promote.margin")
	case s.Privacy != nil:
		return core.Errorf(core.Invalid, "with privacy nothing of the rows held out is told, and so no model can be compared with another").At("promote")
	}
	return nil
}

// StateFrom is the beginning of a run with an earlier model's parameters, which start_from
// of the Spec must name by their digest.
func (p *Plan) StateFrom(members []secagg.Member, params []float32) (*State, error) {
	run, err := p.RunID(members)
	if err != nil {
		return nil, err
	}
	s := &State{Run: run, Round: 1, Params: params, Start: slices.Clone(params)}
	return s, p.checkStart(s)
}

// checkStart refuses a state that does not begin as its Spec says; nil stands for none.
func (p *Plan) checkStart(s *State) error {
	want := p.Spec.StartFrom
	var start []float32
	if s != nil {
		start = s.Start
	}
	switch got := core.DigestOf(packFloats(start)); {
	case want.IsZero() && start == nil:
		return nil
	case want.IsZero():
		return core.Errorf(core.Mismatch, "an earlier model is given, and the federation does not name it: its parameters are %s", got).At("start_from")
	case start == nil:
		return core.Errorf(core.Mismatch, "the federation begins with the parameters %s, and no earlier model is given", want).At("start_from")
	case got != want:
		return core.Errorf(core.Mismatch, "the federation begins with the parameters %s, and those of the model given are %s", want, got).At("start_from")
	case len(start) != p.Model.Size():
		return core.Errorf(core.Mismatch, "the model to begin with has %d parameters, and that of the federation %d", len(start), p.Model.Size()).At("start_from")
	}
	return nil
}

// start are the parameters that the run began with.
func (m *Machine) start() []float32 {
	if m.state.Start != nil {
		return m.state.Start
	}
	return m.plan.Model.Start(m.plan.Spec.Model.Seed)
}

// compares reports whether a round measures two models.
func (p *Plan) compares(round int) bool { return p.Spec.Promote != nil && round > p.Spec.Rounds }

// shown are the parameters that sites are told in a round: the newest, and where models are
// compared those that the run began with behind them.
func (m *Machine) shown() []byte {
	if m.plan.compares(m.state.Round) {
		return append(packFloats(m.state.Params), packFloats(m.start())...)
	}
	return packFloats(m.state.Params)
}

// readShown reads what shown has written; before is nil unless models are compared.
func (p *Plan) readShown(o *Order) (params, before []float32, err error) {
	n := p.Model.Size()
	if !p.compares(o.Round) {
		params, err = unpackFloats(o.Params, n)
		return params, nil, err
	}
	if params, err = unpackFloats(o.Params, 2*n); err != nil {
		return nil, nil, err
	}
	return params[:n], params[n:], nil
}

// promote ends a run with the better of two models.
func (m *Machine) promote(next *State, c Counts) {
	p := m.plan.Spec.Promote
	out := &Promotion{By: p.By, Margin: p.Margin, Rows: c.Held, Trained: core.DigestOf(packFloats(next.Params))}
	if rows := float64(c.Held); rows > 0 { // else nobody knows that the new one is better
		if p.By == ByAccuracy {
			out.Old, out.New = float64(c.RightBefore)/rows, float64(c.Right)/rows
			out.Promoted = out.New > out.Old+p.Margin
		} else {
			out.Old, out.New = float64(c.LossBefore)/1000/rows, float64(c.Loss)/1000/rows
			out.Promoted = out.New < out.Old-p.Margin
		}
	}
	if !out.Promoted {
		next.Params = m.start()
	}
	next.Promotion = out
}

// String says which model it is, and why.
func (p *Promotion) String() string {
	if p.Rows == 0 {
		return "the model is the old one: no rows are held out to compare by"
	}
	is := "old"
	if p.Promoted {
		is = "new"
	}
	return fmt.Sprintf("the model is the %s one: on %d rows held out the %s of the new one is %.4f, of the old one %.4f, and must be better by more than %g", is, p.Rows, p.By, p.New, p.Old, p.Margin)
}
