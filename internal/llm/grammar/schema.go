package grammar

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

const (
	maxSchema = 64 << 10 // bytes
	maxDepth  = 64       // of a schema's nesting
	maxCount  = 1000     // of lengths and numbers of items
)

// FromSchema compiles a JSON schema (draft 2020-12, as far as the package comment
// says). Errors name the place in it.
func FromSchema(schema []byte) (*Grammar, error) {
	if len(schema) > maxSchema {
		return nil, fmt.Errorf("%w: a schema of %d bytes, at most %d", ErrForm, len(schema), maxSchema)
	}
	if !jsontext.Value(schema).IsValid() {
		return nil, fmt.Errorf("%w: the schema is not JSON", ErrForm)
	}
	c := &schemaCompiler{root: schema, refs: map[string]call{}, room: maxCode, places: map[jsontext.Pointer]map[string]jsontext.Value{}}
	if _, err := c.ref("#"); err != nil {
		return nil, err
	}
	return compile(c.rules, Source{Schema: string(schema)})
}

// schemaCompiler turns places of a schema into rules. The root is rule 0.
type schemaCompiler struct {
	root  jsontext.Value
	rules []node
	refs  map[string]call // by JSON pointer
	room  int             // for ranges of characters in patterns
	// what is in the objects and arrays that have been looked into
	places map[jsontext.Pointer]map[string]jsontext.Value
}

// rule adds a rule that is filled in by what fill returns, which may call it.
func (c *schemaCompiler) rule(key string, fill func() (node, error)) (call, error) {
	if r, ok := c.refs[key]; ok {
		return r, nil
	}
	r := call(len(c.rules))
	c.refs[key] = r
	c.rules = append(c.rules, nil)
	n, err := fill()
	c.rules[r] = n
	return r, err
}

// ref is the rule of a place in the schema.
func (c *schemaCompiler) ref(pointer string) (call, error) {
	return c.rule(pointer, func() (node, error) {
		v, err := c.find(pointer)
		if err != nil {
			return nil, err
		}
		return c.value(v, pointer)
	})
}

// member is a member of an object, in order.
type member struct {
	name  string
	value jsontext.Value
}

func members(v jsontext.Value) (all []member, err error) {
	d := jsontext.NewDecoder(strings.NewReader(string(v)))
	if _, err := d.ReadToken(); err != nil {
		return nil, err
	}
	for d.PeekKind() != '}' {
		name, err := d.ReadToken()
		if err != nil {
			return nil, err
		}
		key := name.String()
		value, err := d.ReadValue()
		if err != nil {
			return nil, err
		}
		all = append(all, member{key, value.Clone()})
	}
	return all, nil
}

// find follows a JSON pointer such as #/$defs/item.
func (c *schemaCompiler) find(pointer string) (jsontext.Value, error) {
	path, ok := strings.CutPrefix(pointer, "#")
	if p := jsontext.Pointer(path); !ok || !p.IsValid() {
		return nil, fmt.Errorf("%w: $ref %.80q: only places in the same schema, such as #/$defs/item, can be referred to", ErrForm, pointer)
	}
	if strings.Count(path, "/") > maxDepth {
		return nil, fmt.Errorf("%w: $ref %.80q: more than %d names deep", ErrForm, pointer, maxDepth)
	}
	v, err := c.place(jsontext.Pointer(path))
	if errors.Is(err, errNone) {
		return nil, fmt.Errorf("%w: $ref %.80q: there is no such place in the schema", ErrForm, pointer)
	}
	return v, err
}

var errNone = errors.New("none")

// place is what stands at a pointer. What each place contains is read once: a
// schema may refer to its places thousands of times.
func (c *schemaCompiler) place(p jsontext.Pointer) (jsontext.Value, error) {
	if p == "" {
		return c.root, nil
	}
	within, ok := c.places[p.Parent()]
	if !ok {
		parent, err := c.place(p.Parent())
		if err != nil {
			return nil, err
		}
		if within, err = children(parent); err != nil {
			return nil, err
		}
		c.places[p.Parent()] = within
	}
	if v, ok := within[p.LastToken()]; ok {
		return v, nil
	}
	return nil, errNone
}

// children are the values in an object by name, or in an array by index.
func children(v jsontext.Value) (map[string]jsontext.Value, error) {
	within := map[string]jsontext.Value{}
	switch v.Kind() {
	case '{':
		all, err := members(v)
		if err != nil {
			return nil, err
		}
		for _, m := range all {
			within[m.name] = m.value
		}
	case '[':
		var all []jsontext.Value
		if err := json.Unmarshal(v, &all); err != nil {
			return nil, err
		}
		for i, value := range all {
			within[strconv.Itoa(i)] = value
		}
	}
	return within, nil
}

// keywords are what a schema says at one place.
type keywords struct {
	at  string // its JSON pointer
	all map[string]jsontext.Value
}

func (k *keywords) errorf(format string, args ...any) error {
	return fmt.Errorf("%w: schema at %.200s: "+format, append([]any{ErrForm, k.at}, args...)...)
}

// read reads a keyword's value, if it is there.
func (k *keywords) read(name string, into any) error {
	v, ok := k.all[name]
	if !ok {
		return nil
	}
	if err := json.Unmarshal(v, into); err != nil {
		return k.errorf("%s: %s is not what belongs there", name, cut(v))
	}
	return nil
}

func cut(v jsontext.Value) string { return fmt.Sprintf("%.60s", string(v)) }

// count reads a bound of lengths or numbers of items.
func (k *keywords) count(name string, absent int) (int, error) {
	n := absent
	if err := k.read(name, &n); err != nil {
		return 0, err
	}
	if n != absent && (n < 0 || n > maxCount) {
		return 0, k.errorf("%s is %d, want 0 to %d", name, n, maxCount)
	}
	return n, nil
}

// annotations say nothing of the form.
var annotations = []string{"title", "description", "default", "examples", "format", "deprecated", "readOnly", "writeOnly", "$schema", "$id", "$comment", "$defs", "definitions"}

// keywordsOf are those of each type.
var keywordsOf = map[string][]string{
	"object": {"properties", "required", "additionalProperties"}, "array": {"items", "minItems", "maxItems"},
	"string": {"minLength", "maxLength", "pattern"}, "number": nil, "integer": nil, "boolean": nil, "null": nil,
}

// only refuses keywords other than those named and annotations.
func (k *keywords) only(names ...string) error {
	for name := range k.all {
		if !slices.Contains(names, name) && !slices.Contains(annotations, name) {
			return k.errorf("the keyword %.40q is not understood here, and would be ignored", name)
		}
	}
	return nil
}

// value compiles what one place of the schema says.
func (c *schemaCompiler) value(v jsontext.Value, at string) (node, error) {
	k := &keywords{at: at, all: map[string]jsontext.Value{}}
	if strings.Count(at, "/") > maxDepth {
		return nil, k.errorf("nested too deeply")
	}
	switch v.Kind() {
	case 't':
		return c.anything(), nil
	case '{':
	default:
		return nil, k.errorf("%s is no schema", cut(v))
	}
	all, err := members(v)
	if err != nil {
		return nil, k.errorf("%v", err)
	}
	for _, m := range all {
		k.all[m.name] = m.value
	}
	for _, special := range []struct {
		keyword string
		compile func(*keywords) (node, error)
	}{{"$ref", c.refTo}, {"anyOf", c.anyOf}, {"const", c.constant}, {"enum", c.enum}} {
		if _, ok := k.all[special.keyword]; ok {
			return special.compile(k)
		}
	}
	return c.types(k)
}

func (c *schemaCompiler) refTo(k *keywords) (node, error) {
	var pointer string
	if err := k.read("$ref", &pointer); err != nil {
		return nil, err
	}
	if err := k.only("$ref"); err != nil {
		return nil, err
	}
	return c.ref(pointer)
}

func (c *schemaCompiler) anyOf(k *keywords) (node, error) {
	var all []jsontext.Value
	if err := k.read("anyOf", &all); err != nil {
		return nil, err
	}
	if err := k.only("anyOf"); err != nil {
		return nil, err
	}
	var a alt
	for i, v := range all {
		n, err := c.value(v, fmt.Sprintf("%s/anyOf/%d", k.at, i))
		if err != nil {
			return nil, err
		}
		a = append(a, n)
	}
	return a, nil
}

func (c *schemaCompiler) constant(k *keywords) (node, error) {
	return constants(k, "const", []jsontext.Value{k.all["const"]})
}

func (c *schemaCompiler) enum(k *keywords) (node, error) {
	var all []jsontext.Value
	if err := k.read("enum", &all); err != nil {
		return nil, err
	}
	return constants(k, "enum", all)
}

// constants are values as they stand. A type beside them leaves those of it.
func constants(k *keywords, keyword string, all []jsontext.Value) (node, error) {
	if err := k.only(keyword, "type"); err != nil {
		return nil, err
	}
	types, err := typesOf(k)
	if err != nil {
		return nil, err
	}
	var a alt
	for _, v := range all {
		t := typeOf(v)
		if types != nil && !slices.Contains(types, t) && (t != "integer" || !slices.Contains(types, "number")) {
			continue
		}
		if err := v.Compact(); err != nil {
			return nil, k.errorf("%v", err)
		}
		a = append(a, literal(string(v)))
	}
	if len(a) == 0 {
		return nil, k.errorf("no value is left to choose")
	}
	return a, nil
}

func typeOf(v jsontext.Value) string {
	switch v.Kind() {
	case '{':
		return "object"
	case '[':
		return "array"
	case '"':
		return "string"
	case '0':
		if strings.ContainsAny(string(v), ".eE") {
			return "number"
		}
		return "integer"
	case 'n':
		return "null"
	}
	return "boolean"
}

// typesOf returns the types that are allowed, nil for all.
func typesOf(k *keywords) ([]string, error) {
	v, ok := k.all["type"]
	if !ok {
		return nil, nil
	}
	types := make([]string, 1)
	into := any(&types)
	if v.Kind() == '"' {
		into = &types[0]
	}
	if err := k.read("type", into); err != nil {
		return nil, err
	}
	for _, t := range types {
		if _, ok := keywordsOf[t]; !ok {
			return nil, k.errorf("there is no type %.40q", t)
		}
	}
	return types, nil
}

// types compiles a place that names types, or says nothing at all.
func (c *schemaCompiler) types(k *keywords) (node, error) {
	types, err := typesOf(k)
	if err != nil {
		return nil, err
	}
	known := []string{"type"}
	for _, t := range types {
		known = append(known, keywordsOf[t]...)
	}
	if err := k.only(known...); err != nil {
		return nil, err
	}
	if types == nil {
		return c.anything(), nil
	}
	var a alt
	for _, t := range types {
		n, err := c.typed(k, t)
		if err != nil {
			return nil, err
		}
		a = append(a, n)
	}
	return a, nil
}
