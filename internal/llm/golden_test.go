package llm

import (
	"flag"
	"os"
	"strings"
	"testing"

	"atoll/internal/llm/coral"
	"atoll/internal/llm/tokenizer"
	"atoll/internal/llm/weights"
	"atoll/internal/repro"
)

var update = flag.Bool("update", false, "write the q8 profile's golden texts anew")

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

func ownModel(t testing.TB, o Options) *Model {
	t.Helper()
	file := coral.Open()
	f, err := weights.FromGGUF(coral.Name, file, file.Size())
	if err != nil {
		t.Fatal(err)
	}
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

// goldens are texts that must come out bit for bit, now and on every machine. The
// f32 profile of stories260k says what llama2.c's own program says; the others
// were written by this test's -update from the portable code.
var goldens = []struct {
	file     string
	model    func(testing.TB, Options) *Model
	profile  Profile
	prompt   string
	sampling repro.Sampling
}{
	{"testdata/stories260k/golden_temp0_n200.txt", stories, F32, "", repro.Sampling{}},
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
			m := g.model(t, Options{Profile: g.profile})
			text := m.Tokens.Decode(continued(t, m, m.Tokens.Encode(g.prompt, tokenizer.Options{Whole: true}), g.sampling, 200)) + "\n"
			if *update && g.profile == Q8 {
				if err := os.WriteFile(g.file, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(g.file)
			if err != nil {
				t.Fatal(err)
			}
			if strings.TrimSpace(text) != strings.TrimSpace(string(want)) {
				t.Errorf("got  %q\nwant %q", text, want)
			}
		})
	}
}
