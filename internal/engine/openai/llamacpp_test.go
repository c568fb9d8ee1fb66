package openai_test

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"strings"
	"testing"

	"atoll/internal/core"
	"atoll/internal/engine"
	"atoll/internal/engine/openai"
	"atoll/internal/llm"
	"atoll/internal/llm/llmtest"
	"atoll/internal/llm/tokenizer"
	"atoll/internal/repro"
	"atoll/internal/verify/logprobs"
)

// Someone else's server, with somebody else's arithmetic, over the model that our own
// reference knows: .ci/llamacpp starts llama.cpp's and names it in ATOLL_TEST_LLAMACPP.
func TestLlamaServer(t *testing.T) {
	t.Parallel()
	url := os.Getenv("ATOLL_TEST_LLAMACPP")
	if url == "" {
		t.Skip("ATOLL_TEST_LLAMACPP names no llama.cpp server: run .ci/llamacpp")
	}
	e, err := openai.New(openai.Config{URL: url, Models: map[string]string{"parrot": "coral"}})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if names, err := e.List(t.Context()); err != nil || len(names) != 1 || names[0] != "coral" {
		t.Fatalf("it has %v, %v", names, err)
	}
	reference := ownModel(t)
	for _, temperature := range []float64{0, 1} {
		var input strings.Builder
		prompts := []string{"Once upon a time", "The little dog", "Lily went to the", "One day, a boy", "In the big forest", "Tom and his mom"}
		for i, p := range prompts {
			fmt.Fprintf(&input, `{"prompt":%q,"max_tokens":120,"temperature":%g,"seed":%d,"logprobs":1}`+"\n", p, temperature, i)
		}
		out, use, err := run(t, e, input.String())
		if err != nil {
			t.Fatal(err)
		}
		var all []logprobs.Token
		for i, line := range strings.Split(strings.TrimSpace(out), "\n") {
			all = append(all, scoredAnswer(t, reference, prompts[i], line, temperature)...)
		}
		if use.TokensOut < int64(len(all)) {
			t.Errorf("%d tokens metered, %d told", use.TokensOut, len(all))
		}
		draw := logprobs.Draw{Temperature: temperature}
		v := logprobs.Default.Judge(all, draw)
		t.Logf("temperature %g: %s", temperature, v.Reason)
		if !v.Judged || !v.Pass {
			t.Errorf("temperature %g: an honest server fails: %s", temperature, v.Reason)
		}
		if temperature == 1 { // as if greedy answers had been asked for
			if v := logprobs.Default.Judge(all, logprobs.Draw{}); v.Pass {
				t.Errorf("drawn tokens pass for greedy ones: %s", v.Reason)
			}
		}
	}
	chat, _, err := run(t, e, `{"messages":[{"role":"user","content":"Once upon a time"}],"max_tokens":12,"stop":["zzz"],"logprobs":2}`)
	if err != nil || strings.Count(chat, `"logprob":`) < 1 {
		t.Errorf("chat: %s, %v", chat, err)
	}
	if _, _, err := run(t, e, `{"prompt":"`+strings.Repeat("cat ", 2000)+`"}`); !inputs(err) {
		t.Errorf("a prompt over the context: %v", err)
	}
}

// inputs reports whether an error is the input's fault.
func inputs(err error) bool {
	return err != nil && !fault(err) && core.KindOf(err) != core.NotFound && !strings.Contains(err.Error(), engine.ErrModel.Error())
}

func ownModel(t *testing.T) *llm.Model {
	t.Helper()
	m, err := llm.Load(t.Context(), llmtest.Coral(t), llm.Options{Profile: llm.Q8})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// scoredAnswer is a line of output as the reference sees it.
func scoredAnswer(t *testing.T, m *llm.Model, prompt, line string, temperature float64) []logprobs.Token {
	t.Helper()
	var a struct {
		Logprobs []struct {
			Logprob float64
			Bytes   []byte
		}
	}
	if err := json.Unmarshal([]byte(line), &a); err != nil {
		t.Fatal(err)
	}
	ids := map[string]int32{}
	for i, token := range m.Tokens.Vocab().Tokens {
		b := string(m.Tokens.Bytes(int32(i)))
		if _, had := ids[b]; token.Kind == tokenizer.Normal || token.Kind == tokenizer.Byte && !had {
			ids[b] = int32(i)
		}
	}
	var answer []int32
	var claims []float64
	for _, l := range a.Logprobs {
		id, ok := ids[string(l.Bytes)]
		if !ok { // the control token that ends an answer
			break
		}
		answer, claims = append(answer, id), append(claims, l.Logprob)
	}
	isa, err := repro.SelectISA(os.Getenv(repro.Variable))
	if err != nil {
		t.Fatal(err)
	}
	pool, err := repro.NewPool(1, isa)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	scored, err := m.Score(t.Context(), pool, m.Tokens.Encode(prompt, tokenizer.Options{Whole: true}), answer, false, temperature)
	if err != nil {
		t.Fatal(err)
	}
	tokens := make([]logprobs.Token, len(scored))
	for i, s := range scored {
		tokens[i] = logprobs.Token{Margin: s.Margin, Logprob: s.Logprob, Drawn: s.Drawn, Entropy: s.Entropy, Variance: s.Variance, Claimed: claims[i]}
		if math.IsInf(claims[i], 0) {
			t.Errorf("claim %d is %g", i, claims[i])
		}
	}
	return tokens
}
