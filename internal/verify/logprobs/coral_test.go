package logprobs_test

import (
	"bytes"
	"context"
	"math"
	"math/rand/v2"
	"os"
	"sync"
	"testing"

	"atoll/internal/llm"
	"atoll/internal/llm/llmtest"
	"atoll/internal/llm/tokenizer"
	"atoll/internal/llm/weights"
	"atoll/internal/repro"
	"atoll/internal/verify/logprobs"
)

// change alters the weights of a tensor.
type change func(id weights.ID, x []float32)

// threeBits rounds matrices to eight steps: blocks of 32, one scale each. (Four bits
// change so small a model too little to be told by 1,600 tokens.)
func threeBits(id weights.ID, x []float32) {
	switch id.Part {
	case weights.AttnNorm, weights.FFNNorm, weights.OutputNorm:
		return
	}
	for ; len(x) >= 32; x = x[32:] {
		top := float32(0)
		for _, v := range x[:32] {
			if math.Abs(float64(v)) > math.Abs(float64(top)) {
				top = v
			}
		}
		scale := top / -4
		for j, v := range x[:32] {
			if scale != 0 {
				x[j] = scale * float32(min(math.Floor(float64(v/scale)+4.5), 7)-4)
			}
		}
	}
}

// withoutLastLayer makes the model smaller: what its last layer would add is 0.
func withoutLastLayer(id weights.ID, x []float32) {
	if id.Layer == 3 && (id.Part == weights.AttnOut || id.Part == weights.FFNDown) {
		clear(x)
	}
}

func model(t testing.TB, p llm.Profile, c change) *llm.Model {
	t.Helper()
	f := llmtest.Coral(t)
	if c != nil {
		file := llmtest.Changed(t, c)
		var err error
		if f, err = weights.FromGGUF("changed", bytes.NewReader(file), int64(len(file))); err != nil {
			t.Fatal(err)
		}
	}
	m, err := llm.Load(t.Context(), f, llm.Options{Profile: p})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// pool computes with one thread: the tests run side by side.
func pool(t testing.TB) *repro.Pool {
	t.Helper()
	isa, err := repro.SelectISA(os.Getenv(repro.Variable))
	if err != nil {
		t.Fatal(err)
	}
	p, err := repro.NewPool(1, isa)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// said is an answer with the logprobs that its server tells.
type said struct {
	prompt, tokens []int32
	claims         []float64
}

var prompts = []string{"It was a fine morning", "She was not", "Mr. Elton", "The whole party", "In the evening", "Her mother and", "There was a", "He had been"}

// answers are drawn by a server with that model: one to each prompt.
func answers(t testing.TB, m *llm.Model, temperature float32) (list []said) {
	t.Helper()
	b, err := llm.NewBatcher(m, pool(t), llm.BatcherConfig{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var serving, asking sync.WaitGroup
	serving.Go(func() { _ = b.Run(ctx) })
	defer serving.Wait()
	defer cancel()
	list = make([]said, len(prompts))
	for i, p := range prompts {
		asking.Go(func() {
			a := &list[i]
			a.prompt = m.Tokens.Encode(p, tokenizer.Options{Whole: true})
			for token, err := range b.Generate(ctx, llm.Request{Prompt: a.prompt, MaxTokens: 200, Sampling: repro.Sampling{Temperature: temperature, Seed: uint64(i)}}) {
				if err != nil {
					t.Error(err)
					return
				}
				a.tokens = append(a.tokens, token.ID)
				a.claims = append(a.claims, float64(token.Logprob))
			}
		})
	}
	asking.Wait()
	return list
}

// seen is an answer as the reference sees it.
func seen(t testing.TB, reference *llm.Model, a said, temperature float64) []logprobs.Token {
	t.Helper()
	scored, err := reference.Score(t.Context(), pool(t), a.prompt, a.tokens, false, temperature)
	if err != nil {
		t.Fatal(err)
	}
	tokens := make([]logprobs.Token, len(scored))
	for i, s := range scored {
		tokens[i] = logprobs.Token{Margin: s.Margin, Logprob: s.Logprob, Drawn: s.Drawn, Entropy: s.Entropy, Variance: s.Variance, Claimed: a.claims[i]}
	}
	return tokens
}

// Honest answers pass one by one and together. Of the others each is caught by some
// 1,600 tokens, all but one even where the server reads its result with the true
// model to tell the right logprobs.
func TestCoral(t *testing.T) {
	t.Parallel()
	reference := model(t, llm.Q8, nil)
	for _, c := range []struct {
		name         string
		change       change
		asked, drawn float32
		honest       bool
		byClaims     bool // it shows only by what the server claims: over more tokens it would otherwise, too
	}{
		{"greedy, honest", nil, 0, 0, true, false},
		{"greedy, weights in three bits", threeBits, 0, 0, false, false},
		{"greedy, a layer less", withoutLastLayer, 0, 0, false, false},
		{"greedy, but drawn", nil, 0, 0.3, false, false},
		{"drawn, honest", nil, 1, 1, true, false},
		{"drawn, honest, colder", nil, 0.6, 0.6, true, false},
		{"drawn, weights in three bits", threeBits, 1, 1, false, true},
		{"drawn, a layer less", withoutLastLayer, 1, 1, false, false},
		{"drawn colder than asked", nil, 1, 0.7, false, false},
		{"drawn warmer than asked", nil, 1, 1.3, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			draw := logprobs.Draw{Temperature: float64(c.asked)}
			var all []logprobs.Token
			for _, a := range answers(t, model(t, llm.F32, c.change), c.drawn) {
				tokens := seen(t, reference, a, draw.Temperature)
				if v := logprobs.Default.Judge(tokens, draw); c.honest && !v.Pass {
					t.Errorf("an honest answer of %d tokens: %s", len(tokens), v.Reason)
				}
				all = append(all, tokens...)
			}
			v := logprobs.Default.Judge(all, draw)
			if !v.Judged || v.Pass != c.honest {
				t.Errorf("all: pass %v, want %v: %s", v.Pass, c.honest, v.Reason)
			}
			for i := range all { // the most that a cheat could know to say
				all[i].Claimed = all[i].Logprob
			}
			if w := logprobs.Default.Judge(all, draw); w.Pass != (c.honest || c.byClaims) {
				t.Errorf("with true claims: pass %v, want %v: %s", w.Pass, c.honest, w.Reason)
			}
			t.Log(v.Reason)
		})
	}
}

// Words of another's that are put into an answer are not what the model would say.
func TestChangedText(t *testing.T) {
	t.Parallel()
	reference := model(t, llm.Q8, nil)
	a := answers(t, model(t, llm.F32, nil), 0)[0]
	rng := rand.New(rand.NewPCG(1, 2))
	for i := 0; i < len(a.tokens); i += 20 {
		a.tokens[i] = int32(300 + rng.IntN(1700))
	}
	if v := logprobs.Default.Judge(seen(t, reference, a, 0), logprobs.Draw{}); v.Pass {
		t.Errorf("each 20th token changed: %s", v.Reason)
	}
}
