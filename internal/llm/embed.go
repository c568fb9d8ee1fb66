package llm

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"atoll/internal/core"
	"atoll/internal/repro"
)

// Embed reads a text and returns a vector of Config.Dim elements and length 1 that
// stands for it: the sum of the hidden states at all positions, after the output's
// norm, divided by its length. Decoders that were not trained for it say more with
// all positions than with the last alone. The bits are the same everywhere: sums go
// in the order of positions, and squares are exact in binary64.
func (m *Model) Embed(ctx context.Context, pool *repro.Pool, tokens []int32) ([]float32, error) {
	switch {
	case len(tokens) == 0:
		return nil, core.Errorf(core.Invalid, "the text is empty").At("prompt")
	case len(tokens) > m.Config.Context:
		return nil, core.Errorf(core.TooLarge, "the text has %d tokens; the model's context is %d", len(tokens), m.Config.Context).At("prompt").WithHint("shorten the text")
	case slices.ContainsFunc(tokens, func(id int32) bool { return id < 0 || int(id) >= m.Config.Vocab }):
		return nil, core.Errorf(core.Invalid, "a token that is not among the vocabulary's %d", m.Config.Vocab).At("prompt")
	case !m.HasEmbedding() || !m.HasOutput():
		return nil, errors.New("embed: want the whole model")
	}
	const batch = 64
	pages := (len(tokens) + repro.PagePositions - 1) / repro.PagePositions
	d, err := NewDecoder(m, pool, DecoderConfig{Pages: pages, Batch: batch, Context: len(tokens), Hidden: true})
	if err != nil {
		return nil, err
	}
	span := Span{}
	for p := range pages {
		span.Pages = append(span.Pages, int32(p))
	}
	sum := make([]float32, m.Config.Dim)
	for ; span.First < len(tokens); span.First += len(span.Tokens) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		span.Tokens = tokens[span.First:min(span.First+batch, len(tokens))]
		span.Want = len(span.Tokens)
		hidden, err := d.Forward([]Span{span})
		if err != nil {
			return nil, fmt.Errorf("position %d: %w", span.First, err)
		}
		for i, v := range hidden {
			sum[i%len(sum)] += v
		}
	}
	return sum, normalise(sum)
}

// normalise divides a vector by its length.
func normalise(v []float32) error {
	squares := 0.0
	for _, x := range v {
		squares += float64(x) * float64(x) // exact, so that fusing changes nothing
	}
	length := math.Sqrt(squares)
	if !(length > 0) || math.IsInf(length, 0) {
		return errors.New("embed: the vector's numbers are out of range")
	}
	for i := range v {
		v[i] = float32(float64(v[i]) / length)
	}
	return nil
}
