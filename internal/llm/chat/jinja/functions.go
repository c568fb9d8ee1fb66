package jinja

import "fmt"

// functions are what a template may call by name.
var functions = map[string]function{
	"range":           rangeOf,
	"namespace":       func(s *state, line int, args List, named *Dict) Value { return namespace{dictOf(s, line, args, named)} },
	"dict":            func(s *state, line int, args List, named *Dict) Value { return dictOf(s, line, args, named) },
	"raise_exception": func(s *state, _ int, args List, _ *Dict) Value { return raise(s, args) },
}

// raise ends the rendering with the template's own words.
func raise(s *state, args List) Value {
	message := "the conversation does not suit the model's chat template"
	if len(args) > 0 {
		message = s.text(args[0])
	}
	panic(failure{&RaisedError{message}})
}

func rangeOf(s *state, line int, args List, _ *Dict) Value {
	at := [3]int64{0, 0, 1}
	if len(args) < 1 || len(args) > 3 {
		fail(line, "range of %d arguments", len(args))
	}
	for i, a := range args {
		n, ok := a.(int64)
		if !ok || n < -1<<40 || n > 1<<40 {
			fail(line, "range of %s", kind(a))
		}
		at[i] = n
	}
	low, high, step := at[0], at[1], at[2]
	if len(args) == 1 {
		low, high = 0, at[0]
	}
	if step == 0 {
		fail(line, "range with steps of 0")
	}
	n := max(0, (high-low+step-1)/step)
	if step < 0 {
		n = max(0, (low-high-step-1)/-step)
	}
	if n > maxRange {
		panic(failure{fmt.Errorf("%w: a range of %d", ErrLimit, n)})
	}
	out := make(List, n)
	for i := range out {
		out[i] = low + int64(i)*step
	}
	return s.list(out)
}

// dictOf makes a mapping of a mapping and named values.
func dictOf(s *state, line int, args List, named *Dict) *Dict {
	out := NewDict()
	for _, a := range args {
		from, ok := a.(*Dict)
		if !ok {
			fail(line, "a mapping of %s", kind(a))
		}
		s.room(4 * elementSize * len(from.keys))
		for _, k := range from.keys {
			out.Set(k, from.values[k])
		}
	}
	for _, k := range named.keys {
		out.Set(k, named.values[k])
	}
	return out
}

// Func makes a value that a template can call with values by place.
func Func(f func(args []Value) (Value, error)) Value {
	return function(func(_ *state, line int, args List, _ *Dict) Value {
		v, err := f(args)
		if err != nil {
			fail(line, "%w", err)
		}
		return v
	})
}
