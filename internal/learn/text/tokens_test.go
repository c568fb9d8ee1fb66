package text

import (
	"crypto/sha256"
	"encoding/hex"
	"math"
	"slices"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

func words(s string) []string {
	folded := fold(nil, s)
	var out []string
	for _, t := range tokens(nil, folded) {
		out = append(out, string(folded[t.start:t.end]))
	}
	return out
}

func TestTokens(t *testing.T) {
	t.Parallel()
	for in, want := range map[string][]string{
		"":                           nil,
		"My card, please!":           {"my", "card", "please", "!"},
		"What?!?? No...":             {"what", "?", "!", "?", "no"},
		"pay €1,200.50 or $5":        {"pay", "€", "0", "000", "00", "or", "$", "0"},
		"don't l'été":                {"don", "t", "l", "été"},
		"GRÖSSE Straße e\u0301":      {"grösse", "straße", "é"},
		"ＦＵＬＬ ﬁn ①":                  {"full", "fin", "0"},
		"أُحِبُّ ـال١٢٣؟":            {"احب", "ال000", "؟"},
		"a\xffb":                     {"a", "b"},
		"💳💳💳 gone😀":                  {"💳", "gone", "😀"},
		"❤\uFE0F ok":                 {"❤", "ok"},
		"A4-paper snake_case":        {"a0", "paper", "snake", "case"},
		"\tnew\nline\u00a0space\x00": {"new", "line", "space"},
	} {
		if got := words(in); !slices.Equal(got, want) {
			t.Errorf("%q gives %q, want %q", in, got, want)
		}
	}
}

// What a model means hangs on how every code point is folded and classed. If a
// new version of Go or of its Unicode tables changes that, this hash changes:
// then models need a new version, and old ones the old tables.
func TestFoldingOfAllCodePoints(t *testing.T) {
	t.Parallel()
	const want = "930a663fc3c975c3"
	h := sha256.New()
	for r := rune(0); r <= utf8.MaxRune; r++ {
		for _, w := range words("x" + string(r) + "Y") {
			h.Write([]byte(w))
			h.Write([]byte{0})
		}
		h.Write([]byte{1})
	}
	if got := hex.EncodeToString(h.Sum(nil)[:8]); got != want {
		t.Errorf("hash %s, want %s", got, want)
	}
}

// The short way for ASCII gives what the long way gives.
func TestFoldASCII(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := string(rapid.SliceOf(rapid.ByteRange(0, 127)).Draw(t, "text"))
		if a, b := fold(nil, s), foldUnicode(nil, s); string(a) != string(b) {
			t.Fatalf("%q, but the long way %q", a, b)
		}
	})
}

func identity(n int) []int32 {
	rows := make([]int32, n)
	for i := range rows {
		rows[i] = int32(i)
	}
	return rows
}

func TestVector(t *testing.T) {
	t.Parallel()
	rows := identity(1 << 20) // wide enough for few collisions
	s := &scratch{slot: make([]int32, len(rows))}
	if err := s.vector("abc", rows); err != nil {
		t.Fatal(err)
	}
	// The word; of "<abc>" the n-grams <ab abc bc> <abc abc> <abc>.
	if len(s.ents) != 7 || len(s.occ) != 7 {
		t.Errorf("abc has %d features in %d places, want 7", len(s.ents), len(s.occ))
	}
	if err := s.vector("ab ab", rows); err != nil {
		t.Fatal(err)
	}
	// Twice the word ab, <ab, ab> and <ab>, once the pair.
	if len(s.ents) != 5 || len(s.occ) != 9 {
		t.Errorf("ab ab has %d features in %d places, want 5 in 9", len(s.ents), len(s.occ))
	}
}

// A vector has length 1, names each row once, and leaves no trace in the
// scratch memory for the next text.
func TestVectorProperties(t *testing.T) {
	t.Parallel()
	rows := identity(1 << 10) // narrow: collisions are the rule
	rows[5], rows[77] = -1, -1
	used := &scratch{slot: make([]int32, len(rows))}
	rapid.Check(t, func(t *rapid.T) {
		in := rapid.String().Draw(t, "text")
		fresh := &scratch{slot: make([]int32, len(rows))}
		if err := used.vector(in, rows); err != nil {
			t.Fatal(err)
		}
		if err := fresh.vector(in, rows); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(used.ents, fresh.ents) {
			t.Fatal("the previous text shows")
		}
		var square float64
		seen := make(map[int32]bool)
		for _, e := range used.ents {
			if seen[e.row] || e.row < 0 {
				t.Fatalf("row %d twice", e.row)
			}
			seen[e.row] = true
			square += float64(e.value) * float64(e.value)
		}
		if square != 0 && math.Abs(square-1) > 1e-5 {
			t.Fatalf("length² is %g", square)
		}
	})
}

// The reasons split the margin: bias difference plus all parts, for and against,
// is the difference of the scores.
func TestReasonsAddUp(t *testing.T) {
	t.Parallel()
	m, _, err := Train(t.Context(), []Example{
		{"the red rose and the red wine", "red"}, {"red wine, red!", "red"}, {"a rose is a rose", "red"},
		{"blue sky over the blue sea", "blue"}, {"the sea, the sky", "blue"}, {"sky blue!", "blue"},
	}, Options{MinCount: 1, Holdout: -1, Bits: MinBits}, nil)
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		in := rapid.StringOf(rapid.SampledFrom([]rune("redblu roskyaw!  "))).Draw(t, "text")
		s := m.pool.Get().(*scratch)
		defer m.pool.Put(s)
		if err := m.score(s, in); err != nil {
			t.Fatal(err)
		}
		best, second := m.bestTwo(s.scores)
		sum := float64(m.bias[best] - m.bias[second])
		positive := 0
		for _, p := range m.split(s, best, second) {
			sum += float64(p.weight)
			if micro(p.weight) > 0 {
				positive++
			}
		}
		if margin := float64(s.scores[best] - s.scores[second]); math.Abs(sum-margin) > 1e-4 {
			t.Fatalf("the parts add up to %g, the margin is %g", sum, margin)
		}
		if reasons := m.why(s, best, second, math.MaxInt); len(reasons) != positive {
			t.Fatalf("%d reasons, but %d parts speak for the label", len(reasons), positive)
		}
	})
}
