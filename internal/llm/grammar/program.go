package grammar

import "fmt"

// Grammar is a compiled form. It is immutable.
type Grammar struct {
	code  []op
	rules []int32 // where each begins

	source Source
}

// Source is what a grammar was made from: one of its fields.
type Source struct {
	Regex  string `json:"regex,omitempty"`
	Schema string `json:"schema,omitempty"`
}

// Source returns what the grammar was made from, so that it can be made again
// elsewhere.
func (g *Grammar) Source() Source { return g.source }

// Compile makes the grammar again.
func (s Source) Compile() (*Grammar, error) {
	if s.Schema != "" {
		return FromSchema([]byte(s.Schema))
	}
	return FromRegex(s.Regex)
}

// op is one instruction. All but split and ret go on to the next.
type op struct {
	kind   opKind
	lo, hi byte  // of opByte: what may come
	to     int32 // of opSplit, opJump: where else; of opCall: the rule
}

type opKind uint8

const (
	opByte  opKind = iota
	opSplit        // go on here and there
	opJump
	opCall
	opReturn
)

// maxCode bounds a program. Counted repetition multiplies code.
const maxCode = 1 << 16

var errCode = fmt.Errorf("%w: it is too large: over %d steps when repetition is written out", ErrForm, maxCode)

// A node is a part of a form. emit appends its code; control falls through its
// end.
type node interface{ emit(b *builder) }

type (
	// bytesNode is one byte of a range.
	bytesNode struct{ lo, hi byte }
	// seq is one after the other, alt one of them.
	seq []node
	alt []node
	// rep is between min and max times; max < 0 is no limit.
	rep struct {
		n        node
		min, max int
	}
	// call is a rule by its number.
	call int32
)

// literal is text as it stands.
func literal(text string) node {
	s := make(seq, len(text))
	for i := range len(text) {
		s[i] = bytesNode{text[i], text[i]}
	}
	return s
}

type builder struct {
	code []op
	err  error
}

func (b *builder) add(o op) int32 {
	if len(b.code) >= maxCode {
		b.err = errCode
		return 0
	}
	b.code = append(b.code, o)
	return int32(len(b.code) - 1)
}

func (b *builder) here() int32 { return int32(len(b.code)) }

func (n bytesNode) emit(b *builder) { b.add(op{kind: opByte, lo: n.lo, hi: n.hi}) }

func (n seq) emit(b *builder) {
	for _, x := range n {
		if b.err != nil {
			return
		}
		x.emit(b)
	}
}

func (n alt) emit(b *builder) {
	if len(n) == 0 {
		// Nothing matches: a range that no byte is in.
		b.add(op{kind: opByte, lo: 1, hi: 0})
		return
	}
	var ends []int32
	for i, x := range n {
		if b.err != nil {
			return
		}
		if i == len(n)-1 {
			x.emit(b)
			break
		}
		split := b.add(op{kind: opSplit})
		x.emit(b)
		ends = append(ends, b.add(op{kind: opJump}))
		b.code[split].to = b.here()
	}
	for _, e := range ends {
		b.code[e].to = b.here()
	}
}

func (n rep) emit(b *builder) {
	for range n.min {
		if b.err != nil {
			return
		}
		n.n.emit(b)
	}
	if n.max < 0 {
		split := b.add(op{kind: opSplit})
		n.n.emit(b)
		b.add(op{kind: opJump, to: split})
		b.code[split].to = b.here()
		return
	}
	var splits []int32
	for range n.max - n.min {
		if b.err != nil {
			return
		}
		splits = append(splits, b.add(op{kind: opSplit}))
		n.n.emit(b)
	}
	for _, s := range splits {
		b.code[s].to = b.here()
	}
}

func (n call) emit(b *builder) { b.add(op{kind: opCall, to: int32(n)}) }

// compile makes a program of rules, the first of which is the whole form.
func compile(rules []node, source Source) (*Grammar, error) {
	b := &builder{}
	g := &Grammar{source: source}
	for _, r := range rules {
		g.rules = append(g.rules, b.here())
		r.emit(b)
		b.add(op{kind: opReturn})
		if b.err != nil {
			return nil, b.err
		}
	}
	g.code = b.code
	return g, nil
}
