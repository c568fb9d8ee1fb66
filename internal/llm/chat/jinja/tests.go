package jinja

// testFuncs are what may stand after "is".
var testFuncs = map[string]func(s *state, line int, v Value, args List) bool{
	"defined":     func(_ *state, _ int, v Value, _ List) bool { return !isUndefined(v) },
	"undefined":   func(_ *state, _ int, v Value, _ List) bool { return isUndefined(v) },
	"none":        func(_ *state, _ int, v Value, _ List) bool { return v == nil },
	"string":      func(_ *state, _ int, v Value, _ List) bool { _, ok := v.(string); return ok },
	"mapping":     func(_ *state, _ int, v Value, _ List) bool { _, ok := v.(*Dict); return ok },
	"boolean":     func(_ *state, _ int, v Value, _ List) bool { _, ok := v.(bool); return ok },
	"integer":     func(_ *state, _ int, v Value, _ List) bool { _, ok := v.(int64); return ok },
	"float":       func(_ *state, _ int, v Value, _ List) bool { _, ok := v.(float64); return ok },
	"number":      func(_ *state, _ int, v Value, _ List) bool { _, ok := number(v); return ok },
	"callable":    func(_ *state, _ int, v Value, _ List) bool { _, ok := v.(function); return ok },
	"true":        func(_ *state, _ int, v Value, _ List) bool { return v == Value(true) },
	"false":       func(_ *state, _ int, v Value, _ List) bool { return v == Value(false) },
	"iterable":    isSequence,
	"sequence":    isSequence,
	"even":        func(_ *state, line int, v Value, _ List) bool { return remainder(line, v, int64(2)) == 0 },
	"odd":         func(_ *state, line int, v Value, _ List) bool { return remainder(line, v, int64(2)) != 0 },
	"divisibleby": func(_ *state, line int, v Value, a List) bool { return remainder(line, v, only(line, a)) == 0 },
	"in":          func(s *state, line int, v Value, a List) bool { return contains(s, line, only(line, a), v) },
	"eq":          isEqual,
	"equalto":     isEqual,
	"ne":          func(s *state, line int, v Value, a List) bool { return !isEqual(s, line, v, a) },
	"lt":          func(s *state, line int, v Value, a List) bool { return holds(s, line, "<", v, only(line, a)) },
	"gt":          func(s *state, line int, v Value, a List) bool { return holds(s, line, ">", v, only(line, a)) },
}

func isUndefined(v Value) bool { _, ok := v.(undefined); return ok }

func isEqual(s *state, line int, v Value, args List) bool { return equal(s, v, only(line, args), 0) }

func isSequence(_ *state, _ int, v Value, _ List) bool {
	switch v.(type) {
	case List, *Dict, string:
		return true
	}
	return false
}

// only returns a test's one argument.
func only(line int, args List) Value {
	if len(args) != 1 {
		fail(line, "a test with %d arguments, want 1", len(args))
	}
	return args[0]
}

func remainder(line int, v, by Value) int64 {
	n, ok := v.(int64)
	d, okD := by.(int64)
	if !ok || !okD || d == 0 {
		fail(line, "the remainder of %s by %s", kind(v), kind(by))
	}
	return n % d
}
