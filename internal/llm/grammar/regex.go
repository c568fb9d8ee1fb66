package grammar

import (
	"fmt"
	"regexp/syntax"
	"unicode"
	"unicode/utf8"
)

// maxPattern bounds a regular expression, in bytes.
const maxPattern = 4096

// FromRegex compiles a regular expression, which the whole answer is to match.
func FromRegex(pattern string) (*Grammar, error) {
	room := maxCode
	n, err := regex(pattern, runes, &room)
	if err != nil {
		return nil, err
	}
	return compile([]node{n}, Source{Regex: pattern})
}

// runesFunc returns what a range of characters looks like in the answer.
type runesFunc func(lo, hi rune) node

// regex takes of room what ranges of characters the pattern has: a class that is
// written in three bytes, such as \pL, has hundreds, and each is a step or more.
func regex(pattern string, f runesFunc, room *int) (node, error) {
	if len(pattern) > maxPattern {
		return nil, fmt.Errorf("%w: a pattern of %d bytes, at most %d", ErrForm, len(pattern), maxPattern)
	}
	re, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrForm, err)
	}
	re = unanchored(re)
	if *room -= ranges(re); *room < 0 {
		return nil, errCode
	}
	return fromSyntax(re, f)
}

// ranges counts those of all classes, without repetition.
func ranges(re *syntax.Regexp) (n int) {
	if re.Op == syntax.OpCharClass {
		n = len(re.Rune) / 2
	}
	for _, sub := range re.Sub {
		n += ranges(sub)
	}
	return n
}

// unanchored removes ^ and $ from the ends, where they say nothing.
func unanchored(re *syntax.Regexp) *syntax.Regexp {
	if re.Op == syntax.OpCapture {
		return unanchored(re.Sub[0])
	}
	begins := func(r *syntax.Regexp) bool { return r.Op == syntax.OpBeginText }
	ends := func(r *syntax.Regexp) bool { return r.Op == syntax.OpEndText }
	if begins(re) || ends(re) {
		return &syntax.Regexp{Op: syntax.OpEmptyMatch}
	}
	if re.Op != syntax.OpConcat {
		return re
	}
	sub := re.Sub
	if begins(sub[0]) {
		sub = sub[1:]
	}
	if len(sub) > 0 && ends(sub[len(sub)-1]) {
		sub = sub[:len(sub)-1]
	}
	return &syntax.Regexp{Op: syntax.OpConcat, Sub: sub}
}

func fromSyntax(re *syntax.Regexp, f runesFunc) (node, error) {
	switch re.Op {
	case syntax.OpNoMatch:
		return alt{}, nil
	case syntax.OpEmptyMatch:
		return seq{}, nil
	case syntax.OpLiteral:
		var s seq
		for _, r := range re.Rune {
			s = append(s, folded(r, re.Flags&syntax.FoldCase != 0, f))
		}
		return s, nil
	case syntax.OpCharClass:
		var a alt
		for i := 0; i < len(re.Rune); i += 2 {
			a = append(a, f(re.Rune[i], re.Rune[i+1]))
		}
		return a, nil
	case syntax.OpAnyChar:
		return f(0, unicode.MaxRune), nil
	case syntax.OpAnyCharNotNL:
		return alt{f(0, '\n'-1), f('\n'+1, unicode.MaxRune)}, nil
	case syntax.OpBeginLine, syntax.OpEndLine, syntax.OpBeginText, syntax.OpEndText, syntax.OpWordBoundary, syntax.OpNoWordBoundary:
		return nil, fmt.Errorf("%w: %s within a pattern is not understood", ErrForm, re)
	}
	var sub seq
	for _, x := range re.Sub {
		n, err := fromSyntax(x, f)
		if err != nil {
			return nil, err
		}
		sub = append(sub, n)
	}
	switch re.Op {
	case syntax.OpCapture, syntax.OpConcat:
		return sub, nil
	case syntax.OpAlternate:
		return alt(sub), nil
	case syntax.OpStar:
		return rep{sub, 0, -1}, nil
	case syntax.OpPlus:
		return rep{sub, 1, -1}, nil
	case syntax.OpQuest:
		return rep{sub, 0, 1}, nil
	case syntax.OpRepeat:
		return rep{sub, re.Min, re.Max}, nil
	}
	return nil, fmt.Errorf("%w: %s is not understood", ErrForm, re)
}

// folded is a character, in any case if so asked.
func folded(r rune, fold bool, f runesFunc) node {
	a := alt{f(r, r)}
	if fold {
		for x := unicode.SimpleFold(r); x != r; x = unicode.SimpleFold(x) {
			a = append(a, f(x, x))
		}
	}
	return a
}

// runes is a range of characters in UTF-8.
func runes(lo, hi rune) node {
	var a alt
	// Surrogates are no characters; within each length of encoding, ranges can be
	// told byte by byte.
	for _, part := range [...][2]rune{{0, 0x7f}, {0x80, 0x7ff}, {0x800, 0xd7ff}, {0xe000, 0xffff}, {0x10000, unicode.MaxRune}} {
		if l, h := max(lo, part[0]), min(hi, part[1]); l <= h {
			a = append(a, encoded([]byte(string(l)), []byte(string(h)))...)
		}
	}
	return a
}

// encoded is the byte strings between lo and hi, of the same length. Where their
// first bytes differ it is: the rest of lo's, all of those between, the first of
// hi's.
func encoded(lo, hi []byte) (a alt) {
	switch {
	case len(lo) == 1:
		return alt{bytesNode{lo[0], hi[0]}}
	case lo[0] == hi[0]:
		return alt{seq{bytesNode{lo[0], lo[0]}, encoded(lo[1:], hi[1:])}}
	}
	least, most := tail(len(lo)-1, 0x80), tail(len(lo)-1, 0xbf)
	first, last := lo[0], hi[0]
	if string(lo[1:]) != string(least) {
		a = append(a, seq{bytesNode{first, first}, encoded(lo[1:], most)})
		first++
	}
	if string(hi[1:]) != string(most) {
		a = append(a, seq{bytesNode{last, last}, encoded(least, hi[1:])})
		last--
	}
	if first <= last {
		a = append(a, seq{bytesNode{first, last}, encoded(least, most)})
	}
	return a
}

func tail(n int, b byte) []byte {
	t := make([]byte, n, utf8.UTFMax)
	for i := range t {
		t[i] = b
	}
	return t
}
