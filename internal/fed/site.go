package fed

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"slices"

	"atoll/internal/codec"
	"atoll/internal/core"
	"atoll/internal/keystream"
	"atoll/internal/learn"
	"atoll/internal/learn/model"
	"atoll/internal/privacy"
	"atoll/internal/repro"
	"atoll/internal/secagg"
)

// Rows are what a site has, for training and for measuring.
type Rows struct {
	Train, Held *learn.Examples
}

// SiteConfig is what a site is made of.
type SiteConfig struct {
	Plan    *Plan
	Members []secagg.Member // as its owner has agreed to: not from the hub's word
	Name    string          // its own, among them
	Sign    func([]byte) ([]byte, error)
	Rows    *Rows
	Pool    *repro.Pool
	// Journal is that of an attempt at a round, or of the round itself.
	Journal func(id core.Digest) (secagg.Journal, error)
	// Spend has the dataset's owner agree to what an attempt costs, durably; nil if the Spec
	// asks for no privacy, or nobody counts.
	Spend func(privacy.Charge) error
}

// Site is an owner's side of a run. It is not safe for concurrent use.
type Site struct {
	c      SiteConfig
	self   int
	run    core.Digest
	client *secagg.Client // of the attempt
	at     core.Digest
	shared bool // the client has what came before its vector, be it anew
	inbox  bool
}

// NewSite takes part in a run.
func NewSite(c SiteConfig) (*Site, error) {
	self := slices.IndexFunc(c.Members, func(m secagg.Member) bool { return m.Name == c.Name })
	if self < 0 {
		return nil, core.Errorf(core.Forbidden, "%s is no site of this federation", c.Name)
	}
	classes := len(c.Plan.Model.Classes)
	if err := c.Rows.Train.CheckTrainable(classes); err != nil {
		return nil, core.Errorf(core.Invalid, "%s: %w", c.Name, err)
	}
	run, err := RunID(c.Plan.Spec, c.Members)
	return &Site{c: c, self: self, run: run}, err
}

// Handle answers an order. What keeps the site from it is in the Reply, too: the hub need
// not wait for it.
func (s *Site) Handle(ctx context.Context, o *Order) *Reply {
	r := &Reply{At: o.At, Site: s.self}
	if err := s.handle(ctx, o, r); err != nil {
		return &Reply{At: o.At, Site: s.self, Refused: err.Error()}
	}
	return r
}

func (s *Site) handle(ctx context.Context, o *Order, r *Reply) (err error) {
	if o.Run != s.run {
		return core.Errorf(core.Forbidden, "the order is of another run than this site takes part in")
	}
	if o.Round < 1 || o.Round > s.c.Plan.Spec.Rounds+1 || o.Attempt < 1 || o.Attempt > maxAttempts {
		return core.Errorf(core.Invalid, "round %d, attempt %d: the federation has %d rounds, and begins none more than %d times", o.Round, o.Attempt, s.c.Plan.Spec.Rounds, maxAttempts)
	}
	if s.c.Plan.Spec.Secure.Off {
		return s.plain(ctx, o, r)
	}
	if err := s.once(o, false); err != nil {
		return err
	}
	if err := s.attempt(o); err != nil {
		return err
	}
	if o.Step != StepKeys && o.Step != StepLot && !s.shared { // after a crash
		if _, err := s.client.Share(o.Keys, o.Parts); err != nil {
			return err
		}
		s.shared = true
	}
	if (o.Step == StepSign || o.Step == StepOpening) && !s.inbox {
		if err := s.client.Receive(o.Inbox); err != nil {
			return err
		}
		s.inbox = true
	}
	switch o.Step {
	case StepKeys:
		k, err := s.client.Advertise()
		r.Keys = &k
		return err
	case StepLot:
		p, err := s.client.Reveal(o.Keys)
		r.Part = &p
		return err
	case StepShares:
		r.Sealed, err = s.client.Share(o.Keys, o.Parts)
		return err
	case StepVector:
		var in secagg.Included
		r.Vector, in, err = s.vector(ctx, o)
		r.Included = &in
		return err
	case StepSign:
		a, err := s.client.Agree(o.Survivors, o.Included)
		r.Agreement = &a
		return err
	case StepOpening:
		if r.Opening, err = s.client.Open(o.Survivors, o.Agreements); err == nil {
			err = s.once(o, true)
		}
		return err
	}
	return core.Errorf(core.Invalid, "a step %.40q, which there is not", o.Step)
}

// once has a site give its shares away in one attempt at a round alone. From two sums over
// other survivors the hub would learn the update of those who are in one of them: for the
// round's updates are the same.
func (s *Site) once(o *Order, opens bool) error {
	j, err := s.c.Journal(o.round())
	if err != nil {
		return err
	}
	id := o.id()
	kept, err := j.Kept(openedName)
	if err == nil && kept == nil && opens {
		kept, err = j.Once(openedName, id[:])
	}
	if err == nil && kept != nil && !bytes.Equal(kept, id[:]) {
		err = core.Errorf(core.Conflict, "this site has opened the masks of another attempt at round %d: with both sums the hub could tell single updates", o.Round)
	}
	return err
}

// openedName is what a round's journal has the attempt under whose masks were opened.
const openedName = "opened"

// attempt takes up the one that an order is of.
func (s *Site) attempt(o *Order) error {
	id := o.id()
	if s.client != nil && s.at == id {
		return nil
	}
	j, err := s.c.Journal(id)
	if err != nil {
		return err
	}
	groups := s.c.Plan.Deal(id) // and not from the hub's word
	own := slices.IndexFunc(groups, func(g []int) bool { return slices.Contains(g, s.self) })
	c, err := secagg.NewClient(s.c.Plan.params(id, s.c.Members, groups[own]), s.c.Name, s.c.Sign, rand.Reader, j)
	if err != nil {
		return err
	}
	s.client, s.at, s.shared, s.inbox = c, id, false, false
	return nil
}

// vector trains, and hides what came of it. A vector that was sent before is sent again.
func (s *Site) vector(ctx context.Context, o *Order) (vector []byte, in secagg.Included, err error) {
	words := make([]uint32, s.c.Plan.Dim())
	before, err := s.client.MaskedBefore()
	if err != nil {
		return nil, in, err
	}
	if before == nil {
		if words, err = s.words(ctx, o); err != nil {
			return nil, in, err
		}
	}
	return s.client.Mask(o.Inbox, words)
}

// words are the site's own, before they are masked.
func (s *Site) words(ctx context.Context, o *Order) ([]uint32, error) {
	update, c, err := s.work(ctx, o)
	if err != nil {
		return nil, err
	}
	return s.c.Plan.encode(update, c, o)
}

// encode clips and rounds an update, adds noise if there is to be some, and the counts.
func (p *Plan) encode(update []float32, c Counts, o *Order) ([]uint32, error) {
	secret, err := keystream.Secret(rand.Reader)
	if err != nil {
		return nil, err
	}
	words, _, err := p.Grid.Encode(update, seed(o.id(), o.Keys), secret)
	if err != nil {
		return nil, fmt.Errorf("the update: %w", err)
	}
	if p.Noise != nil {
		p.Noise.AddTo(words, secret)
	}
	p.Words.Modulus.Reduce(words)
	return c.append(words), nil
}

func (s *Site) plain(ctx context.Context, o *Order, r *Reply) error {
	if o.Step != StepPlain {
		return core.Errorf(core.Invalid, "a step %.40q in a federation without masks", o.Step)
	}
	update, c, err := s.work(ctx, o)
	if err != nil {
		return err
	}
	if s.c.Plan.bounded() {
		if _, err := codec.Clip(update, s.c.Plan.Spec.Secure.Clip); err != nil {
			return fmt.Errorf("the update: %w", err)
		}
	}
	r.Vector = s.c.Plan.appendPlain(update, c)
	return nil
}

// work measures the model, trains it, and returns the update by the site's weight.
func (s *Site) work(ctx context.Context, o *Order) (update []float32, c Counts, err error) {
	p := s.c.Plan
	params, err := unpackFloats(o.Params, p.Model.Size())
	if err != nil {
		return nil, c, err
	}
	if p.Spec.Privacy == nil && s.c.Rows.Held.Len() > 0 {
		if c, err = s.measure(ctx, params); err != nil {
			return nil, c, err
		}
	}
	if o.Round > p.Spec.Rounds { // it only measures
		return make([]float32, len(params)), c, nil
	}
	if err := s.spend(o); err != nil {
		return nil, c, err
	}
	cfg, err := p.Train(1)
	if err != nil {
		return nil, c, err
	}
	cfg.Seed = model.SeedOf(s.run.String(), o.Round, s.c.Name)
	u, err := model.Train(ctx, p.Model, params, s.c.Rows.Train, cfg, s.c.Pool)
	if err != nil {
		return nil, c, err
	}
	if most := p.Spec.Weights.Rows; most > 0 {
		c.Rows = int64(min(u.Rows, most))
		weight := float32(float64(c.Rows) / float64(most))
		for i, v := range u.Delta {
			u.Delta[i] = float32(v * weight)
		}
	}
	return u.Delta, c, nil
}

// Train is how a site trains, with fresh randomness where privacy asks for noise. A share
// under 1 has it add that share of it: 0, for comparing, hardly any.
func (p *Plan) Train(share float64) (model.Config, error) {
	cfg := p.train
	if cfg.Private == nil {
		return cfg, nil
	}
	private := *cfg.Private
	private.Noise *= max(share, 1e-3)
	secret, err := keystream.Secret(rand.Reader)
	if err == nil {
		private.Chance, err = privacy.NewCentral(p.Model.Size(), private.Clip, private.Noise, secret)
	}
	cfg.Private = &private
	return cfg, err
}

func (s *Site) measure(ctx context.Context, params []float32) (c Counts, err error) {
	rep, err := model.Evaluate(ctx, s.c.Plan.Model, params, s.c.Rows.Held, s.c.Pool)
	if err != nil {
		return c, err
	}
	c.Held, c.Loss = int64(rep.Rows), int64(rep.Loss)*int64(rep.Rows)/1000
	for i := range rep.Confusion {
		c.Right += int64(rep.Confusion[i][i])
	}
	return c, nil
}

// spend has the attempt's cost agreed to before anything is computed from the rows that
// may leave.
func (s *Site) spend(o *Order) error {
	v := s.c.Plan.Spec.Privacy
	if v == nil || s.c.Spend == nil {
		return nil
	}
	return s.c.Spend(privacy.Charge{
		ID: o.id().String(), Federation: s.run.String(), Round: o.Round, Unit: v.Unit, Cost: s.c.Plan.PerRound.Cost(),
	})
}
