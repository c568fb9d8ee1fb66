package control

import (
	"strings"
	"testing"
)

func TestPreview(t *testing.T) {
	t.Parallel()
	const room = maxPreviews
	tests := map[string]struct {
		offset int
		data   string
		want   string
	}{
		"more":                    {3, "def", "abcdef"},
		"again, and more":         {0, "abcd", "abcd"}, // another node, from the beginning
		"again":                   {0, "ab", "abc"},
		"a gap":                   {4, "e", "abc"},
		"otherwise than before":   {0, "axcdef", "abc"},
		"before the beginning":    {-1, "abcdef", "abc"},
		"an offset out of bounds": {1 << 62, "x", "abc"},
		"more than may be kept":   {3, strings.Repeat("x", maxPreview), "abc"},
		"as much as may be kept":  {3, strings.Repeat("x", maxPreview-3), "abc" + strings.Repeat("x", maxPreview-3)},
		"nothing":                 {3, "", "abc"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPreview()
			p.add(0, []byte("abc"), room)
			changed := p.changed
			p.add(tt.offset, []byte(tt.data), room)
			if string(p.data) != tt.want {
				t.Errorf("%.50q, want %.50q", p.data, tt.want)
			}
			select {
			case <-changed:
				if tt.want == "abc" {
					t.Error("watchers are woken for nothing")
				}
			default:
				if tt.want != "abc" {
					t.Error("watchers sleep on")
				}
			}
		})
	}
	p := newPreview()
	if p.add(0, []byte("abc"), 2); len(p.data) != 0 {
		t.Error("previews take more memory than all may")
	}
}
