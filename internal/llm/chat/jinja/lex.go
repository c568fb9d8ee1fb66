package jinja

import (
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// tokenKind is what a token is.
type tokenKind int

const (
	tText     tokenKind = iota // outside of tags
	tOpen                      // {{
	tClose                     // }}
	tBlock                     // {%
	tBlockEnd                  // %}
	tName
	tString
	tInt
	tFloat
	tOperator
	tEnd
)

type token struct {
	kind tokenKind
	text string
	line int
}

// lexer cuts a source into tokens. Whitespace control is done here: "-" beside a
// tag strips white space on that side; a block tag or comment also strips blanks
// before it if it begins its line (lstrip_blocks, "+" forbids) and one line break
// after it (trim_blocks).
type lexer struct {
	src    string
	pos    int
	line   int
	tokens []token
	strip  bool // the last tag ended in "-"
	trim   bool // the last tag was a block or comment
}

func lex(src string) []token {
	// As Jinja: one kind of line break, and none at the very end.
	src = strings.ReplaceAll(strings.ReplaceAll(src, "\r\n", "\n"), "\r", "\n")
	l := &lexer{src: strings.TrimSuffix(src, "\n"), line: 1}
	for l.pos < len(l.src) {
		l.outside()
	}
	l.add(tEnd, "")
	return l.tokens
}

func (l *lexer) add(k tokenKind, s string) { l.tokens = append(l.tokens, token{k, s, l.line}) }

// outside reads text up to the next tag, and the tag.
func (l *lexer) outside() {
	rest := l.src[l.pos:]
	at := len(rest)
	for i := 0; i+1 < len(rest); i++ {
		if rest[i] == '{' && strings.IndexByte("{%#", rest[i+1]) >= 0 {
			at = i
			break
		}
	}
	plain := rest[:at]
	shown := plain
	switch {
	case l.strip:
		shown = strings.TrimLeftFunc(shown, unicode.IsSpace)
	case l.trim:
		shown = strings.TrimPrefix(shown, "\n")
	}
	l.strip, l.trim = false, false
	if at == len(rest) {
		l.emit(shown)
		l.advance(at)
		return
	}
	tag := rest[at : at+2]
	switch mark := rest[at+2:]; {
	case strings.HasPrefix(mark, "-"):
		shown = strings.TrimRightFunc(shown, unicode.IsSpace)
		l.emit(shown)
		l.advance(at + 3)
	default:
		plus := strings.HasPrefix(mark, "+")
		if !plus && tag != "{{" {
			shown = l.lstrip(shown, plain)
		}
		l.emit(shown)
		l.advance(at + 2)
		if plus {
			l.advance(1)
		}
	}
	switch tag {
	case "{{":
		l.add(tOpen, tag)
		l.inside("}}", tClose)
	case "{%":
		if !l.raw() {
			l.add(tBlock, tag)
			l.inside("%}", tBlockEnd)
		}
	case "{#":
		l.comment()
	}
}

// lstrip removes blanks before a block tag that is the first thing on its line.
func (l *lexer) lstrip(shown, plain string) string {
	cut := strings.TrimRight(plain, " \t")
	lineStart := strings.HasSuffix(cut, "\n") || cut == "" && (l.pos == 0 || l.src[l.pos-1] == '\n')
	if !lineStart {
		return shown
	}
	return strings.TrimRight(shown, " \t")
}

func (l *lexer) emit(s string) {
	if s != "" {
		l.add(tText, s)
	}
}

func (l *lexer) advance(n int) {
	l.line += strings.Count(l.src[l.pos:l.pos+n], "\n")
	l.pos += n
}

func (l *lexer) comment() {
	n := strings.Index(l.src[l.pos:], "#}")
	if n < 0 {
		fail(l.line, "a comment does not end")
	}
	l.strip = n > 0 && l.src[l.pos+n-1] == '-'
	l.trim = true
	l.advance(n + 2)
}

// raw reads {% raw %} … {% endraw %} if that is what follows.
func (l *lexer) raw() bool {
	begin := strings.TrimLeft(l.src[l.pos:], " \t\n")
	if !strings.HasPrefix(begin, "raw") {
		return false
	}
	end := strings.TrimLeft(begin[3:], " \t\n")
	strip := strings.HasPrefix(end, "-")
	if end = strings.TrimPrefix(end, "-"); !strings.HasPrefix(end, "%}") {
		return false
	}
	body := end[2:]
	l.advance(len(l.src) - l.pos - len(body))
	n := strings.Index(body, "{%")
	for n >= 0 {
		tag := strings.TrimLeft(strings.TrimPrefix(body[n+2:], "-"), " \t\n")
		if after, ok := strings.CutPrefix(tag, "endraw"); ok {
			close := strings.TrimLeft(after, " \t\n")
			l.strip = strings.HasPrefix(close, "-")
			if rest, ok := strings.CutPrefix(strings.TrimPrefix(close, "-"), "%}"); ok {
				l.emitRaw(body[:n], strip, strings.HasPrefix(body[n+2:], "-"))
				l.trim = true
				l.advance(len(body) - len(rest))
				return true
			}
		}
		more := strings.Index(body[n+2:], "{%")
		if more < 0 {
			break
		}
		n += 2 + more
	}
	fail(l.line, "raw does not end")
	return false
}

func (l *lexer) emitRaw(body string, left, right bool) {
	if left {
		body = strings.TrimLeftFunc(body, unicode.IsSpace)
	}
	if right {
		body = strings.TrimRightFunc(body, unicode.IsSpace)
	}
	l.emit(body)
}

// operators, the longer first.
var operators = []string{"//", "**", "==", "!=", "<=", ">=", "+", "-", "*", "/", "%", "~", "<", ">", "=", "(", ")", "[", "]", "{", "}", ",", ":", ".", "|"}

// inside reads the tokens of a tag up to its end.
func (l *lexer) inside(end string, kind tokenKind) {
	depth := 0 // of braces, so that }} may close two mappings
	for {
		rest := l.src[l.pos:]
		if rest == "" {
			fail(l.line, "a tag does not end")
		}
		if depth == 0 {
			for _, mark := range []string{"-", "+", ""} {
				if strings.HasPrefix(rest, mark+end) {
					l.advance(len(mark + end))
					l.add(kind, end)
					l.strip, l.trim = mark == "-", kind == tBlockEnd && mark != "+"
					return
				}
			}
		}
		r, size := utf8.DecodeRuneInString(rest)
		switch {
		case unicode.IsSpace(r):
			l.advance(size)
		case r == '\'' || r == '"':
			l.quoted(byte(r))
		case r >= '0' && r <= '9':
			l.number()
		case r == '_' || unicode.IsLetter(r):
			n := strings.IndexFunc(rest, func(r rune) bool { return r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r) })
			if n < 0 {
				n = len(rest)
			}
			l.add(tName, rest[:n])
			l.advance(n)
		default:
			depth += l.operator(rest)
		}
	}
}

// operator reads one and returns how it changes the depth of braces.
func (l *lexer) operator(rest string) int {
	for _, op := range operators {
		if strings.HasPrefix(rest, op) {
			l.add(tOperator, op)
			l.advance(len(op))
			switch op {
			case "{", "(", "[":
				return 1
			case "}", ")", "]":
				return -1
			}
			return 0
		}
	}
	fail(l.line, "unexpected %.10q", rest)
	return 0
}

// numbers are whole, or have a point or an exponent.
var numbers = regexp.MustCompile(`^[0-9][0-9_]*(\.[0-9]+)?([eE][+-]?[0-9]+)?`)

func (l *lexer) number() {
	text := numbers.FindString(l.src[l.pos:])
	kind := tInt
	if strings.ContainsAny(text, ".eE") {
		kind = tFloat
	}
	l.add(kind, strings.ReplaceAll(text, "_", ""))
	l.advance(len(text))
}

var escapes = map[byte]string{'n': "\n", 't': "\t", 'r': "\r", '\\': `\`, '\'': "'", '"': `"`, '\n': "", 'b': "\b", 'f': "\f", '0': "\x00"}

func (l *lexer) quoted(quote byte) {
	var b strings.Builder
	rest := l.src[l.pos:]
	for i := 1; i < len(rest); i++ {
		switch c := rest[i]; {
		case c == quote:
			l.add(tString, b.String())
			l.advance(i + 1)
			return
		case c == '\\' && i+1 < len(rest):
			i++
			if s, ok := escapes[rest[i]]; ok {
				b.WriteString(s)
			} else if n := unicodeEscape(rest[i:], &b); n > 0 {
				i += n - 1
			} else {
				b.WriteString(rest[i-1 : i+1])
			}
		default:
			b.WriteByte(c)
		}
	}
	fail(l.line, "a string does not end")
}

// unicodeEscape reads xHH, uHHHH or UHHHHHHHH and returns its length, or 0.
func unicodeEscape(s string, b *strings.Builder) int {
	digits := map[byte]int{'x': 2, 'u': 4, 'U': 8}[s[0]]
	if digits == 0 || len(s) < digits+1 {
		return 0
	}
	var r rune
	for _, c := range s[1 : digits+1] {
		v := strings.IndexRune("0123456789abcdef", unicode.ToLower(c))
		if v < 0 || r > unicode.MaxRune {
			return 0
		}
		r = r<<4 | rune(v)
	}
	b.WriteRune(r)
	return digits + 1
}
