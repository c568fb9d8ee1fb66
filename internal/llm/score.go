package llm

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"atoll/internal/core"
	"atoll/internal/repro"
)

// Scored is what a model says of a token that somebody else has drawn.
type Scored struct {
	Logprob float64 // its logarithm of probability, before temperature
	Margin  float64 // how far its logit is below the best one's; 0: it is the best
	// At the temperature of the draw: the logarithm of its probability, and mean and
	// variance of −log p under the model's distribution (nats, nats²).
	Drawn, Entropy, Variance float64
}

// Score reads a prompt and a given answer, and tells of each of the answer's tokens
// how likely it was after what stands before it. The whole costs as much as reading
// a prompt of that length. temperature is that of the draw; at 0 Drawn, Entropy and
// Variance are those of temperature 1.
//
// ended says that the model is said to have ended the answer by itself: then what
// follows is the likeliest of its tokens that do so.
func (m *Model) Score(ctx context.Context, pool *repro.Pool, prompt, answer []int32, ended bool, temperature float64) ([]Scored, error) {
	tokens := slices.Concat(prompt, answer)
	var ends []int32
	if ended {
		if ends = m.Tokens.Vocab().Stop; len(ends) > 0 {
			tokens = append(tokens, ends[0]) // in place of whichever it is
		}
	}
	switch {
	case len(prompt) == 0 || len(tokens) == len(prompt):
		return nil, core.Errorf(core.Invalid, "score: %d tokens of prompt and %d of answer: want at least one each", len(prompt), len(answer))
	case len(tokens) > m.Config.Context:
		return nil, core.Errorf(core.TooLarge, "score: prompt and answer have %d tokens; the model's context is %d", len(tokens), m.Config.Context)
	case slices.ContainsFunc(tokens, func(id int32) bool { return id < 0 || int(id) >= m.Config.Vocab }):
		return nil, core.Errorf(core.Invalid, "score: a token that is not among the vocabulary's %d", m.Config.Vocab)
	case !(temperature >= 0 && temperature <= 2):
		return nil, core.Errorf(core.Invalid, "score: temperature %g: want 0 to 2", temperature)
	case !m.HasEmbedding() || !m.HasOutput():
		return nil, errors.New("score: want the whole model")
	}
	if temperature == 0 {
		temperature = 1
	}
	const batch = 64
	pages := (len(tokens) + repro.PagePositions - 1) / repro.PagePositions
	d, err := NewDecoder(m, pool, DecoderConfig{Pages: pages, Batch: batch, Context: len(tokens)})
	if err != nil {
		return nil, err
	}
	span := Span{}
	for p := range pages {
		span.Pages = append(span.Pages, int32(p))
	}
	out := make([]Scored, 0, len(tokens)-len(prompt))
	for span.First = 0; span.First < len(tokens)-1; span.First += len(span.Tokens) { // nothing follows the last
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		span.Tokens = tokens[span.First:min(span.First+batch, len(tokens)-1)]
		end := span.First + len(span.Tokens) // the last row tells of tokens[end]
		span.Want = min(len(span.Tokens), max(end-len(prompt)+1, 0))
		logits, err := d.Forward([]Span{span})
		if err != nil {
			return nil, fmt.Errorf("score: positions %d to %d: %w", span.First, end-1, err)
		}
		for i := range span.Want {
			row := logits[i*m.Config.Vocab : (i+1)*m.Config.Vocab]
			at := end - span.Want + 1 + i
			id := tokens[at]
			if at == len(prompt)+len(answer) {
				id = slices.MaxFunc(ends, func(a, b int32) int { return cmp.Compare(row[a], row[b]) })
			}
			out = append(out, scored(row, id, temperature))
		}
	}
	return out, nil
}

// scored reads one row of logits.
func scored(logits []float32, id int32, temperature float64) (s Scored) {
	best := float64(slices.Max(logits))
	s.Margin = best - float64(logits[id])
	var plain, sum, first, second float64 // of e^x, e^(x/T), and of x/T and its square under that
	for _, v := range logits {
		x := float64(v) - best
		plain += math.Exp(x)
		x /= temperature
		w := math.Exp(x)
		sum, first, second = sum+w, first+w*x, second+w*x*x
	}
	first, second = first/sum, second/sum
	s.Logprob = -s.Margin - math.Log(plain)
	s.Drawn = -s.Margin/temperature - math.Log(sum)
	s.Entropy = math.Log(sum) - first
	s.Variance = max(second-first*first, 0)
	return s
}
