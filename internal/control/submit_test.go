package control

import (
	"bytes"
	"strings"
	"testing"

	"atoll/api"
	"atoll/internal/core"
)

// Every byte is in one part, no part is without work, and blank lines are none.
func TestCut(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		in    string
		lines int
		want  string // with | where it is cut
	}{
		{"a\nb\nc\n", 2, "a\nb\n|c\n"},
		{"a\nb\nc", 1, "a\n|b\n|c"},
		{"a\nb\n\n\r\n", 2, "a\nb\n\n\r\n"},
		{"a\n\nb\n \nc\nd\n\n", 2, "a\n\nb\n \n|c\nd\n\n"},
		{"\n\na\nb\n", 1, "\n\na\n|b\n"},
		{"a\nb\n", 9, "a\nb\n"},
	} {
		cuts, err := cut([]byte(c.in), &api.Split{Lines: c.lines})
		if err != nil {
			t.Fatal(err)
		}
		var parts []string
		for _, at := range cuts {
			parts = append(parts, c.in[at[0]:at[1]])
		}
		if got := strings.Join(parts, "|"); got != c.want {
			t.Errorf("%q by %d: %q, want %q", c.in, c.lines, got, c.want)
		}
	}
	if cuts, err := cut(bytes.Repeat([]byte("a\n"), maxParts), &api.Split{Lines: 1}); err != nil || len(cuts) != maxParts {
		t.Errorf("as many parts as there may be: %d, %v", len(cuts), err)
	}
	for in, kind := range map[string]core.Kind{"": core.Invalid, "\n \r\n": core.Invalid, strings.Repeat("a\n", maxParts+1): core.TooLarge} {
		if cuts, err := cut([]byte(in), &api.Split{Lines: 1}); core.KindOf(err) != kind {
			t.Errorf("%d lines: %d parts, %v", bytes.Count([]byte(in), []byte("\n")), len(cuts), err)
		}
	}
	if cuts, err := cut(nil, nil); err != nil || len(cuts) != 1 {
		t.Errorf("not split: %v, %v", cuts, err)
	}
}
