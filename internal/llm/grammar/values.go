package grammar

import (
	"fmt"
	"strings"
	"unicode"

	"github.com/go-json-experiment/json/jsontext"
)

// What JSON's values look like, here without needless space and escapes.
var (
	colon = seq{literal(":"), rep{literal(" "), 0, 1}}
	comma = seq{literal(","), rep{literal(" "), 0, 1}}
	digit = bytesNode{'0', '9'}
	// Digits are limited: a model that has begun to count does not always stop.
	integer = seq{rep{literal("-"), 0, 1}, alt{literal("0"), seq{bytesNode{'1', '9'}, rep{digit, 0, 15}}}}
	number  = seq{
		integer, rep{seq{literal("."), rep{digit, 1, 16}}, 0, 1},
		rep{seq{alt{literal("e"), literal("E")}, rep{alt{literal("+"), literal("-")}, 0, 1}, rep{digit, 1, 2}}, 0, 1},
	}
	boolean = alt{literal("true"), literal("false")}
	quote   = literal(`"`)
)

// The rules that stand at no place of the schema.
const (
	anyChar  = "any character of a string"
	anyText  = "any string"
	anything = "any value"
)

func (c *schemaCompiler) char() node {
	r, _ := c.rule(anyChar, func() (node, error) { return stringRunes(0, unicode.MaxRune), nil })
	return r
}

func (c *schemaCompiler) anyText() node {
	r, _ := c.rule(anyText, func() (node, error) { return seq{quote, rep{c.char(), 0, -1}, quote}, nil })
	return r
}

// anything is the rule of all JSON values.
func (c *schemaCompiler) anything() node {
	r, _ := c.rule(anything, func() (node, error) {
		self := c.refs[anything]
		return alt{
			list("{", seq{c.anyText(), colon, self}, 0, -1, "}"), list("[", self, 0, -1, "]"), c.anyText(), number, boolean, literal("null"),
		}, nil
	})
	return r
}

// stringRunes is a range of characters within a JSON string: those that must be
// escaped are, and only those.
func stringRunes(lo, hi rune) node {
	var a alt
	for r := lo; r <= min(hi, 0x1f); r++ {
		if i := strings.IndexRune("\b\t\n\f\r", r); i >= 0 {
			a = append(a, literal(`\`+"btnfr"[i:i+1]))
		} else {
			a = append(a, literal(fmt.Sprintf(`\u%04x`, r)))
		}
	}
	for _, r := range `"\` {
		if lo <= r && r <= hi {
			a = append(a, literal(`\`+string(r)))
		}
	}
	for _, plain := range [][2]rune{{' ', '"' - 1}, {'"' + 1, '\\' - 1}, {'\\' + 1, unicode.MaxRune}} {
		if l, h := max(lo, plain[0]), min(hi, plain[1]); l <= h {
			a = append(a, runes(l, h))
		}
	}
	return a
}

// typed compiles one type with the keywords that belong to it.
func (c *schemaCompiler) typed(k *keywords, kind string) (node, error) {
	switch kind {
	case "object":
		return c.object(k)
	case "array":
		return c.array(k)
	case "string":
		return c.text(k)
	case "number":
		return number, nil
	case "integer":
		return integer, nil
	case "boolean":
		return boolean, nil
	}
	return literal("null"), nil
}

func (c *schemaCompiler) text(k *keywords) (node, error) {
	least, err := k.count("minLength", 0)
	if err != nil {
		return nil, err
	}
	most, err := k.count("maxLength", -1)
	if err != nil {
		return nil, err
	}
	if most >= 0 && least > most {
		return nil, k.errorf("minLength is %d and maxLength %d", least, most)
	}
	if _, ok := k.all["pattern"]; !ok {
		return seq{quote, rep{c.char(), least, most}, quote}, nil
	}
	if least > 0 || most >= 0 {
		return nil, k.errorf("a pattern together with minLength or maxLength is not understood: say the length in the pattern")
	}
	var pattern string
	if err := k.read("pattern", &pattern); err != nil {
		return nil, err
	}
	n, err := regex(pattern, stringRunes, &c.room)
	if err != nil {
		return nil, k.errorf("pattern: %w", err)
	}
	return seq{quote, n, quote}, nil
}

func (c *schemaCompiler) array(k *keywords) (node, error) {
	least, err := k.count("minItems", 0)
	if err != nil {
		return nil, err
	}
	most, err := k.count("maxItems", -1)
	if err != nil {
		return nil, err
	}
	if most >= 0 && least > most {
		return nil, k.errorf("minItems is %d and maxItems %d", least, most)
	}
	item, err := c.part(k, "items")
	if err != nil {
		return nil, err
	}
	return list("[", item, least, most, "]"), nil
}

// list is between least and most items with commas between them.
func list(open string, item node, least, most int, end string) node {
	if most == 0 {
		return literal(open + end)
	}
	more := rep{seq{comma, item}, max(least-1, 0), -1}
	if most > 0 {
		more.max = most - 1
	}
	items := seq{item, more}
	if least == 0 {
		return seq{literal(open), rep{items, 0, 1}, literal(end)}
	}
	return seq{literal(open), items, literal(end)}
}

// part is the rule of a schema under a keyword; anything, if there is none.
func (c *schemaCompiler) part(k *keywords, keyword string) (node, error) {
	v, ok := k.all[keyword]
	if !ok {
		return c.anything(), nil
	}
	at := k.at + "/" + keyword
	return c.rule(at, func() (node, error) { return c.value(v, at) })
}

func (c *schemaCompiler) object(k *keywords) (node, error) {
	var required []string
	if err := k.read("required", &required); err != nil {
		return nil, err
	}
	properties, ok := k.all["properties"]
	if !ok {
		if len(required) > 0 {
			return nil, k.errorf("required names %.40q, but there are no properties", required[0])
		}
		return c.dictionary(k)
	}
	if properties.Kind() != '{' {
		return nil, k.errorf("properties: %s is not what belongs there", cut(properties))
	}
	all, err := members(properties)
	if err != nil {
		return nil, k.errorf("%v", err)
	}
	needed := map[string]bool{}
	for _, name := range required {
		needed[name] = true
	}
	var o object
	for _, m := range all {
		at := k.at + "/properties/" + escapes.Replace(m.name)
		value, err := c.rule(at, func() (node, error) { return c.value(m.value, at) })
		if err != nil {
			return nil, err
		}
		o = append(o, property{pair(m.name, value), !needed[m.name]})
		delete(needed, m.name)
	}
	for name := range needed {
		return nil, k.errorf("required names %.40q, which is none of the properties", name)
	}
	return seq{literal("{"), o, literal("}")}, nil
}

// escapes are those of a name within a JSON pointer.
var escapes = strings.NewReplacer("~", "~0", "/", "~1")

func pair(name string, value node) node {
	key, _ := jsontext.AppendQuote(nil, name) // it was read from JSON
	return seq{literal(string(key)), colon, value}
}

// dictionary is an object with any names.
func (c *schemaCompiler) dictionary(k *keywords) (node, error) {
	if v, ok := k.all["additionalProperties"]; ok && v.Kind() == 'f' {
		return literal("{}"), nil
	}
	value, err := c.part(k, "additionalProperties")
	if err != nil {
		return nil, err
	}
	return list("{", seq{c.anyText(), colon, value}, 0, -1, "}"), nil
}

// object is properties in their order, some of which may be left out.
type object []property

type property struct {
	pair     node
	optional bool
}

// emit writes the properties out twice: as the first that comes, and after
// another, with a comma.
func (o object) emit(b *builder) {
	var jumps []int32 // from after property i as the first, to where i+1 may come later
	skipped := int32(-1)
	for _, p := range o {
		var split int32
		if p.optional {
			split = b.add(op{kind: opSplit})
		}
		p.pair.emit(b)
		jumps = append(jumps, b.add(op{kind: opJump}))
		if !p.optional {
			break
		}
		b.code[split].to = b.here()
	}
	if len(jumps) == 0 || o[len(jumps)-1].optional {
		skipped = b.add(op{kind: opJump})
	}
	for i, p := range o {
		b.land(jumps, i-1)
		var split int32
		if p.optional {
			split = b.add(op{kind: opSplit})
		}
		comma.emit(b)
		p.pair.emit(b)
		if p.optional {
			b.code[split].to = b.here()
		}
	}
	b.land(jumps, len(o)-1)
	if skipped >= 0 {
		b.code[skipped].to = b.here()
	}
}

// land lets jump i end here.
func (b *builder) land(jumps []int32, i int) {
	if i >= 0 && i < len(jumps) {
		b.code[jumps[i]].to = b.here()
	}
}
