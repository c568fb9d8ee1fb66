package jinja

import "slices"

// stmt is a piece of a template; run writes what it prints.
type stmt interface {
	run(s *state) flow
}

// flow says how a loop goes on after a statement.
type flow int

const (
	onward flow = iota
	breaks
	continues
)

type (
	plain  struct{ text string }
	output struct{ e expr }
	branch struct { // if, elif, else
		conds  []expr // the else's is nil
		bodies []block
	}
	loop struct {
		line     int
		targets  []string
		over     expr
		filter   expr // may be nil
		body     block
		fallback block
	}
	assign struct { // set a, b = e; set a.b = e
		line    int
		targets []string
		of      string // the namespace, or ""
		e       expr
	}
	capture struct { // set a | filters … endset; filter … endfilter
		target string // or "", to print it
		body   block
		e      expr // of the body's text, which is captured under captureName
	}
	macro struct {
		line     int
		name     string
		params   []string
		defaults []expr // nil where there is none
		body     block
	}
	jump  struct{ to flow }
	block []stmt
)

// captureName stands for the body's text in the filters of a capture; no template
// can name it.
const captureName = "\x00"

// body reads statements up to a block tag with one of these names, which it
// returns and which has been stepped over.
func (p *parser) body(ends ...string) (block, string) {
	p.deeper()
	defer func() { p.nesting-- }()
	var out block
	for {
		switch t := p.next(); t.kind {
		case tText:
			out = append(out, plain{t.text})
		case tOpen:
			e := p.expression()
			if p.is(",") { // {{ a, b }} prints a tuple
				items := []expr{e}
				for p.take(",") {
					items = append(items, p.expression())
				}
				e = list{items}
			}
			out = append(out, output{e})
			p.close(tClose)
		case tBlock:
			tag := p.wantName()
			if slices.Contains(ends, tag) {
				return out, tag
			}
			out = append(out, p.statement(tag, t.line))
		default:
			if len(ends) > 0 {
				fail(t.line, "the template ends, want %s", ends[len(ends)-1])
			}
			return out, ""
		}
	}
}

func (p *parser) close(kind tokenKind) {
	if t := p.next(); t.kind != kind {
		fail(t.line, "%.20q, want the end of the tag", t.text)
	}
}

func (p *parser) statement(tag string, line int) stmt {
	switch tag {
	case "if":
		return p.branch()
	case "for":
		return p.loop(line)
	case "set":
		return p.set(line)
	case "macro":
		return p.macro(line)
	case "filter":
		return p.filterBlock(line)
	case "break":
		p.close(tBlockEnd)
		return jump{breaks}
	case "continue":
		p.close(tBlockEnd)
		return jump{continues}
	case "generation": // marks the answer in training
		p.close(tBlockEnd)
		b, _ := p.body("endgeneration")
		p.close(tBlockEnd)
		return b
	}
	fail(line, "statement %.40q is not understood or not allowed here", tag)
	return nil
}

func (p *parser) branch() stmt {
	var b branch
	cond := p.expression()
	for {
		p.close(tBlockEnd)
		body, end := p.body("elif", "else", "endif")
		if cond == nil && end != "endif" {
			fail(p.peek().line, "%s after else", end)
		}
		b.conds, b.bodies = append(b.conds, cond), append(b.bodies, body)
		switch end {
		case "elif":
			cond = p.expression()
		case "else":
			cond = nil
		default:
			p.close(tBlockEnd)
			return b
		}
	}
}

func (p *parser) names() []string {
	paren := p.take("(")
	out := []string{p.wantName()}
	for p.take(",") {
		out = append(out, p.wantName())
	}
	if paren {
		p.want(")")
	}
	return out
}

func (p *parser) loop(line int) stmt {
	l := loop{line: line, targets: p.names()}
	p.want("in")
	l.over = p.or() // without "if", which filters
	if p.take("if") {
		l.filter = p.expression()
	}
	p.close(tBlockEnd)
	var end string
	if l.body, end = p.body("else", "endfor"); end == "else" {
		p.close(tBlockEnd)
		l.fallback, _ = p.body("endfor")
	}
	p.close(tBlockEnd)
	return l
}

func (p *parser) set(line int) stmt {
	a := assign{line: line, targets: p.names()}
	if p.take(".") {
		a.of, a.targets = a.targets[0], []string{p.wantName()}
	}
	if p.take("=") {
		a.e = p.expression()
		if p.is(",") {
			items := []expr{a.e}
			for p.take(",") {
				items = append(items, p.expression())
			}
			a.e = list{items}
		}
		p.close(tBlockEnd)
		return a
	}
	if len(a.targets) > 1 || a.of != "" {
		fail(line, "%.20q, want =", p.peek().text)
	}
	c := capture{target: a.targets[0], e: name{line, captureName}}
	if p.take("|") {
		c.e = p.filters(c.e, line)
	}
	p.close(tBlockEnd)
	c.body, _ = p.body("endset")
	p.close(tBlockEnd)
	return c
}

// filters reads filters with "|" between, applied to what stands before.
func (p *parser) filters(of expr, line int) expr {
	for {
		f := filter{line: line, of: of, name: p.wantName()}
		if p.take("(") {
			f.args, f.named = p.arguments()
		}
		if _, ok := filterFuncs[f.name]; !ok {
			fail(line, "filter %.40q is not understood", f.name)
		}
		if of = f; !p.take("|") {
			return of
		}
	}
}

func (p *parser) filterBlock(line int) stmt {
	c := capture{e: p.filters(name{line, captureName}, line)}
	p.close(tBlockEnd)
	c.body, _ = p.body("endfilter")
	p.close(tBlockEnd)
	return c
}

func (p *parser) macro(line int) stmt {
	m := macro{line: line, name: p.wantName()}
	p.want("(")
	for !p.take(")") {
		m.params = append(m.params, p.wantName())
		var def expr
		if p.take("=") {
			def = p.expression()
		}
		m.defaults = append(m.defaults, def)
		if !p.is(")") {
			p.want(",")
		}
	}
	p.close(tBlockEnd)
	m.body, _ = p.body("endmacro")
	p.close(tBlockEnd)
	return m
}
