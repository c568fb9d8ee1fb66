package core

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestClip(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		in   string
		n    int
		want string
	}{
		{"short", 10, "short"}, {"exactly", 7, "exactly"}, {"too long", 7, "too …"},
		{strings.Repeat("a", 7) + "éé", 10, "aaaaaaa…"}, {"\xffé", 10, "?é"}, {"ééé", 4, "…"},
	} {
		if got := Clip(tt.in, tt.n); got != tt.want {
			t.Errorf("Clip(%q, %d) = %q, want %q", tt.in, tt.n, got, tt.want)
		}
	}
}

func FuzzClip(f *testing.F) {
	f.Add("aé\xff世界", 5)
	f.Fuzz(func(t *testing.T, s string, n int) {
		n = 4 + int(uint(n)%1000)
		if got := Clip(s, n); len(got) > n || !utf8.ValidString(got) {
			t.Errorf("Clip(%q, %d) = %q", s, n, got)
		}
	})
}
