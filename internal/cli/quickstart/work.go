package quickstart

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"atoll/internal/corpus"
	"atoll/internal/learn/text"
)

// Sizes of the generated corpus.
const (
	trainSize = 6000
	minTrain  = 50 // of one's own data: fewer teach nothing
)

// work is what the network is asked to do, and what the answers should be.
type work struct {
	model    []byte
	requests []corpus.Example
	took     time.Duration // to train
}

// prepare trains a model and keeps requests apart that it has not seen.
func prepare(ctx context.Context, cfg *Config) (*work, error) {
	train, fresh, err := cfg.split()
	if err != nil {
		return nil, err
	}
	start := time.Now()
	m, _, err := text.Train(ctx, train, text.Options{Seed: cfg.Seed, Holdout: -1}, func(p text.Progress) {
		cfg.Watch("training", p.Done, p.Total, "")
	})
	if err != nil {
		return nil, fmt.Errorf("train the classifier: %w", err)
	}
	return &work{model: m.Marshal(), requests: fresh, took: time.Since(start)}, nil
}

// split divides the examples into those to learn from and those to be asked.
func (c *Config) split() (train, fresh []corpus.Example, err error) {
	if c.Data == nil {
		// Other seeds give other requests; chance repetitions are left out.
		train = corpus.Generate(2*c.Seed, trainSize)
		seen := make(map[string]bool, trainSize)
		for _, e := range train {
			seen[e.Text] = true
		}
		for _, e := range corpus.Generate(2*c.Seed+1, 3*c.Requests) {
			if len(fresh) < c.Requests && !seen[e.Text] {
				fresh = append(fresh, e)
			}
		}
		return train, fresh, nil
	}
	all := append([]corpus.Example(nil), c.Data...)
	rand.New(rand.NewPCG(c.Seed, 0)).Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	n := min(c.Requests, len(all)/3)
	if len(all)-n < minTrain || n < c.parts() {
		return nil, nil, fmt.Errorf("%d examples are too few: a third is asked, the rest is learned from, and at least %d of these are needed", len(all), minTrain)
	}
	return all[n:], all[:n], nil
}

// input is the task's input: the texts, without their labels.
func (w *work) input() ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	for i, r := range w.requests {
		if err := e.Encode(struct {
			ID   int    `json:"id"`
			Text string `json:"text"`
		}{i, r.Text}); err != nil {
			return nil, err
		}
	}
	return b.Bytes(), nil
}

// line is one line of the engine's output.
type line struct {
	ID      int    `json:"id"`
	Label   string `json:"label"`
	P       string `json:"p"`
	Reasons []struct {
		Feature string `json:"feature"`
	} `json:"reasons"`
}

// grade compares the answers with the labels that only we know.
func (w *work) grade(output []byte, r *Result) error {
	right, i := 0, 0
	frequent := map[string]int{}
	var best *Answer
	for raw := range bytes.Lines(output) {
		var l line
		if err := json.Unmarshal(raw, &l); err != nil || i >= len(w.requests) || l.ID != i {
			return fmt.Errorf("line %d of the result is not the answer to request %d: %.80q", i+1, i, raw)
		}
		want := w.requests[i]
		frequent[want.Label]++
		if l.Label == want.Label {
			right++
			if a := answer(want.Text, &l); a != nil && (best == nil || len(a.Text) < len(best.Text)) {
				best = a
			}
		}
		i++
	}
	if i != len(w.requests) {
		return fmt.Errorf("the result has %d lines for %d requests", i, len(w.requests))
	}
	most := 0
	for _, n := range frequent {
		most = max(most, n)
	}
	r.Accuracy, r.Majority = float64(right)/float64(i), float64(most)/float64(i)
	r.Example = best
	return nil
}

// answer returns an example worth showing: a sentence that fits a line, decided
// for a reason but not beyond doubt.
func answer(asked string, l *line) *Answer {
	if len(asked) < 24 || len(asked) > 60 || len(l.Reasons) == 0 || l.P < "0.80" || l.P >= "0.99" || strings.ContainsAny(asked, "\"\\\n\t") {
		return nil
	}
	a := &Answer{Text: asked, Label: l.Label, P: l.P}
	for _, why := range l.Reasons[:min(len(l.Reasons), 2)] {
		a.Reasons = append(a.Reasons, why.Feature)
	}
	return a
}
