package jinja

import (
	"fmt"
	"strings"
)

// state is one rendering.
type state struct {
	limits Limits
	out    strings.Builder
	steps  int
	memory int
	calls  int // macros within macros
	scope  *scope
	// filters is filterFuncs, which those that apply others could not refer to.
	filters map[string]filterFunc
	// into is where output goes: nil for out, or the text of a macro or capture.
	into *strings.Builder
}

// scope holds the variables of the template, of a loop's body or of a macro.
type scope struct {
	vars  map[string]Value
	outer *scope
}

func (s *state) lookup(id string) Value {
	for sc := s.scope; sc != nil; sc = sc.outer {
		if v, ok := sc.vars[id]; ok {
			return v
		}
	}
	return undefined{id}
}

// within runs f in a scope of its own.
func (s *state) within(vars map[string]Value, f func()) {
	outer := s.scope
	s.scope = &scope{vars, outer}
	f()
	s.scope = outer
}

// captured returns what f prints.
func (s *state) captured(f func()) string {
	var b strings.Builder
	outer := s.into
	s.into = &b
	f()
	s.into = outer
	return b.String()
}

// step counts one step.
func (s *state) step() {
	if s.steps++; s.steps > s.limits.Steps {
		panic(failure{fmt.Errorf("%w: more than %d steps", ErrLimit, s.limits.Steps)})
	}
}

// work counts the time that n bytes of text take.
func (s *state) work(n int) {
	s.steps += n / 64
	s.step()
}

// room counts n bytes that are about to be made.
func (s *state) room(n int) {
	if n < 0 || n > s.limits.Memory-s.memory {
		panic(failure{fmt.Errorf("%w: more than %d bytes of memory", ErrLimit, s.limits.Memory)})
	}
	s.memory += n
}

// elementSize is what an element of a list counts as.
const elementSize = 16

// made counts a string that a filter or method has made, and returns it.
func (s *state) made(str string) string { s.room(len(str)); return str }

// list counts a list and returns it.
func (s *state) list(l List) List { s.room(elementSize * len(l)); return l }

// print writes to the output.
func (s *state) print(str string) {
	if s.into != nil {
		s.room(len(str))
		s.into.WriteString(str)
		return
	}
	if len(str) > s.limits.Output-s.out.Len() {
		panic(failure{fmt.Errorf("%w: more than %d bytes of output", ErrLimit, s.limits.Output)})
	}
	s.out.WriteString(str)
}

func (e literal) eval(*state) Value { return e.v }

func (e name) eval(s *state) Value { s.step(); return s.lookup(e.id) }

func (e list) eval(s *state) Value {
	s.step()
	out := make(List, len(e.items))
	for i, x := range e.items {
		out[i] = x.eval(s)
	}
	return s.list(out)
}

func (e dict) eval(s *state) Value {
	s.step()
	out := NewDict()
	s.room(4 * elementSize * len(e.keys))
	for i, k := range e.keys {
		key, ok := k.eval(s).(string)
		if !ok {
			fail(0, "a mapping's keys must be strings")
		}
		out.Set(key, e.values[i].eval(s))
	}
	return out
}

func (e member) eval(s *state) Value {
	s.step()
	of, key := e.of.eval(s), e.key.eval(s)
	switch x := of.(type) {
	case undefined:
		fail(e.line, "%q is undefined, so it has no member %.40q", x.name, s.text(key))
	case *Dict:
		if k, ok := key.(string); ok {
			if v, ok := x.Get(k); ok {
				return v
			}
		}
	case namespace:
		if k, ok := key.(string); ok {
			if v, ok := x.Get(k); ok {
				return v
			}
		}
	case List:
		if i, ok := index(key, len(x)); ok {
			return x[i]
		}
	case string:
		if _, ok := key.(int64); ok {
			letters := []rune(x)
			s.work(4 * len(letters))
			if i, ok := index(key, len(letters)); ok {
				return string(letters[i])
			}
		}
	}
	if k, ok := key.(string); ok {
		if f := method(of, k); f != nil {
			return f
		}
		return undefined{k}
	}
	return undefined{s.text(key)}
}

// index turns a number, negative from the end, into a place among n.
func index(v Value, n int) (int, bool) {
	i, ok := v.(int64)
	if i < 0 {
		i += int64(n)
	}
	return int(i), ok && i >= 0 && i < int64(n)
}

func (e slice) eval(s *state) Value {
	s.step()
	of := e.of.eval(s)
	str, isText := of.(string)
	items, isList := of.(List)
	var letters []rune
	n := len(items)
	switch {
	case isText:
		letters = []rune(str)
		s.work(4 * len(letters))
		n = len(letters)
	case !isList:
		fail(e.line, "%s has no slices", kind(of))
	}
	step := e.bound(s, e.step, 1)
	if step == 0 {
		fail(e.line, "a slice with steps of 0")
	}
	low, high := 0, n
	if step < 0 {
		low, high = n-1, -1
	}
	low, high = clamp(e.bound(s, e.low, low), n, step, e.low != nil), clamp(e.bound(s, e.high, high), n, step, e.high != nil)
	var out List
	var b strings.Builder
	for i := low; step > 0 && i < high || step < 0 && i > high; i += step {
		s.step()
		if isText {
			b.WriteRune(letters[i])
		} else {
			out = append(out, items[i])
		}
	}
	if isText {
		return s.made(b.String())
	}
	return s.list(out)
}

// bound evaluates an end of a slice.
func (e slice) bound(s *state, x expr, def int) int {
	if x == nil {
		return def
	}
	switch v := x.eval(s).(type) {
	case nil:
		return def
	case int64:
		return int(min(max(v, -1<<31), 1<<31))
	default:
		fail(e.line, "a slice with %s as its end", kind(v))
	}
	return 0
}

// clamp brings a given end of a slice into the bounds of n elements.
func clamp(i, n, step int, given bool) int {
	if !given {
		return i
	}
	if i < 0 {
		i += n
	}
	if step < 0 {
		return min(max(i, -1), n-1)
	}
	return min(max(i, 0), n)
}

func (e call) eval(s *state) Value {
	s.step()
	f, ok := e.f.eval(s).(function)
	if !ok {
		fail(e.line, "%s is no function", describe(e.f))
	}
	args, named := evalArguments(s, e.args, e.named)
	return f(s, e.line, args, named)
}

// describe names what an expression refers to.
func describe(e expr) string {
	switch x := e.(type) {
	case name:
		return x.id
	case member:
		return describe(x.of) + "." + describe(x.key)
	case literal:
		if key, ok := x.v.(string); ok {
			return key
		}
	}
	return "this"
}

func evalArguments(s *state, args []expr, named []keyword) (List, *Dict) {
	out, d := make(List, len(args)), NewDict()
	for i, a := range args {
		out[i] = a.eval(s)
	}
	for _, k := range named {
		d.Set(k.name, k.v.eval(s))
	}
	return out, d
}

func (e filter) eval(s *state) Value {
	s.step()
	of := e.of.eval(s)
	args, named := evalArguments(s, e.args, e.named)
	return filterFuncs[e.name](s, e.line, append(List{of}, args...), named)
}

func (e test) eval(s *state) Value {
	s.step()
	of := e.of.eval(s)
	args, _ := evalArguments(s, e.args, nil)
	return testFuncs[e.name](s, e.line, of, args) != e.not
}

func (e not) eval(s *state) Value { s.step(); return !truth(e.of.eval(s)) }

func (e and) eval(s *state) Value {
	s.step()
	if a := e.a.eval(s); !truth(a) {
		return a
	}
	return e.b.eval(s)
}

func (e or) eval(s *state) Value {
	s.step()
	if a := e.a.eval(s); truth(a) {
		return a
	}
	return e.b.eval(s)
}

func (e choice) eval(s *state) Value {
	s.step()
	switch {
	case truth(e.cond.eval(s)):
		return e.yes.eval(s)
	case e.no != nil:
		return e.no.eval(s)
	}
	return undefined{"the value of an if without else"}
}
