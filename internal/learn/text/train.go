package text

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"

	"atoll/internal/repro"
)

// Example is a text with its label.
type Example struct {
	Text  string `json:"text"`
	Label string `json:"label"`
}

// Options steer Train. A zero field means its default.
type Options struct {
	Epochs       int     // passes over the examples; 12
	LearningRate float32 // 1
	L2           float32 // weight decay per step and unit of learning rate; 1e-4
	Dropout      int     // percent of features left out at random in each step; 20, -1: none
	Bits         int     // log2 of the number of buckets; 18
	MinCount     int     // features of fewer texts are left out; 2
	Holdout      int     // percent of examples kept for measuring; 10, -1: none
	Seed         uint64  // of the holdout and of the order of examples
}

// The limits of training data.
const (
	MaxExamples = 1 << 20
	MaxFeatures = 1 << 28 // over all texts
)

// ErrData means that examples or options cannot be trained on.
var ErrData = errors.New("cannot train")

func (o Options) withDefaults() (Options, error) {
	o.Epochs = cmp.Or(o.Epochs, 12)
	o.LearningRate = cmp.Or(o.LearningRate, 1)
	o.L2 = cmp.Or(o.L2, 1e-4)
	o.Bits = cmp.Or(o.Bits, 18)
	o.MinCount = cmp.Or(o.MinCount, 2)
	o.Holdout = cmp.Or(o.Holdout, 10)
	o.Dropout = cmp.Or(o.Dropout, 20)
	for _, c := range []struct {
		ok   bool
		want string
	}{
		{o.Epochs >= 1 && o.Epochs <= 1000, "1 to 1000 epochs"},
		{o.LearningRate > 0 && o.LearningRate <= 10, "a learning rate over 0 and up to 10"},
		{o.L2 >= 0 && o.L2 < 0.1, "an L2 of at least 0 and under 0.1"},
		{o.Bits >= MinBits && o.Bits <= MaxBits, fmt.Sprintf("%d to %d bits", MinBits, MaxBits)},
		{o.MinCount >= 1, "a least count of 1 or more"},
		{o.Holdout >= -1 && o.Holdout <= 50, "a holdout of at most 50 percent"},
		{o.Dropout >= -1 && o.Dropout <= 90, "a dropout of at most 90 percent"},
	} {
		if !c.ok {
			return o, fmt.Errorf("%w: want %s", ErrData, c.want)
		}
	}
	return o, nil
}

// Progress is how far Train has come.
type Progress struct {
	Done, Total int // examples, over all epochs
}

// Train makes a model of examples. The result is a function of examples, in
// their order, and options alone: the same bits on every machine.
//
// Some of the examples are first kept apart; a model of the rest is measured on
// them, which gives the Report and the temperature of the probabilities. The
// model returned is then trained on all. progress may be nil; it is called often.
func Train(ctx context.Context, examples []Example, opt Options, progress func(Progress)) (*Model, Report, error) {
	opt, err := opt.withDefaults()
	if err != nil {
		return nil, Report{}, err
	}
	t, err := newTrainer(ctx, examples, opt, progress)
	if err != nil {
		return nil, Report{}, err
	}
	all := make([]int, len(examples))
	for i := range all {
		all[i] = i
	}
	repro.Shuffle(repro.NewRandom(opt.Seed), all)
	held := all[:len(all)*max(opt.Holdout, 0)/100]
	if len(held) == 0 {
		m, err := t.fit(ctx, all, 1)
		return m, Report{}, err
	}
	t.total += (len(all) - len(held)) * opt.Epochs
	trial, err := t.fit(ctx, all[len(held):], 1)
	if err != nil {
		return nil, Report{}, err
	}
	kept := make([]Example, len(held))
	for i, j := range held {
		kept[i] = examples[j]
	}
	sharpness, err := trial.calibrate(kept)
	if err != nil {
		return nil, Report{}, err
	}
	if trial, err = trial.sharpened(sharpness); err != nil {
		return nil, Report{}, err
	}
	rep, err := trial.Evaluate(kept)
	if err != nil {
		return nil, Report{}, err
	}
	m, err := t.fit(ctx, all, sharpness)
	return m, rep, err
}

// trainer holds what all fits share: the texts as vectors.
type trainer struct {
	opt      Options
	progress func(Progress)
	done     int
	total    int

	labels  []string
	class   []int    // of each example
	buckets []uint32 // of each row, ascending
	starts  []int    // of each example's entries in rows and values; one more than examples
	rows    []int32
	values  []float32
}

func newTrainer(ctx context.Context, examples []Example, opt Options, progress func(Progress)) (*trainer, error) {
	t := &trainer{opt: opt, progress: progress, total: len(examples) * opt.Epochs}
	if t.progress == nil {
		t.progress = func(Progress) {}
	}
	if err := t.readLabels(examples); err != nil {
		return nil, err
	}
	rows, err := t.chooseRows(ctx, examples)
	if err != nil {
		return nil, err
	}
	s := &scratch{slot: make([]int32, len(t.buckets))}
	t.starts = append(t.starts, 0)
	for i, x := range examples {
		if err := pause(ctx, i); err != nil {
			return nil, err
		}
		if err := s.vector(x.Text, rows); err != nil {
			return nil, err
		}
		if len(t.rows)+len(s.ents) > MaxFeatures {
			return nil, fmt.Errorf("%w: the first %d texts have over %d features, the most that fit", ErrData, i+1, MaxFeatures)
		}
		for _, e := range s.ents {
			t.rows = append(t.rows, e.row)
			t.values = append(t.values, e.value)
		}
		t.starts = append(t.starts, len(t.rows))
	}
	return t, nil
}

func (t *trainer) readLabels(examples []Example) error {
	if len(examples) > MaxExamples {
		return fmt.Errorf("%w: %d examples, over the limit of %d", ErrData, len(examples), MaxExamples)
	}
	index := make(map[string]int)
	for i, x := range examples {
		if err := CheckLabel(x.Label); err != nil {
			return fmt.Errorf("%w: example %d: %w", ErrData, i+1, err)
		}
		if len(x.Text) > MaxText || !utf8.ValidString(x.Text) {
			return fmt.Errorf("%w: example %d: its text is not UTF-8 of at most %d bytes", ErrData, i+1, MaxText)
		}
		if _, ok := index[x.Label]; !ok {
			index[x.Label] = 0
			t.labels = append(t.labels, x.Label)
		}
	}
	if len(t.labels) < 2 || len(t.labels) > MaxLabels {
		return fmt.Errorf("%w: %d different labels, want 2 to %d", ErrData, len(t.labels), MaxLabels)
	}
	slices.Sort(t.labels)
	for i, l := range t.labels {
		index[l] = i
	}
	for _, x := range examples {
		t.class = append(t.class, index[x.Label])
	}
	return nil
}

// chooseRows gives a row to every bucket that enough texts have, and returns the
// map from bucket to row.
func (t *trainer) chooseRows(ctx context.Context, examples []Example) ([]int32, error) {
	n := 1 << t.opt.Bits
	rows, count := make([]int32, n), make([]int32, n)
	for i := range rows {
		rows[i] = int32(i)
	}
	s := &scratch{slot: make([]int32, n)}
	for i, x := range examples {
		if err := pause(ctx, i); err != nil {
			return nil, err
		}
		if err := s.vector(x.Text, rows); err != nil {
			return nil, err
		}
		for _, e := range s.ents {
			count[e.row]++
		}
	}
	for b, c := range count {
		if int(c) >= t.opt.MinCount {
			rows[b] = int32(len(t.buckets))
			t.buckets = append(t.buckets, uint32(b))
		} else {
			rows[b] = -1
		}
	}
	if len(t.buckets) > MaxWeights/len(t.labels) {
		return nil, fmt.Errorf("%w: %d features times %d labels is over the limit of %d weights; use fewer bits", ErrData, len(t.buckets), len(t.labels), MaxWeights)
	}
	return rows, nil
}

// pause looks at ctx every few hundred steps.
func pause(ctx context.Context, i int) error {
	if i%256 == 0 {
		return ctx.Err()
	}
	return nil
}
