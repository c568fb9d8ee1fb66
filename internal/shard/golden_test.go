package shard

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"atoll/internal/llm"
	"atoll/internal/llm/llmtest"
	"atoll/internal/llm/tokenizer"
	"atoll/internal/llm/weights"
	"atoll/internal/repro"
)

// The published model says the very text that it says as a whole, however many
// stages it has: byte for byte what internal/llm holds it to.
func TestGolden(t *testing.T) {
	t.Parallel()
	dir := llmtest.Stories(t)
	file, err := weights.Open(filepath.Join(dir, "stories260K.bin"), weights.Options{Tokenizer: filepath.Join(dir, "tok512.bin")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() })
	m, err := llm.Load(t.Context(), file, llm.Options{First: 0, Last: 1})
	if err != nil {
		t.Fatal(err)
	}
	prompt := m.Tokens.Encode("", tokenizer.Options{Whole: true})
	for golden, s := range map[string]repro.Sampling{
		"golden_q8_temp0_n200.txt":         {},
		"golden_q8_temp0.8_seed7_n200.txt": {Temperature: 0.8, TopP: 0.9, Seed: 7},
	} {
		want, err := os.ReadFile(filepath.Join("..", "llm", "testdata", "stories260k", golden))
		if err != nil {
			t.Fatal(err)
		}
		r := llm.Request{Prompt: prompt, MaxTokens: 201 - len(prompt), Sampling: s, Logprobs: -1}
		for _, cuts := range [][]int{nil, {2}, {1, 3}, {1, 2, 3, 4}} {
			var answer [][]llm.Token
			if cuts == nil {
				answer = alone(t, file, llm.Q8, []llm.Request{r})
			} else {
				answer = newLineOf(t, file, llm.Q8, cuts...).all([]llm.Request{r}, func() {})
			}
			ids := prompt
			for _, token := range answer[0] {
				ids = append(ids[:len(ids):len(ids)], token.ID)
			}
			if text := m.Tokens.Decode(ids); strings.TrimSpace(text) != strings.TrimSpace(string(want)) {
				t.Errorf("%s, %d stages: %q", golden, len(cuts)+1, text)
			}
		}
	}
}
