package text

import (
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// token is a stretch of the folded text: a word, or a symbol that stands alone.
type token struct {
	start, end int32
	word       bool
}

// fold appends text to buf in the form that features are made of: Unicode NFKC,
// lower case, every decimal digit as 0 (what matters of a number is mostly how
// long it is), Arabic without vowel signs and stretching and with one alef.
// Invalid UTF-8 becomes U+FFFD, which belongs to no token.
func fold(buf []byte, text string) []byte {
	for i := range len(text) {
		if text[i] >= utf8.RuneSelf {
			return foldUnicode(buf, text)
		}
	}
	for i := range len(text) {
		c := text[i]
		switch {
		case 'A' <= c && c <= 'Z':
			c += 'a' - 'A'
		case '0' <= c && c <= '9':
			c = '0'
		}
		buf = append(buf, c)
	}
	return buf
}

func foldUnicode(buf []byte, text string) []byte {
	for _, r := range norm.NFKC.String(text) {
		switch {
		case r >= 0x064B && r <= 0x065F, r == 0x0670, r == 0x0640:
			continue // vowel signs, superscript alef, tatweel
		case r == 0x0622, r == 0x0623, r == 0x0625, r == 0x0671:
			r = 0x0627 // alef
		case unicode.IsDigit(r):
			r = '0'
		default:
			r = unicode.ToLower(r)
		}
		buf = utf8.AppendRune(buf, r)
	}
	return buf
}

// tokens appends the tokens of folded text. A word is a run of letters, marks
// and digits. Of all else only what carries a meaning of its own is kept: !, ?,
// currency signs and pictures, a run of one of them counting once.
func tokens(toks []token, folded []byte) []token {
	var last rune // the symbol that the previous token is a run of
	open := -1    // where the current word starts
	for i := 0; i < len(folded); {
		r, size := rune(folded[i]), 1
		if r >= utf8.RuneSelf {
			r, size = utf8.DecodeRune(folded[i:])
		}
		if wordRune(r) {
			if open < 0 {
				open = i
			}
			last = 0
			i += size
			continue
		}
		if open >= 0 {
			toks = append(toks, token{int32(open), int32(i), true})
			open = -1
		}
		if r != last && symbol(r) {
			toks = append(toks, token{int32(i), int32(i + size), false})
		}
		last = r
		i += size
	}
	if open >= 0 {
		toks = append(toks, token{int32(open), int32(len(folded)), true})
	}
	return toks
}

func wordRune(r rune) bool {
	if r < utf8.RuneSelf {
		return 'a' <= r && r <= 'z' || r == '0'
	}
	return unicode.IsLetter(r) || unicode.IsMark(r) && r != 0xFE0F || unicode.IsNumber(r)
}

func symbol(r rune) bool {
	switch r {
	case '!', '?', '$', 0x061F: // Arabic question mark
		return true
	case utf8.RuneError:
		return false
	}
	return r >= utf8.RuneSelf && unicode.In(r, unicode.Sc, unicode.So)
}
