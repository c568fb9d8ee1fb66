package model

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"slices"

	"atoll/internal/core"
	"atoll/internal/learn"
	"atoll/internal/repro"
)

// Config steers the training at one site in one round.
type Config struct {
	Epochs   int     `json:"epochs,omitempty"`   // passes over the rows; with Private, none: it counts steps
	Batch    int     `json:"batch,omitempty"`    // rows of a step; with Private, none
	Rate     float32 `json:"rate"`               // learning rate
	Decay    float32 `json:"decay,omitempty"`    // pull of the parameters towards zero (L2)
	Proximal float32 `json:"proximal,omitempty"` // FedProx's μ: pull towards where the round began

	Seed    uint64   `json:"-"` // of the order of rows; see SeedOf
	Private *Private `json:"private,omitempty"`
}

// Limits of a Config.
const (
	MaxEpochs = 1000
	MaxBatch  = 1 << 16
	MaxRate   = 100
)

// ErrConfig means that a Config asks for what cannot be.
var ErrConfig = errors.New("cannot train so")

// ErrDiverged means that training left the finite numbers.
var ErrDiverged = errors.New("training diverged; a lower learning rate helps")

// SeedOf derives the seed of one site's training in one round.
func SeedOf(federation string, round int, site string) uint64 {
	d := core.DigestOf(fmt.Appendf(nil, "%q %d %q", federation, round, site))
	return binary.LittleEndian.Uint64(d[:])
}

// Check refuses what cannot be trained with, and names it.
func (c Config) Check() error {
	for _, w := range []struct {
		ok   bool
		want string
	}{
		{c.Private != nil || c.Epochs >= 1 && c.Epochs <= MaxEpochs, fmt.Sprintf("epochs from 1 to %d", MaxEpochs)},
		{c.Private != nil || c.Batch >= 1 && c.Batch <= MaxBatch, fmt.Sprintf("a batch of 1 to %d rows", MaxBatch)},
		{c.Private == nil || c.Epochs == 0 && c.Batch == 0, "with privacy steps and a share of rows instead of epochs and a batch"},
		{c.Rate > 0 && c.Rate <= MaxRate, fmt.Sprintf("a learning rate over 0 and up to %d", MaxRate)},
		{c.Decay >= 0 && c.Decay*c.Rate < 1, "a decay of 0 or more, which times the learning rate is under 1"},
		{c.Proximal >= 0 && c.Proximal*c.Rate < 1, "a proximal pull of 0 or more, which times the learning rate is under 1"},
	} {
		if !w.ok {
			return fmt.Errorf("%w: want %s", ErrConfig, w.want)
		}
	}
	if c.Private != nil {
		return c.Private.check()
	}
	return nil
}

// Update is what came of training at one site.
type Update struct {
	Delta []float32 // the new parameters minus those that the round began with
	Rows  int       // that were trained on
	Steps int
	// Loss is the mean over the last epoch, each row's when it was its turn, in nats.
	// With Private it is 0: it would tell of the rows without noise.
	Loss float64
}

// Train trains a model that has these parameters on a site's rows. Parameters and
// rows are not changed. It refuses rows that cannot be trained on ([learn.ErrExamples]),
// and returns [ErrDiverged] where the parameters leave the finite numbers.
func Train(ctx context.Context, s Spec, params []float32, rows *learn.Examples, c Config, pool *repro.Pool) (Update, error) {
	if err := s.checkParams(params); err != nil {
		return Update{}, err
	}
	if err := c.Check(); err != nil {
		return Update{}, err
	}
	if err := rows.CheckTrainable(len(s.Classes)); err != nil {
		return Update{}, err
	}
	room := chunkRows
	if c.Private == nil {
		room = min(room, c.Batch)
	}
	net, err := newNetwork(s, rows, room, pool)
	if err != nil {
		return Update{}, err
	}
	t := &training{
		Config: c, net: net, rows: rows, room: room,
		start: params, params: append([]float32(nil), params...),
		grad: make([]float32, len(params)), labels: make([]int32, room),
	}
	if c.Private != nil {
		err = t.private(ctx)
	} else {
		err = t.epochs(ctx)
	}
	if err != nil {
		return Update{}, err
	}
	return t.update()
}

// training is one site's work in one round.
type training struct {
	Config
	net           network
	rows          *learn.Examples
	room          int
	start, params []float32
	grad          []float32
	labels        []int32 // of a chunk
	steps         int
	loss          float64 // mean over the epoch
}

func (t *training) epochs(ctx context.Context) error {
	order := make([]int, t.rows.Len())
	for i := range order {
		order[i] = i
	}
	r := repro.NewRandom(t.Seed)
	for range t.Epochs {
		repro.Shuffle(r, order)
		var total float64
		for at := 0; at < len(order); at += t.Batch {
			if err := ctx.Err(); err != nil {
				return err
			}
			batch := order[at:min(at+t.Batch, len(order))]
			t.net.load(t.params)
			loss, err := t.gradient(batch)
			if err != nil {
				return err
			}
			total += loss
			t.step(float32(len(batch)))
		}
		t.loss = total / float64(len(order))
	}
	return nil
}

// gradient sets t.grad to the gradient of the loss, summed over rows, and returns the
// sum of losses.
func (t *training) gradient(rows []int) (float64, error) {
	var total float64
	fresh := true
	for chunk := range t.chunks(rows) {
		loss, err := t.slopes(chunk)
		if err != nil {
			return 0, err
		}
		total += loss
		t.net.accumulate(t.grad, fresh)
		fresh = false
	}
	return total, nil
}

// chunks cuts rows into what goes through the network at once.
func (t *training) chunks(rows []int) iter.Seq[[]int] { return slices.Chunk(rows, t.room) }

// slopes takes a chunk through the network and back, up to its gradient, and returns
// the sum of losses.
func (t *training) slopes(chunk []int) (float64, error) {
	for i, r := range chunk {
		t.labels[i] = t.rows.Labels[r]
	}
	loss, err := slopes(t.net.forward(chunk), t.labels[:len(chunk)])
	if err != nil {
		return 0, fmt.Errorf("%w: after %d steps: %w", ErrDiverged, t.steps, err)
	}
	t.net.propagate()
	return loss, nil
}

// step moves the parameters down the gradient, which is a sum over so many rows.
func (t *training) step(rows float32) {
	t.steps++
	if t.Decay > 0 || t.Proximal > 0 {
		decay, proximal := float32(t.Rate*t.Decay), float32(t.Rate*t.Proximal)
		start := t.start[:len(t.params)]
		for i, w := range t.params {
			pull := float32(float32(decay*w) + float32(proximal*float32(w-start[i])))
			t.params[i] = w - pull
		}
	}
	repro.AddScaled(t.params, -(t.Rate / rows), t.grad)
}

func (t *training) update() (Update, error) {
	delta := t.params
	for i, v := range t.start {
		delta[i] -= v
	}
	if err := repro.Finite(delta); err != nil {
		return Update{}, fmt.Errorf("%w: after %d steps: %w", ErrDiverged, t.steps, err)
	}
	return Update{Delta: delta, Rows: t.rows.Len(), Steps: t.steps, Loss: t.loss}, nil
}
