package llm

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"atoll/internal/llm/llmtest"
	"atoll/internal/llm/tokenizer"
	"atoll/internal/llm/weights"
	"atoll/internal/repro"
)

var update = flag.Bool("update", false, "write the q8 profile's golden texts anew")

// stories is the published model, where there is a copy of it.
func stories(t testing.TB, o Options) *Model {
	t.Helper()
	dir := llmtest.Stories(t)
	f, err := weights.Open(filepath.Join(dir, "stories260K.bin"), weights.Options{Tokenizer: filepath.Join(dir, "tok512.bin")})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	return load(t, f, o)
}

func ownModel(t testing.TB, o Options) *Model {
	t.Helper()
	return load(t, llmtest.Coral(t), o)
}

func load(t testing.TB, f *weights.Model, o Options) *Model {
	t.Helper()
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

// continued is the continuation of a prompt, position by position.
func continued(t testing.TB, m *Model, prompt []int32, sampling repro.Sampling, n int) []int32 {
	t.Helper()
	pool := newPool(t, 2)
	sampler, err := repro.NewSampler(sampling, pool.ISA())
	if err != nil {
		t.Fatal(err)
	}
	d, err := NewDecoder(m, pool, DecoderConfig{Pages: 16, Batch: 8, Context: m.Config.Context})
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
			id, err := sampler.Draw(logits, i+1)
			if err != nil {
				t.Fatal(err)
			}
			tokens = append(tokens, int32(id))
		}
	}
	return tokens
}

// goldens are texts that must come out bit for bit, now and on every machine. They
// were written by this test's -update from the portable code.
var goldens = []struct {
	file     string
	model    func(testing.TB, Options) *Model
	profile  Profile
	prompt   string
	sampling repro.Sampling
}{
	{"testdata/stories260k/golden_q8_temp0_n200.txt", stories, Q8, "", repro.Sampling{}},
	{"testdata/stories260k/golden_q8_temp0.8_seed7_n200.txt", stories, Q8, "", repro.Sampling{Temperature: 0.8, TopP: 0.9, Seed: 7}},
	{"coral/testdata/greedy.txt", ownModel, Q8, opening, repro.Sampling{}},
	{"coral/testdata/temp0.8_seed7.txt", ownModel, Q8, opening, repro.Sampling{Temperature: 0.8, TopP: 0.9, Seed: 7}},
}

// opening is what the golden texts of our own model go on with.
const opening = "It was a fine morning, and the whole party"

func TestGolden(t *testing.T) {
	t.Parallel()
	for _, g := range goldens {
		t.Run(g.file, func(t *testing.T) {
			t.Parallel()
			text := golden(t, g.model(t, Options{Profile: g.profile}), g.prompt, g.sampling)
			if *update {
				if err := os.WriteFile(g.file, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			same(t, text, g.file)
		})
	}
}

// The f32 profile says what llama2.c's own program says.
func TestStory(t *testing.T) {
	t.Parallel()
	text := golden(t, stories(t, Options{Profile: F32}), "", repro.Sampling{})
	same(t, text, filepath.Join(llmtest.Stories(t), "golden_temp0_n200.txt"))
}

// golden is a prompt with its continuation, 200 tokens in all.
func golden(t *testing.T, m *Model, prompt string, sampling repro.Sampling) string {
	t.Helper()
	return m.Tokens.Decode(continued(t, m, m.Tokens.Encode(prompt, tokenizer.Options{Whole: true}), sampling, 200)) + "\n"
}

func same(t *testing.T, text, file string) {
	t.Helper()
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if strings.TrimSpace(text) != strings.TrimSpace(string(want)) {
		t.Errorf("got  %q\nwant %q", text, want)
	}
}
