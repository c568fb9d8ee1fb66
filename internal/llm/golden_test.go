package llm

import (
	"os"
	"strings"
	"testing"

	"atoll/internal/llm/tokenizer"
	"atoll/internal/llm/weights"
	"atoll/internal/repro"
)

func stories(t testing.TB, o Options) *Model {
	t.Helper()
	f, err := weights.Open("testdata/stories260k/stories260K.bin", weights.Options{Tokenizer: "testdata/stories260k/tok512.bin"})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	m, err := Load(t.Context(), f, o)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func newPool(t testing.TB, threads int) *repro.Pool {
	t.Helper()
	isa, err := repro.SelectISA(os.Getenv(repro.Variable))
	if err != nil {
		t.Fatal(err)
	}
	p, err := repro.NewPool(threads, isa)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// continued is the greedy continuation of a prompt, position by position.
func continued(t testing.TB, m *Model, prompt []int32, n int) []int32 {
	t.Helper()
	d, err := NewDecoder(m, newPool(t, 2), DecoderConfig{Pages: 16, Batch: 8, Context: m.Config.Context})
	if err != nil {
		t.Fatal(err)
	}
	s, _ := NewCache(16).Begin("", nil)
	tokens := append([]int32(nil), prompt...)
	for i := range n {
		if err := s.Grow(i + 1); err != nil {
			t.Fatal(err)
		}
		logits, err := d.Forward([]Span{{Pages: s.Pages(), First: i, Tokens: tokens[i : i+1], Want: 1}})
		if err != nil {
			t.Fatal(err)
		}
		s.Stored(tokens[i])
		if i+1 == len(tokens) {
			sampler, _ := repro.NewSampler(repro.Sampling{}, repro.Portable)
			id, err := sampler.Draw(logits, i+1)
			if err != nil {
				t.Fatal(err)
			}
			tokens = append(tokens, int32(id))
		}
	}
	return tokens
}

// llama2.c's own test: the f32 profile says what its program says.
func TestStoriesGolden(t *testing.T) {
	t.Parallel()
	golden, err := os.ReadFile("testdata/stories260k/golden_temp0_n200.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []Profile{F32, Q8} {
		m := stories(t, Options{Profile: p})
		ids := continued(t, m, m.Tokens.Encode("", tokenizer.Options{Whole: true}), 200)
		text := m.Tokens.Decode(ids)
		if p == F32 && strings.TrimSpace(text) != strings.TrimSpace(string(golden)) {
			t.Errorf("got  %q\nwant %q", text, golden)
		}
		t.Logf("%s: %s", p, text)
	}
}
