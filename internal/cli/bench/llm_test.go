package bench

import (
	"strings"
	"testing"

	"atoll/internal/llm/weights"
	"atoll/internal/repro"
)

// All that is measured of a model is there, on one that is small.
func TestModels(t *testing.T) {
	t.Parallel()
	cfg := LLMConfig{Threads: []int{1, 2}, Rounds: 2, Watch: func(int, int, string) {}}
	s := Shape{"tiny", shape(weights.Config{Layers: 1, Dim: 64, FFN: 64, Heads: 2, KVHeads: 1, HeadDim: 32, Vocab: 320})}
	rows, _, err := models(t.Context(), &cfg, s, repro.Portable, numbers(1<<20))
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) != 2 {
		t.Fatalf("%d rows, want one for each number of threads", len(rows))
	}
	for i, r := range rows {
		if r.Threads != i+1 || r.Prefill <= 0 || r.Decode <= 0 || r.Read <= 0 || r.Share <= 0 || len(r.Together) != 3 || r.Check.SpanMs <= 0 || r.Rival != nil {
			t.Errorf("row %d: %+v", i, r)
		}
		for _, x := range r.Together {
			if x.Tokens <= 0 || x.FirstToken <= 0 {
				t.Errorf("row %d: %+v", i, x)
			}
		}
	}
}

// The digest names the norm: it is that of any other machine.
func TestBits(t *testing.T) {
	t.Parallel()
	got, err := bits(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for isa, digest := range got {
		if !strings.HasPrefix(digest, "8a8b7d9003239ce8") {
			t.Errorf("%s: %s", isa, digest)
		}
	}
}

func TestParseRival(t *testing.T) {
	t.Parallel()
	const whole = `[{"build_commit":"abc","build_number":7,"n_prompt":128,"n_gen":0,"avg_ts":700.5},{"build_commit":"abc","build_number":7,"n_prompt":0,"n_gen":64,"avg_ts":108.25}]`
	prefill, decode, name, err := parseRival([]byte(whole))
	if err != nil || prefill != 700.5 || decode != 108.25 || name != "llama.cpp build 7 (abc)" {
		t.Errorf("%v, %v, %q, %v", prefill, decode, name, err)
	}
	for _, bad := range []string{"", "{}", "[]", `[{"n_prompt":128,"n_gen":0,"avg_ts":1}]`, `[{"n_prompt":512,"avg_ts":1},{"n_gen":64,"avg_ts":1}]`} {
		if _, _, _, err := parseRival([]byte(bad)); err == nil {
			t.Errorf("%s: taken", bad)
		}
	}
}

func TestUnknownModel(t *testing.T) {
	t.Parallel()
	if _, err := chosen([]string{"135M", "7B"}); err == nil || !strings.Contains(err.Error(), `"7B"`) {
		t.Errorf("%v", err)
	}
}
