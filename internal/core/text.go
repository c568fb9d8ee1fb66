package core

import (
	"strings"
	"unicode/utf8"
)

// Clip makes a stranger's text fit to be kept and shown: valid UTF-8 of at most n
// bytes, n being at least 4. What is cut off is marked by an ellipsis.
func Clip(s string, n int) string {
	s = strings.ToValidUTF8(s, "?")
	if len(s) <= n {
		return s
	}
	const mark = "…"
	end := n - len(mark)
	for !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + mark
}
