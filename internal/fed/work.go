package fed

import (
	"context"
	"crypto/rand"
	"fmt"

	"atoll/internal/core"
	"atoll/internal/keystream"
	"atoll/internal/learn/model"
	"atoll/internal/privacy"
)

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

// work measures the model, trains it, and returns the update by the site's weight.
func (s *Site) work(ctx context.Context, o *Order) (update []float32, c Counts, err error) {
	p := s.c.Plan
	if p.Spec.Async != nil {
		return s.contribute(o)
	}
	params, before, err := p.readShown(o)
	if err != nil {
		return nil, c, err
	}
	if c, err = s.measure(ctx, params, before); err != nil {
		return nil, c, err
	}
	if o.Round > p.Spec.Rounds { // it only measures
		return make([]float32, len(params)), c, nil
	}
	if err := s.spend(o.id(), o.Round); err != nil {
		return nil, c, err
	}
	update, c.Rows, err = s.train(ctx, params, o.Round)
	return update, c, err
}

// train returns the update that training in a round comes to, by the site's weight, and
// the rows that the site counts for.
func (s *Site) train(ctx context.Context, params []float32, round int) (update []float32, rows int64, err error) {
	p := s.c.Plan
	cfg, err := p.Train(1)
	if err != nil {
		return nil, 0, err
	}
	// Whatever else the Spec says: so that what masks cost, say, can be seen by itself.
	cfg.Seed = model.SeedOf(fmt.Sprintf("seed %d", p.Spec.Model.Seed), round, s.c.Name)
	u, err := model.Train(ctx, p.Model, params, s.c.Rows.Train, cfg, s.c.Pool)
	if err != nil {
		return nil, 0, err
	}
	if most := p.Spec.Weights.Rows; most > 0 {
		rows = int64(min(u.Rows, most))
		weight := float32(float64(rows) / float64(most))
		for i, v := range u.Delta {
			u.Delta[i] = float32(v * weight)
		}
	}
	return u.Delta, rows, nil
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

// measure counts how a model does on the rows held out, and the one before if there is one.
func (s *Site) measure(ctx context.Context, params, before []float32) (c Counts, err error) {
	if s.c.Plan.Spec.Privacy != nil || s.c.Rows.Held.Len() == 0 {
		return c, nil
	}
	c.Held = int64(s.c.Rows.Held.Len())
	if c.Right, c.Loss, err = s.score(ctx, params); err == nil && before != nil {
		c.RightBefore, c.LossBefore, err = s.score(ctx, before)
	}
	return c, err
}

func (s *Site) score(ctx context.Context, params []float32) (right, loss int64, err error) {
	rep, err := model.Evaluate(ctx, s.c.Plan.Model, params, s.c.Rows.Held, s.c.Pool)
	if err != nil {
		return 0, 0, err
	}
	for i := range rep.Confusion {
		right += int64(rep.Confusion[i][i])
	}
	return right, int64(rep.Loss) * int64(rep.Rows) / 1000, nil
}

// spend has agreed to what it costs, before it is done, that a round tells of the rows. id
// names what is told: noise is fresh in each.
func (s *Site) spend(id core.Digest, round int) error {
	v := s.c.Plan.Spec.Privacy
	if v == nil || s.c.Spend == nil {
		return nil
	}
	return s.c.Spend(privacy.Charge{
		ID: id.String(), Federation: s.run.String(), Round: round, Unit: v.Unit, Cost: s.c.Plan.PerRound.Cost(),
	})
}
