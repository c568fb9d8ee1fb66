package policy

import (
	"slices"
	"strconv"
	"strings"

	"atoll/internal/core"
)

// selectorParser is a recursive-descent parser with one token of look-ahead:
//
//	selector    = [ requirement { "," requirement } ]
//	requirement = "!" key | key
//	            | key ( "=" | "==" | "!=" ) [ value ]
//	            | key ( "in" | "notin" ) "(" value { "," value } ")"
//	            | key ( ">" | "<" ) integer
type selectorParser struct {
	text string
	pos  int    // just behind tok
	tok  string // the token ahead; empty at the end
}

const selectorSymbols = "=!(),><"
const selectorSpace = " \t\r\n"

// next reads the token ahead: a symbol, the longest that fits, or a word.
func (p *selectorParser) next() {
	rest := strings.TrimLeft(p.text[p.pos:], selectorSpace)
	n := strings.IndexAny(rest, selectorSymbols+selectorSpace)
	switch {
	case n < 0:
		n = len(rest)
	case n > 0:
	case strings.HasPrefix(rest, "==") || strings.HasPrefix(rest, "!="):
		n = 2
	default:
		n = 1
	}
	p.tok = rest[:n]
	p.pos = len(p.text) - len(rest) + n
}

func (p *selectorParser) errorf(want string) error {
	found := "the end"
	if p.tok != "" {
		found = strconv.Quote(p.tok[:min(len(p.tok), maxName)])
	}
	return core.Errorf(core.Invalid, "selector: found %s at byte %d: %s", found, p.pos-len(p.tok), want)
}

// word returns the token ahead if it is not a symbol.
func (p *selectorParser) word() (string, bool) {
	return p.tok, p.tok != "" && !strings.Contains(selectorSymbols, p.tok[:1])
}

func (p *selectorParser) requirement() (r requirement, err error) {
	if p.tok == "!" {
		r.op = opAbsent
		p.next()
	}
	key, ok := p.word()
	if !ok || !validKey(key) {
		return r, p.errorf("want a label key such as tier or example.com/tier")
	}
	r.key = key
	p.next()
	if r.op == opAbsent {
		return r, nil
	}
	switch op := p.tok; op {
	case "", ",":
		r.op = opExists
		return r, nil
	case "=", "==", "!=":
		return p.equality(r, op)
	case "in", "notin":
		r.op = operator(op)
		return p.set(r)
	case ">", "<":
		return p.comparison(r, operator(op))
	}
	return r, p.errorf("want one of = == != in notin > < or a comma")
}

func (p *selectorParser) equality(r requirement, op string) (requirement, error) {
	r.op, r.single = opIn, true
	if op == "!=" {
		r.op = opNotIn
	}
	p.next()
	value, ok := p.word()
	switch {
	case ok && validValue(value):
		p.next()
	case p.tok != "" && p.tok != ",": // an empty value is one
		return r, p.errorf("want a label value")
	}
	r.values = []string{value}
	if !ok {
		r.values[0] = ""
	}
	return r, nil
}

func (p *selectorParser) set(r requirement) (requirement, error) {
	if p.next(); p.tok != "(" {
		return r, p.errorf("want ( and values")
	}
	for p.tok != ")" {
		p.next()
		value, ok := p.word()
		if !ok || !validValue(value) {
			return r, p.errorf("want a label value")
		}
		r.values = append(r.values, value)
		if p.next(); p.tok != "," && p.tok != ")" {
			return r, p.errorf("want , or )")
		}
	}
	p.next()
	slices.Sort(r.values)
	r.values = slices.Compact(r.values)
	return r, nil
}

func (p *selectorParser) comparison(r requirement, op operator) (requirement, error) {
	r.op = op
	p.next()
	value, ok := p.word()
	n, err := strconv.ParseInt(value, 10, 64)
	if !ok || err != nil || !validValue(value) {
		return r, p.errorf("want a whole number that is not negative")
	}
	r.bound = n
	p.next()
	return r, nil
}

// validKey follows Kubernetes: an optional DNS name and a slash, then a name.
func validKey(key string) bool {
	prefix, name, ok := strings.Cut(key, "/")
	if !ok {
		return validValue(key)
	}
	if len(prefix) > 253 || strings.ToLower(prefix) != prefix || strings.Contains(prefix, "_") {
		return false
	}
	for label := range strings.SplitSeq(prefix, ".") {
		if !wordForm(label) {
			return false
		}
	}
	return validValue(name)
}

// validValue accepts 1 to 63 letters, digits, - _ and . that start and end with
// a letter or digit. Names in keys have the same form.
func validValue(v string) bool { return len(v) <= 63 && wordForm(v) }

func wordForm(s string) bool {
	if s == "" || !alphanumeric(s[0]) || !alphanumeric(s[len(s)-1]) {
		return false
	}
	for i := range len(s) {
		if c := s[i]; !alphanumeric(c) && c != '-' && c != '_' && c != '.' {
			return false
		}
	}
	return true
}

func alphanumeric(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}
