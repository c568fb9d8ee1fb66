package jinja

import (
	"slices"
	"strconv"
	"strings"
)

// parser reads tokens. It fails at the first that does not fit.
type parser struct {
	tokens  []token
	pos     int
	nesting int
}

func (p *parser) peek() token { return p.tokens[p.pos] }

func (p *parser) next() token {
	t := p.tokens[p.pos]
	if t.kind != tEnd {
		p.pos++
	}
	return t
}

// is reports whether the next token is this operator or name.
func (p *parser) is(text string) bool {
	t := p.peek()
	return (t.kind == tOperator || t.kind == tName) && t.text == text
}

// take steps over the next token if it is this operator or name.
func (p *parser) take(text string) bool {
	if p.is(text) {
		p.pos++
		return true
	}
	return false
}

func (p *parser) want(text string) {
	if !p.take(text) {
		fail(p.peek().line, "%.20q, want %q", p.peek().text, text)
	}
}

func (p *parser) wantName() string {
	t := p.next()
	if t.kind != tName {
		fail(t.line, "%.20q, want a name", t.text)
	}
	return t.text
}

// deeper guards the stack; each call is undone by p.nesting--.
func (p *parser) deeper() {
	if p.nesting++; p.nesting > maxNesting {
		fail(p.peek().line, "more than %d levels of nesting", maxNesting)
	}
}

// expression reads one, the least binding operator first.
func (p *parser) expression() expr {
	p.deeper()
	defer func() { p.nesting-- }()
	e := p.or()
	for p.take("if") {
		c := choice{cond: p.or(), yes: e}
		if p.take("else") {
			c.no = p.expression()
		}
		e = c
	}
	return e
}

func (p *parser) or() expr {
	e := p.and()
	for p.take("or") {
		e = or{e, p.and()}
	}
	return e
}

func (p *parser) and() expr {
	e := p.not()
	for p.take("and") {
		e = and{e, p.not()}
	}
	return e
}

func (p *parser) not() expr {
	if p.take("not") {
		p.deeper()
		defer func() { p.nesting-- }()
		return not{p.not()}
	}
	return p.compare()
}

func (p *parser) compare() expr {
	line := p.peek().line
	e := compare{line: line, first: p.sum()}
	for {
		op := p.peek().text
		switch {
		case p.take("=="), p.take("!="), p.take("<="), p.take(">="), p.take("<"), p.take(">"), p.take("in"):
		case p.is("not") && p.tokens[p.pos+1].kind == tName && p.tokens[p.pos+1].text == "in":
			p.pos += 2
			op = "not in"
		default:
			if e.ops == nil {
				return e.first
			}
			return e
		}
		e.ops, e.rest = append(e.ops, op), append(e.rest, p.sum())
	}
}

// levels are the left-associative operators from the least to the most binding.
var levels = [][]string{{"+", "-"}, {"~"}, {"*", "/", "//", "%"}, {"**"}}

func (p *parser) sum() expr { return p.level(0) }

func (p *parser) level(n int) expr {
	if n == len(levels) {
		return p.unary(true)
	}
	e := p.level(n + 1)
	for {
		t := p.peek()
		if t.kind != tOperator || !slices.Contains(levels[n], t.text) {
			return e
		}
		p.pos++
		e = binary{t.line, t.text, e, p.level(n + 1)}
	}
}

// unary reads a sign and what it is before; filters and tests bind less than the
// sign.
func (p *parser) unary(filters bool) expr {
	p.deeper()
	defer func() { p.nesting-- }()
	var e expr
	if t := p.peek(); t.kind == tOperator && (t.text == "-" || t.text == "+") {
		p.pos++
		e = unary{t.line, t.text, p.unary(false)}
	} else {
		e = p.postfix(p.primary())
	}
	for filters {
		switch t := p.peek(); {
		case p.take("|"):
			e = p.filters(e, t.line)
		case p.take("is"):
			e = p.test(e, t.line)
		case p.is("("):
			e = p.postfix(e)
		default:
			return e
		}
	}
	return e
}

// test reads what stands after "is". Its one argument may go without parentheses.
func (p *parser) test(of expr, line int) expr {
	t := test{line: line, of: of, not: p.take("not"), name: p.wantName()}
	if _, ok := testFuncs[t.name]; !ok {
		fail(line, "test %.40q is not understood", t.name)
	}
	switch next := p.peek(); {
	case p.take("("):
		t.args, _ = p.arguments()
	case next.kind == tString, next.kind == tInt, next.kind == tFloat, p.is("["), p.is("{"),
		next.kind == tName && !reserved[next.text]:
		t.args = []expr{p.postfix(p.primary())}
	}
	return t
}

// reserved names end a test and are no variables.
var reserved = map[string]bool{"and": true, "or": true, "not": true, "if": true, "else": true, "in": true, "is": true, "recursive": true}

func (p *parser) primary() expr {
	t := p.next()
	switch t.kind {
	case tString:
		var s strings.Builder
		s.WriteString(t.text)
		for p.peek().kind == tString { // "a" "b" is "ab"
			s.WriteString(p.next().text)
		}
		return literal{s.String()}
	case tInt:
		n, err := strconv.ParseInt(t.text, 10, 64)
		if err != nil {
			fail(t.line, "number %.30s is over 63 bits", t.text)
		}
		return literal{n}
	case tFloat:
		f, err := strconv.ParseFloat(t.text, 64)
		if err != nil {
			fail(t.line, "number %.30s is out of range", t.text)
		}
		return literal{f}
	case tName:
		switch t.text {
		case "true", "True":
			return literal{true}
		case "false", "False":
			return literal{false}
		case "none", "None":
			return literal{nil}
		}
		if reserved[t.text] {
			fail(t.line, "%q, want an expression", t.text)
		}
		return name{t.line, t.text}
	case tOperator:
		switch t.text {
		case "(":
			return p.tuple(")")
		case "[":
			return list{p.items("]")}
		case "{":
			return p.dict()
		}
	}
	fail(t.line, "%.20q, want an expression", t.text)
	return nil
}

// items reads expressions with commas between, up to end.
func (p *parser) items(end string) []expr {
	var out []expr
	for !p.take(end) {
		out = append(out, p.expression())
		if !p.is(end) {
			p.want(",")
		}
	}
	return out
}

// tuple reads what is in parentheses: an expression, or a tuple if there are
// commas.
func (p *parser) tuple(end string) expr {
	if p.take(end) {
		return list{}
	}
	first := p.expression()
	if p.take(end) {
		return first
	}
	p.want(",")
	return list{append([]expr{first}, p.items(end)...)}
}

func (p *parser) dict() expr {
	var d dict
	for !p.take("}") {
		d.keys = append(d.keys, p.expression())
		p.want(":")
		d.values = append(d.values, p.expression())
		if !p.is("}") {
			p.want(",")
		}
	}
	return d
}

// postfix reads members, slices and calls.
func (p *parser) postfix(e expr) expr {
	for {
		switch t := p.peek(); {
		case p.take("."):
			key := p.next()
			switch key.kind {
			case tName:
				e = member{t.line, e, literal{key.text}}
			case tInt:
				n, err := strconv.ParseInt(key.text, 10, 64)
				if err != nil {
					fail(t.line, "index %.30s is over 63 bits", key.text)
				}
				e = member{t.line, e, literal{n}}
			default:
				fail(t.line, "%.20q after a point, want a name", key.text)
			}
		case p.take("["):
			e = p.subscript(e, t.line)
		case p.take("("):
			c := call{line: t.line, f: e}
			c.args, c.named = p.arguments()
			e = c
		default:
			return e
		}
	}
}

func (p *parser) subscript(of expr, line int) expr {
	var at [3]expr
	n := 0
	for !p.is("]") && n < 3 {
		if !p.is(":") {
			at[n] = p.expression()
		}
		if !p.take(":") {
			break
		}
		n++
	}
	p.want("]")
	if n == 0 {
		if at[0] == nil {
			fail(line, "an empty subscript")
		}
		return member{line, of, at[0]}
	}
	return slice{line, of, at[0], at[1], at[2]}
}

// arguments reads those of a call after its parenthesis.
func (p *parser) arguments() ([]expr, []keyword) {
	var args []expr
	var named []keyword
	for !p.take(")") {
		if p.peek().kind == tName && p.tokens[p.pos+1].kind == tOperator && p.tokens[p.pos+1].text == "=" {
			key := p.next().text
			p.pos++
			named = append(named, keyword{key, p.expression()})
		} else {
			if named != nil {
				fail(p.peek().line, "an argument without name after one with")
			}
			args = append(args, p.expression())
		}
		if !p.is(")") {
			p.want(",")
		}
	}
	return args, named
}
