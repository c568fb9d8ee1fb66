package logprobs_test

import (
	"context"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"atoll/internal/llm"
	"atoll/internal/llm/llmtest"
	"atoll/internal/llm/tokenizer"
	"atoll/internal/llm/weights"
	"atoll/internal/repro"
	"atoll/internal/verify/logprobs"
)

// checkpoint is a llama2.c checkpoint taken apart: tensors in the order of the file,
// each for all layers.
type checkpoint struct {
	header  [7]int32
	tensors [][]float32
	rest    []byte
}

// sizes of the tensors, and which are of layers and which are vectors.
func (c *checkpoint) sizes() (n []int, ofLayers, vectors []bool) {
	dim, ffn, layers, heads, kv, vocab := int(c.header[0]), int(c.header[1]), int(c.header[2]), int(c.header[3]), int(c.header[4]), int(c.header[5])
	narrow := dim / heads * kv
	n = []int{vocab * dim, layers * dim, layers * dim * dim, layers * dim * narrow, layers * dim * narrow, layers * dim * dim, layers * dim, layers * dim * ffn, layers * dim * ffn, layers * dim * ffn, dim}
	return n, []bool{false, true, true, true, true, true, true, true, true, true, false}, []bool{1: true, 6: true, 10: true}
}

func readCheckpoint(t testing.TB) *checkpoint {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(llmtest.Stories(t), "stories260K.bin"))
	if err != nil {
		t.Fatal(err)
	}
	c := &checkpoint{}
	for i := range c.header {
		c.header[i] = int32(binary.LittleEndian.Uint32(b[4*i:]))
	}
	b = b[28:]
	sizes, _, _ := c.sizes()
	for _, n := range sizes {
		x := make([]float32, n)
		for i := range x {
			x[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
		}
		c.tensors, b = append(c.tensors, x), b[4*n:]
	}
	c.rest = b
	return c
}

func (c *checkpoint) write(t testing.TB) string {
	t.Helper()
	var b []byte
	for _, v := range c.header {
		b = binary.LittleEndian.AppendUint32(b, uint32(v))
	}
	for _, x := range c.tensors {
		for _, v := range x {
			b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
		}
	}
	path := filepath.Join(t.TempDir(), "model.bin")
	if err := os.WriteFile(path, append(b, c.rest...), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// fourBits rounds the matrices as Q4_0 does: blocks of 32, one scale each.
func (c *checkpoint) fourBits() {
	_, _, vectors := c.sizes()
	for i, x := range c.tensors {
		if i < len(vectors) && vectors[i] {
			continue
		}
		for ; len(x) >= 32; x = x[32:] {
			top := float32(0)
			for _, v := range x[:32] {
				if math.Abs(float64(v)) > math.Abs(float64(top)) {
					top = v
				}
			}
			scale := top / -8
			for j, v := range x[:32] {
				if scale != 0 {
					x[j] = scale * float32(min(math.Floor(float64(v/scale)+8.5), 15)-8)
				}
			}
		}
	}
}

// withoutLastLayer makes the model smaller.
func (c *checkpoint) withoutLastLayer() {
	_, ofLayers, _ := c.sizes()
	for i, x := range c.tensors {
		if ofLayers[i] {
			c.tensors[i] = x[:len(x)/int(c.header[2])*int(c.header[2]-1)]
		}
	}
	c.header[2]--
}

func model(t testing.TB, p llm.Profile, change func(*checkpoint)) *llm.Model {
	t.Helper()
	c := readCheckpoint(t)
	if change != nil {
		change(c)
	}
	f, err := weights.Open(c.write(t), weights.Options{Tokenizer: filepath.Join(llmtest.Stories(t), "tok512.bin")})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
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

var prompts = []string{"Once upon a time", "The little dog", "Lily went to the", "One day, a boy", "In the big forest", "Tom and his mom", "There was a red", "The sun was"}

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
	scored, err := reference.Score(t.Context(), pool(t), a.prompt, a.tokens, temperature)
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
// 1,600 tokens, even where the server reads its result with the true model to tell
// the right logprobs.
func TestStories(t *testing.T) {
	t.Parallel()
	reference := model(t, llm.Q8, nil)
	for _, c := range []struct {
		name         string
		change       func(*checkpoint)
		asked, drawn float32
		honest       bool
	}{
		{"greedy, honest", nil, 0, 0, true},
		{"greedy, weights in four bits", (*checkpoint).fourBits, 0, 0, false},
		{"greedy, a layer less", (*checkpoint).withoutLastLayer, 0, 0, false},
		{"greedy, but drawn", nil, 0, 0.3, false},
		{"drawn, honest", nil, 1, 1, true},
		{"drawn, honest, colder", nil, 0.6, 0.6, true},
		{"drawn, weights in four bits", (*checkpoint).fourBits, 1, 1, false},
		{"drawn, a layer less", (*checkpoint).withoutLastLayer, 1, 1, false},
		{"drawn colder than asked", nil, 1, 0.7, false},
		{"drawn warmer than asked", nil, 1, 1.3, false},
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
			if w := logprobs.Default.Judge(all, draw); w.Pass != c.honest {
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
		a.tokens[i] = int32(3 + rng.IntN(500))
	}
	if v := logprobs.Default.Judge(seen(t, reference, a, 0), logprobs.Draw{}); v.Pass {
		t.Errorf("each 20th token changed: %s", v.Reason)
	}
}
