package fed

import (
	"encoding/json"
	"errors"
	"math"
	"time"

	fastjson "github.com/go-json-experiment/json"

	"atoll/api"
	"atoll/internal/codec"
	"atoll/internal/core"
	"atoll/internal/learn/merge"
	"atoll/internal/learn/model"
	"atoll/internal/privacy"
	"atoll/internal/table"
)

// Limits of a Spec.
const (
	MaxRounds = 10_000
	MaxSpec   = 4 << 20 // bytes
)

// Spec is a federation as its owner asks for it. What is left out has the defaults that
// the fields say.
type Spec struct {
	Name     string          `json:"name"`
	Purpose  string          `json:"purpose,omitempty"` // one that the datasets' owners allow
	Dataset  string          `json:"dataset"`           // its name, the same at all sites
	Schema   json.RawMessage `json:"schema"`            // a Frictionless Table Schema
	Features table.Features  `json:"features"`
	Holdout  table.Holdout   `json:"holdout,omitzero"` // a fifth of the rows by their key, unless it is said

	Model   Model           `json:"model"`
	Rounds  int             `json:"rounds"`
	Train   model.Config    `json:"train"`
	Server  merge.Optimizer `json:"server,omitzero"` // fedavg
	Weights Weights         `json:"weights,omitzero"`
	Robust  *Robust         `json:"robust,omitempty"`

	Compress *Compress `json:"compress,omitempty"`

	// StartFrom names the parameters of an earlier model to begin with; zero: the model's
	// own. See Promote for what becomes of it.
	StartFrom core.Digest `json:"start_from,omitzero"`
	Promote   *Promote    `json:"promote,omitempty"`
	Async     *Async      `json:"async,omitempty"`
	Schedule  *Schedule   `json:"schedule,omitempty"`

	Sites    Sites        `json:"sites,omitzero"`
	Secure   Secure       `json:"secure,omitzero"`
	Privacy  *Privacy     `json:"privacy,omitempty"`
	Deadline api.Duration `json:"deadline,omitzero"` // of each step of a round; 1 minute
}

// Schedule has a hub begin the federation again, each time over who has the dataset then.
// With Promote each run begins with the model that the one before has yielded, else anew.
type Schedule struct {
	Every api.Duration `json:"every"`         // from one beginning to the next, if it is over by then
	Runs  int          `json:"runs,omitzero"` // in all; 0: until it is stopped
}

// check refuses a schedule that is none.
func (s *Schedule) check() error {
	if s != nil && (time.Duration(s.Every) < time.Second || s.Runs < 0) {
		return core.Errorf(core.Invalid, "%d runs, one every %s: want 0 or more, and a second at least", s.Runs, time.Duration(s.Every)).At("schedule")
	}
	return nil
}

// Model is what is trained. Its inputs and classes follow from the features.
type Model struct {
	Kind   model.Kind `json:"kind"`
	Hidden []int      `json:"hidden,omitempty"`
	Bits   int        `json:"bits,omitempty"`
	Seed   uint64     `json:"seed,omitempty"` // of its first parameters, and of the order in which sites take their rows
}

// Weights say how much each site counts.
type Weights struct {
	// Rows: a site counts by its rows, up to so many. 0: all sites count alike.
	Rows int `json:"rows,omitempty"`
}

// Sites say who is asked, and who is needed.
type Sites struct {
	Nodes     []string `json:"nodes,omitzero"`     // only these; else all that have the dataset
	Selector  string   `json:"selector,omitzero"`  // labels that they must match
	Residency []string `json:"residency,omitzero"` // countries, or groups of them, where they must be

	// Select is how many a lot draws for each attempt at a round; 0: all are asked.
	Select int `json:"select,omitzero"`
	// Enough, if not 0, is with how many vectors a sum is closed: who is slower is out of
	// the round.
	Enough  int     `json:"enough,omitzero"`
	Least   int     `json:"least,omitempty"`   // in a round; more than two thirds, of groups more than half
	Dropout float64 `json:"dropout,omitempty"` // share that may stay away; 0.2
	Corrupt float64 `json:"corrupt,omitempty"` // share that may work with the hub; a third
}

// Secure is how updates are hidden from the hub.
type Secure struct {
	Off  bool    `json:"off,omitempty"` // they are not: for trying out
	Clip float64 `json:"clip,omitempty"`
	Bits int     `json:"bits,omitempty"` // of a value: 16
}

// Privacy bounds what the model tells of one unit of the data.
type Privacy struct {
	Unit    privacy.Unit `json:"unit"`
	Epsilon float64      `json:"epsilon"`
	Delta   float64      `json:"delta"`
	// Of records and customers, by DP-SGD: Steps of gradient descent in a round, each
	// over a random share of the units, whose gradients are clipped.
	Steps  int     `json:"steps,omitempty"`
	Sample float64 `json:"sample,omitempty"`
	Clip   float64 `json:"clip,omitempty"`
}

// Defaults.
const (
	defaultClip     = 8
	defaultBits     = 16
	defaultDropout  = 0.2
	defaultDeadline = api.Duration(time.Minute)
	defaultHoldout  = 200_000 // of a million
	wrap            = 1e-9    // the chance that a round's sum is spoilt by noise that wraps around
)

// Parse reads a Spec, and refuses members that it does not know.
func Parse(data []byte) (*Spec, error) {
	if len(data) > MaxSpec {
		return nil, core.Errorf(core.Invalid, "a federation of %d bytes, at most %d", len(data), MaxSpec)
	}
	s := new(Spec)
	if err := api.Decode(data, s); err != nil {
		if e, ok := errors.AsType[*core.Error](err); ok {
			e.Hint = "docs/federation.md has the fields; a federation says what is learnt, and never asks for rows"
		}
		return nil, err
	}
	s.fill()
	_, err := NewPlan(s, s.LeastSites())
	return s, err
}

func (s *Spec) fill() {
	if s.Deadline == 0 {
		s.Deadline = defaultDeadline
	}
	if s.Secure.Clip == 0 {
		s.Secure.Clip = defaultClip
	}
	if s.Secure.Bits == 0 {
		s.Secure.Bits = defaultBits
	}
	if s.Sites.Dropout == 0 {
		s.Sites.Dropout = defaultDropout
	}
	if s.Sites.Corrupt == 0 {
		s.Sites.Corrupt = 1.0 / 3
	}
	if s.Server.Method == "" {
		s.Server.Method = merge.FedAvg
	}
	if s.Holdout.Share == 0 && s.Holdout.Date == "" {
		s.Holdout.Share = defaultHoldout
	}
}

// Digest names the federation: who has agreed to it has agreed to this.
func (s *Spec) Digest() (core.Digest, error) {
	b, err := fastjson.Marshal(s, fastjson.Deterministic(true))
	return core.DigestOf(b), err
}

// Plan is what everybody computes from a Spec and the number of sites.
type Plan struct {
	ID       string // tells a run from others of the same Spec by the same sites; see RunID
	Spec     *Spec
	Sites    int
	Drawn    int // of them, who are asked in an attempt at a round: Sites.Select, or all
	Resource *table.Resource
	Model    model.Spec
	Grid     *codec.Grid
	Words    codec.Words
	Noise    *privacy.Noise // a site's share, if the sites are what is protected
	PerRound privacy.Curve  // what a round costs, if privacy is asked for
	Groups   int            // of sites that are added up together; 1 without a robust rule
	// Threshold is the fewest sites of which the hub learns the sum.
	Threshold int
	terms     map[int]terms // of each size of group
	least     int           // sites in a round with a robust rule
	variance  float64       // of a site's Noise
	train     model.Config
}

// NewPlan checks a Spec for so many sites. Its errors are core.Invalid, and say which
// field is wrong.
func NewPlan(s *Spec, sites int) (p *Plan, err error) {
	invalid := func(field string, err error) (*Plan, error) {
		return nil, core.Errorf(core.Invalid, "%w", err).At(field)
	}
	p = &Plan{Spec: s, Sites: sites, train: s.Train}
	if err := core.CheckName("federation", s.Name); err != nil {
		return invalid("name", err)
	}
	if err := core.CheckName("dataset", s.Dataset); err != nil {
		return invalid("dataset", err)
	}
	if s.Rounds < 1 || s.Rounds > MaxRounds {
		return nil, core.Errorf(core.Invalid, "%d rounds: want 1 to %d", s.Rounds, MaxRounds).At("rounds")
	}
	if s.Weights.Rows < 0 || s.Weights.Rows > math.MaxInt32 || s.Weights.Rows > 0 && s.Privacy != nil {
		return nil, core.Errorf(core.Invalid, "weights by up to %d rows: want 0 or more, and 0 with privacy, for a weight tells of a site's rows", s.Weights.Rows).At("weights.rows")
	}
	if p.Resource, err = table.ParseResource(s.Schema); err != nil {
		return invalid("schema", err)
	}
	if err := s.Features.Check(p.Resource.Schema); err != nil {
		return invalid("features", err)
	}
	if _, err := s.Holdout.Rule(p.Resource.Schema); err != nil {
		return invalid("holdout", err)
	}
	p.Model = model.Spec{Kind: s.Model.Kind, Inputs: s.Features.Width(), Hidden: s.Model.Hidden, Bits: s.Model.Bits, Classes: s.Features.Label.Classes}
	if err := p.Model.Check(); err != nil {
		return invalid("model", err)
	}
	if err := s.Server.Check(); err != nil {
		return invalid("server", err)
	}
	if err := p.checkCompress(); err != nil {
		return nil, err
	}
	if p.Grid, err = codec.NewGrid(codec.Shape{Dim: p.Model.Size(), Clip: s.Secure.Clip, Bits: s.Secure.Bits, Keep: p.keep(p.Model.Size())}); err != nil {
		return nil, err
	}
	if err := errors.Join(s.checkPromote(), s.Schedule.check()); err != nil {
		return nil, err
	}
	if err := p.draw(); err != nil {
		return nil, err
	}
	if _, err := s.Sites.Filter(); err != nil {
		return nil, err
	}
	if err := p.group(); err != nil {
		return nil, err
	}
	if err := p.private(); err != nil {
		return nil, err
	}
	checked := p.train
	if checked.Private != nil { // whose randomness comes with each round
		private := *checked.Private
		private.Chance = (*privacy.Central)(nil)
		checked.Private = &private
	}
	if err := checked.Check(); err != nil {
		return invalid("train", err)
	}
	p.Words, err = p.Grid.Words(p.largest(), p.variance*float64(p.largest()), wrap)
	p.Words.Modulus = max(p.Words.Modulus, codec.Modulus(countBits+bitsFor(p.largest())))
	return p, err
}

// private sizes the noise: of records and customers in each step of training, of sites in
// the sum that the hub sees, of all or of a group.
func (p *Plan) private() (err error) {
	v := p.Spec.Privacy
	if v == nil {
		return nil
	}
	target := privacy.Target{Epsilon: v.Epsilon, Delta: v.Delta, Rounds: p.Spec.Rounds}
	if v.Unit == privacy.Site {
		return p.hideSites(target)
	}
	if v.Unit != privacy.Record && v.Unit != privacy.Customer {
		return core.Errorf(core.Invalid, "a unit %q: want record, customer or site", v.Unit).At("privacy.unit")
	}
	if v.Unit == privacy.Customer && p.Spec.Features.Unit == "" {
		return core.Errorf(core.Invalid, "customers are to be protected, and features.unit does not name their column").At("privacy.unit")
	}
	target.Rounds, target.Rate = p.Spec.Rounds*max(v.Steps, 1), v.Sample
	multiplier, err := target.Noise()
	if err != nil {
		return err
	}
	p.train.Epochs, p.train.Batch = 0, 0
	p.train.Private = &model.Private{Steps: v.Steps, Sample: v.Sample, Clip: v.Clip, Noise: multiplier, Customers: v.Unit == privacy.Customer}
	step, err := privacy.Gaussian(multiplier, v.Sample)
	p.PerRound = step.Times(v.Steps)
	return err
}

// hideSites sizes each site's share of the noise so that the fewest honest survivors of a
// group add enough. The lot may put all who work with the hub into one group.
func (p *Plan) hideSites(target privacy.Target) error {
	if p.Spec.Secure.Off {
		return core.Errorf(core.Invalid, "sites are hidden by noise in their sum, which needs secure aggregation").At("secure.off")
	}
	variance, err := target.SkellamVariance(p.Grid.L1(), p.Grid.L2())
	if err != nil {
		return err
	}
	for size, t := range p.terms {
		share, err := privacy.Cohort{Clients: size, Least: t.threshold, Corrupt: min(p.corrupt(), t.threshold-1)}.Share(variance)
		if err != nil {
			return err
		}
		p.variance = max(p.variance, share)
	}
	if p.Noise, err = privacy.NewSkellam(p.variance); err != nil {
		return err
	}
	p.PerRound, err = privacy.Skellam(p.Grid.L1(), p.Grid.L2(), variance, 1)
	return err
}

// Dim is how many words a site sends.
func (p *Plan) Dim() int { return p.Grid.Len() + counts*countWords }

// VectorSize is how many bytes a site sends of its update, at most.
func (p *Plan) VectorSize() int64 {
	if p.Spec.Secure.Off {
		return p.plainSize()
	}
	return (int64(p.Dim())*int64(p.Words.Modulus) + 7) / 8
}

// Degree is how many neighbours a site has in the smallest group; 0: all others.
func (p *Plan) Degree() int { return p.terms[p.sizes()[0]].degree }
