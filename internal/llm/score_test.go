package llm

import (
	"math"
	"testing"

	"atoll/internal/core"
	"atoll/internal/llm/tokenizer"
	"atoll/internal/repro"
)

// What is told of one's own greedy answer: each token is the best, as likely as it
// was said to be when it was drawn, however the text is cut into batches.
func TestScoreOfOwnAnswer(t *testing.T) {
	t.Parallel()
	m := ownModel(t, Options{Profile: F32})
	prompt := m.Tokens.Encode("Once upon a time", tokenizer.Options{Whole: true})
	b := serve(t, m, 1, BatcherConfig{})
	var answer []int32
	var claims []float64
	for token, err := range b.Generate(t.Context(), Request{Prompt: prompt, MaxTokens: 150, Sampling: repro.Sampling{}}) {
		if err != nil {
			t.Fatal(err)
		}
		answer, claims = append(answer, token.ID), append(claims, float64(token.Logprob))
	}
	for _, cut := range []int{1, 63, 64, 65, len(answer) - 1} { // any of it may count as the prompt
		scored, err := m.Score(t.Context(), newPool(t, 1), append(append([]int32(nil), prompt...), answer[:cut]...), answer[cut:], false, 0)
		if err != nil || len(scored) != len(answer)-cut {
			t.Fatalf("%d scored, %v", len(scored), err)
		}
		for i, s := range scored {
			if s.Margin != 0 || math.Abs(s.Logprob-claims[cut+i]) > 1e-5 || math.Abs(s.Drawn-s.Logprob) > 1e-9 || s.Entropy < 0 || s.Variance < 0 {
				t.Fatalf("cut at %d, token %d: %+v, claimed %g", cut, i, s, claims[cut+i])
			}
		}
	}
}

func TestScoreRefuses(t *testing.T) {
	t.Parallel()
	m := ownModel(t, Options{})
	one := []int32{1}
	for name, c := range map[string]struct {
		prompt, answer []int32
		temperature    float64
		want           core.Kind
	}{
		"no prompt": {nil, one, 0, core.Invalid}, "no answer": {one, nil, 0, core.Invalid}, "too long": {make([]int32, m.Config.Context), one, 0, core.TooLarge},
		"temperature": {one, one, 3, core.Invalid}, "not a number": {one, one, math.NaN(), core.Invalid},
	} {
		if _, err := m.Score(t.Context(), newPool(t, 1), c.prompt, c.answer, false, c.temperature); core.KindOf(err) != c.want {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := m.Score(t.Context(), newPool(t, 1), one, []int32{99999}, false, 0); err == nil {
		t.Error("a token that is not in the vocabulary was scored")
	}
}
