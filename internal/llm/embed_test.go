package llm

import (
	"math"
	"slices"
	"strings"
	"testing"

	"atoll/internal/core"
	"atoll/internal/llm/tokenizer"
)

// Vectors have length 1, do not depend on the threads, and are nearer to each other
// where texts are. A text over several batches has all its positions in it.
func TestEmbed(t *testing.T) {
	t.Parallel()
	m := ownModel(t, Options{})
	embed := func(text string, threads int) []float32 {
		v, err := m.Embed(t.Context(), newPool(t, threads), m.Tokens.Encode(text, tokenizer.Options{Whole: true}))
		if err != nil {
			t.Fatal(err)
		}
		if length := dot(v, v); len(v) != m.Config.Dim || math.Abs(length-1) > 1e-6 {
			t.Errorf("%.20s: %d elements, length %g", text, len(v), length)
		}
		return v
	}
	cat := embed("The cat sat on the mat.", 1)
	if !slices.Equal(cat, embed("The cat sat on the mat.", 2)) {
		t.Error("threads make a difference")
	}
	if near, far := dot(cat, embed("A cat sits on a mat.", 1)), dot(cat, embed("1234567890", 1)); near <= far {
		t.Errorf("another cat: %g, numbers: %g", near, far)
	}
	long := strings.Repeat("One day a girl went home. ", 12)
	if slices.Equal(embed(long, 1), embed("The end. "+long[9:], 1)) {
		t.Error("the beginning of a long text makes no difference")
	}
}

func dot(a, b []float32) (sum float64) {
	for i := range a {
		sum += float64(a[i]) * float64(b[i])
	}
	return sum
}

func TestEmbedRefuses(t *testing.T) {
	t.Parallel()
	m := ownModel(t, Options{})
	for want, tokens := range map[core.Kind][]int32{core.TooLarge: make([]int32, m.Config.Context+1), core.Invalid: {99999}} {
		if _, err := m.Embed(t.Context(), newPool(t, 1), tokens); core.KindOf(err) != want {
			t.Errorf("%d tokens: %v, want %s", len(tokens), err, want)
		}
	}
	if _, err := m.Embed(t.Context(), newPool(t, 1), nil); core.KindOf(err) != core.Invalid {
		t.Errorf("no tokens: %v", err)
	}
	if normalise([]float32{0, 0}) == nil || normalise([]float32{float32(math.NaN())}) == nil {
		t.Error("numbers out of range are no error")
	}
}
