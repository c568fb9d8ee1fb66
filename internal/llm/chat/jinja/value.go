package jinja

import (
	"cmp"
	"fmt"
	"iter"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Value is a value of a template; see the package comment.
type Value any

// List is a list or a tuple.
type List []Value

// Dict is a mapping from strings in the order in which keys were set.
type Dict struct {
	keys   []string
	values map[string]Value
}

// NewDict returns a mapping of the pairs key, value, key, value, …
func NewDict(pairs ...any) *Dict {
	d := &Dict{values: map[string]Value{}}
	for i := 0; i+1 < len(pairs); i += 2 {
		d.Set(pairs[i].(string), pairs[i+1])
	}
	return d
}

// Set sets the value of a key.
func (d *Dict) Set(key string, v Value) {
	if _, ok := d.values[key]; !ok {
		d.keys = append(d.keys, key)
	}
	d.values[key] = v
}

// Get returns the value of a key.
func (d *Dict) Get(key string) (Value, bool) { v, ok := d.values[key]; return v, ok }

// All returns the keys and values in order.
func (d *Dict) All() iter.Seq2[string, Value] {
	return func(yield func(string, Value) bool) {
		for _, k := range d.keys {
			if !yield(k, d.values[k]) {
				return
			}
		}
	}
}

// undefined is what a name or member has that is not there.
type undefined struct{ name string }

// namespace is a mapping whose members a template may set.
type namespace struct{ *Dict }

// function is something to call.
type function func(s *state, line int, args List, named *Dict) Value

func truth(v Value) bool {
	switch x := v.(type) {
	case bool:
		return x
	case int64:
		return x != 0
	case float64:
		return x != 0
	case string:
		return x != ""
	case List:
		return len(x) > 0
	case *Dict:
		return len(x.keys) > 0
	case namespace, function:
		return true
	}
	return false
}

// text is Python's str(), counted before it is made.
func (s *state) text(v Value) string {
	switch x := v.(type) {
	case string:
		return x
	case undefined:
		return ""
	}
	s.room(s.size(v, 0))
	var b strings.Builder
	represent(&b, v)
	return b.String()
}

// size is about how long a value's text is.
func (s *state) size(v Value, depth int) int {
	s.deep(depth)
	n := 24
	switch x := v.(type) {
	case string:
		return 2*len(x) + 2
	case List:
		for _, e := range x {
			n += 2 + s.size(e, depth+1)
		}
	case *Dict:
		for _, k := range x.keys {
			n += 6 + 2*len(k) + s.size(x.values[k], depth+1)
		}
	}
	return n
}

// deep counts a step into a value, and guards the stack.
func (s *state) deep(depth int) {
	if s.step(); depth > maxDepth {
		panic(failure{fmt.Errorf("%w: values within values, more than %d deep", ErrLimit, maxDepth)})
	}
}

// represent is Python's repr(). There are no cycles: templates cannot change a
// list.
func represent(b *strings.Builder, v Value) {
	switch x := v.(type) {
	case nil:
		b.WriteString("None")
	case bool:
		if x {
			b.WriteString("True")
		} else {
			b.WriteString("False")
		}
	case int64:
		b.WriteString(strconv.FormatInt(x, 10))
	case float64:
		b.WriteString(floatText(x))
	case string:
		b.WriteString(quoted(x))
	case List:
		b.WriteByte('[')
		for i, e := range x {
			if i > 0 {
				b.WriteString(", ")
			}
			represent(b, e)
		}
		b.WriteByte(']')
	case *Dict:
		b.WriteByte('{')
		for i, k := range x.keys {
			if i > 0 {
				b.WriteString(", ")
			}
			b.WriteString(quoted(k) + ": ")
			represent(b, x.values[k])
		}
		b.WriteByte('}')
	case undefined:
		b.WriteString("Undefined")
	default:
		b.WriteString("<" + kind(v) + ">")
	}
}

// floatText is Python's repr of a float.
func floatText(f float64) string {
	switch {
	case math.IsNaN(f):
		return "nan"
	case math.IsInf(f, 1):
		return "inf"
	case math.IsInf(f, -1):
		return "-inf"
	case f != 0 && (math.Abs(f) < 1e-4 || math.Abs(f) >= 1e16):
		return strconv.FormatFloat(f, 'e', -1, 64)
	}
	s := strconv.FormatFloat(f, 'f', -1, 64)
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return s
}

// quoted is Python's repr of a string, less its escapes of unprintable letters
// beyond ASCII.
func quoted(s string) string {
	quote := "'"
	if strings.Contains(s, "'") && !strings.Contains(s, `"`) {
		quote = `"`
	}
	var b strings.Builder
	b.WriteString(quote)
	for _, r := range s {
		switch {
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\t':
			b.WriteString(`\t`)
		case r == '\\' || string(r) == quote:
			b.WriteString(`\` + string(r))
		case r < ' ' || r == 0x7F:
			fmt.Fprintf(&b, `\x%02x`, r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String() + quote
}

// kind names a value's type for errors.
func kind(v Value) string {
	switch v.(type) {
	case nil:
		return "none"
	case bool:
		return "a boolean"
	case int64, float64:
		return "a number"
	case string:
		return "a string"
	case List:
		return "a list"
	case *Dict:
		return "a mapping"
	case namespace:
		return "a namespace"
	case function:
		return "a function"
	}
	return "undefined"
}

// number returns a number or boolean as float64.
func number(v Value) (float64, bool) {
	switch x := v.(type) {
	case int64:
		return float64(x), true
	case float64:
		return x, true
	case bool:
		if x {
			return 1, true
		}
		return 0, true
	}
	return 0, false
}

// equal is Python's ==. It counts steps, since a list may hold another many times
// over.
func equal(s *state, a, b Value, depth int) bool {
	s.deep(depth)
	if x, ok := number(a); ok {
		y, ok := number(b)
		return ok && x == y
	}
	switch x := a.(type) {
	case nil:
		return b == nil
	case string:
		y, ok := b.(string)
		s.work(len(x))
		return ok && x == y
	case undefined:
		_, ok := b.(undefined)
		return ok
	case List:
		y, ok := b.(List)
		return ok && slices.EqualFunc(x, y, func(v, w Value) bool { return equal(s, v, w, depth+1) })
	case *Dict:
		y, ok := b.(*Dict)
		if !ok || len(x.keys) != len(y.keys) {
			return false
		}
		for _, k := range x.keys {
			if w, ok := y.values[k]; !ok || !equal(s, x.values[k], w, depth+1) {
				return false
			}
		}
		return true
	}
	return false
}

// order compares numbers or strings, or reports that it cannot.
func order(a, b Value) (int, bool) {
	if x, ok := number(a); ok {
		y, ok := number(b)
		return cmp.Compare(x, y), ok
	}
	x, okX := a.(string)
	y, okY := b.(string)
	return cmp.Compare(x, y), okX && okY
}
