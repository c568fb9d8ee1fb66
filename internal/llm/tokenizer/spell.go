package tokenizer

import (
	"fmt"
	"strconv"
	"strings"
)

// letters is GPT-2's spelling of bytes: printable ones as they are, the others
// from U+0100 on, in order.
var letters, unspelled = func() (to [256]rune, from map[rune]byte) {
	from = make(map[rune]byte, 256)
	next := rune(256)
	for b := range to {
		r := rune(b)
		if b < '!' || b > '~' && b < 0xA1 || b == 0xAD {
			r, next = next, next+1
		}
		to[b], from[r] = r, byte(b)
	}
	return to, from
}()

// spell writes bytes in GPT-2's letters.
func spell(s string) string {
	var b strings.Builder
	for i := range len(s) {
		b.WriteRune(letters[s[i]])
	}
	return b.String()
}

// byteName is how a vocabulary of this model spells the token of one byte.
func (v *Vocab) byteName(b byte) string {
	if v.Model == BPE {
		return string(letters[b])
	}
	return fmt.Sprintf("<0x%02X>", b)
}

// plain returns the bytes that a token stands for.
func (v *Vocab) plain(t Token) string {
	switch {
	case t.Kind == Control || t.Kind == User || t.Kind == Unknown:
		return t.Text
	case t.Kind == Byte:
		// "<0x0A>"; a malformed one stands for itself.
		if hex, ok := strings.CutPrefix(t.Text, "<0x"); ok && len(hex) == 3 && hex[2] == '>' {
			if b, err := strconv.ParseUint(hex[:2], 16, 8); err == nil {
				return string([]byte{byte(b)})
			}
		}
		return t.Text
	case v.Model == SPM:
		return strings.ReplaceAll(t.Text, "▁", " ")
	}
	var b strings.Builder
	for _, r := range t.Text {
		c, ok := unspelled[r]
		if !ok { // not in GPT-2's letters: it stands for itself
			return t.Text
		}
		b.WriteByte(c)
	}
	return b.String()
}
