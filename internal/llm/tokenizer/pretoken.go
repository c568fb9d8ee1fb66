package tokenizer

import (
	"unicode"
	"unicode/utf8"
)

// cutter returns the length in bytes of the first cut of s, which is valid UTF-8
// and not empty.
type cutter func(s string) int

// cutters are the pre-tokenizers; see the package comment.
var cutters = map[string]cutter{
	"gpt-2":     cutGPT2,
	"llama-bpe": func(s string) int { return cutModern(s, 3) },
	"qwen2":     func(s string) int { return cutModern(s, 1) },
	"smollm":    cutDigits,
}

// Classes of characters, as in the patterns.
func letter(r rune) bool { return unicode.IsLetter(r) }
func digit(r rune) bool  { return unicode.IsNumber(r) }
func space(r rune) bool  { return unicode.IsSpace(r) }
func mark(r rune) bool   { return !letter(r) && !digit(r) && !space(r) }
func line(r rune) bool   { return r == '\n' || r == '\r' }

// run returns the length in bytes of the leading runes of s that are in the
// class, at most limit of them.
func run(s string, class func(rune) bool, limit int) int {
	for i, r := range s {
		if limit == 0 || !class(r) {
			return i
		}
		limit--
	}
	return len(s)
}

const noLimit = -1

// cutGPT2 is 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+ and
// white space.
func cutGPT2(s string) int {
	if n := contraction(s, false); n > 0 {
		return n
	}
	rest := s
	if s[0] == ' ' {
		rest = s[1:]
	}
	for _, class := range []func(rune) bool{letter, digit, mark} {
		if n := run(rest, class, noLimit); n > 0 {
			return len(s) - len(rest) + n
		}
	}
	return cutSpace(s)
}

// cutModern is the pattern of Llama 3 and Qwen 2, with at most digits numbers in
// one cut.
func cutModern(s string, digits int) int {
	if n := contraction(s, true); n > 0 {
		return n
	}
	first, size := utf8.DecodeRuneInString(s)
	if letter(first) {
		return run(s, letter, noLimit)
	}
	if !digit(first) && !line(first) { // one other character may lead a word
		if n := run(s[size:], letter, noLimit); n > 0 {
			return size + n
		}
	}
	if n := run(s, digit, digits); n > 0 {
		return n
	}
	lead := 0
	if first == ' ' {
		lead = 1
	}
	if n := run(s[lead:], mark, noLimit); n > 0 {
		n += lead
		return n + run(s[n:], line, noLimit)
	}
	// \s*[\r\n]+ takes white space up to its last line break.
	white := run(s, space, noLimit)
	for i := white; i > 0; i-- {
		if s[i-1] == '\n' || s[i-1] == '\r' {
			return i
		}
	}
	return cutSpace(s)
}

// cutSpace is \s+(?!\S)|\s+: white space up to the last one before a word, which
// belongs to the word where it is a plain space.
func cutSpace(s string) int {
	n := run(s, space, noLimit)
	if n == len(s) {
		return n
	}
	if _, last := utf8.DecodeLastRuneInString(s[:n]); n > last {
		return n - last
	}
	return n
}

// cutDigits cuts out each number character; the rest goes by GPT-2's pattern,
// which does not see beyond a number.
func cutDigits(s string) int {
	if n := run(s, digit, 1); n > 0 {
		return n
	}
	until := run(s, func(r rune) bool { return !digit(r) }, noLimit)
	return cutGPT2(s[:until])
}

// contraction returns the length of a leading 's, 't, 're, 've, 'm, 'll or 'd, or
// 0. fold also takes other cases of the letters.
func contraction(s string, fold bool) int {
	if s[0] != '\'' {
		return 0
	}
	next := func(at int) (rune, int) {
		r, n := utf8.DecodeRuneInString(s[at:])
		if fold {
			r = foldLower(r)
		}
		return r, at + n
	}
	a, end := next(1)
	switch a {
	case 's', 't', 'm', 'd':
		return end
	case 'r', 'v', 'l':
		b, end := next(end)
		if b == 'e' && a != 'l' || b == 'l' && a == 'l' {
			return end
		}
	}
	return 0
}

// foldLower returns the ASCII lower-case letter that r folds to in Unicode's
// simple case folding, or r.
func foldLower(r rune) rune {
	for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
		if 'a' <= f && f <= 'z' {
			return f
		}
	}
	return r
}
