package jinja

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// filterFunc gets what it is applied to as its first argument.
type filterFunc func(s *state, line int, args List, named *Dict) Value

// filterFuncs are what may stand after "|".
var filterFuncs = map[string]filterFunc{
	"length": length, "count": length, "default": orDefault, "d": orDefault, "tojson": toJSON,
	"join": func(s *state, line int, a List, named *Dict) Value {
		return join(s, line, a[0], s.text(argument(a, named, 1, "d", "")))
	},
	"trim": func(s *state, line int, a List, _ *Dict) Value {
		return strip(s, line, s.text(a[0]), a[1:], true, true)
	},
	"lower":      onText(strings.ToLower),
	"upper":      onText(strings.ToUpper),
	"capitalize": onText(capitalize),
	"title":      onText(func(x string) string { return title(x, startsWord) }),
	"string":     onText(func(x string) string { return x }),
	"safe":       func(_ *state, _ int, a List, _ *Dict) Value { return a[0] },
	"replace":    func(s *state, line int, a List, _ *Dict) Value { return replaceText(s, line, s.text(a[0]), a[1:]) },
	"indent":     indent,
	"first":      func(s *state, line int, a List, _ *Dict) Value { return end(s, line, a[0], false) },
	"last":       func(s *state, line int, a List, _ *Dict) Value { return end(s, line, a[0], true) },
	"list":       func(s *state, line int, a List, _ *Dict) Value { return iterate(s, line, a[0]) },
	"items": func(s *state, line int, a List, _ *Dict) Value {
		d, ok := a[0].(*Dict)
		if !ok {
			fail(line, "items of %s", kind(a[0]))
		}
		return items(s, d)
	},
	"dictsort":   sortedItems,
	"reverse":    reverse,
	"unique":     unique,
	"int":        toInt,
	"float":      toFloat,
	"abs":        absolute,
	"map":        mapped,
	"select":     func(s *state, line int, a List, _ *Dict) Value { return chosen(s, line, a, false, true) },
	"reject":     func(s *state, line int, a List, _ *Dict) Value { return chosen(s, line, a, false, false) },
	"selectattr": func(s *state, line int, a List, _ *Dict) Value { return chosen(s, line, a, true, true) },
	"rejectattr": func(s *state, line int, a List, _ *Dict) Value { return chosen(s, line, a, true, false) },
}

// onText makes a filter of a function on strings.
func onText(f func(string) string) filterFunc {
	return func(s *state, _ int, a List, _ *Dict) Value { return s.made(f(s.text(a[0]))) }
}

// startsWord reports whether the filter title begins a new word after r.
func startsWord(r rune) bool { return unicode.IsSpace(r) || strings.ContainsRune("-({[<", r) }

// argument returns argument i, given by place or name, or def.
func argument(args List, named *Dict, i int, name string, def Value) Value {
	if i < len(args) {
		return args[i]
	}
	if v, ok := named.Get(name); ok {
		return v
	}
	return def
}

func length(s *state, line int, a List, _ *Dict) Value {
	switch x := a[0].(type) {
	case string:
		s.work(len(x))
		return int64(utf8.RuneCountInString(x))
	case *Dict:
		return int64(len(x.keys))
	}
	return int64(len(iterate(s, line, a[0])))
}

func orDefault(_ *state, _ int, a List, named *Dict) Value {
	if isUndefined(a[0]) || truth(argument(a, named, 2, "boolean", false)) && !truth(a[0]) {
		return argument(a, named, 1, "default_value", "")
	}
	return a[0]
}

func join(s *state, line int, of Value, sep string) Value {
	var b strings.Builder
	for i, v := range iterate(s, line, of) {
		if i > 0 {
			s.room(len(sep))
			b.WriteString(sep)
		}
		b.WriteString(s.made(s.text(v)))
	}
	return b.String()
}

// indent puts blanks before each line but the first, and not before empty ones.
func indent(s *state, line int, a List, named *Dict) Value {
	width, ok := argument(a, named, 1, "width", int64(4)).(int64)
	if !ok || width < 0 || width > 1000 {
		fail(line, "indent by what is not a number from 0 to 1000")
	}
	first, blank := truth(argument(a, named, 2, "first", false)), truth(argument(a, named, 3, "blank", false))
	text := s.text(a[0])
	s.room(len(text) + (strings.Count(text, "\n")+1)*int(width))
	pad := strings.Repeat(" ", int(width))
	var b strings.Builder
	for i, l := range strings.Split(text, "\n") {
		if i > 0 {
			b.WriteByte('\n')
		}
		if (i > 0 || first) && (blank || l != "") {
			b.WriteString(pad)
		}
		b.WriteString(l)
	}
	return b.String()
}

func end(s *state, line int, v Value, last bool) Value {
	all := iterate(s, line, v)
	switch {
	case len(all) == 0:
		return undefined{"the first or last of nothing"}
	case last:
		return all[len(all)-1]
	}
	return all[0]
}

func sortedItems(s *state, line int, a List, _ *Dict) Value {
	d, ok := a[0].(*Dict)
	if !ok {
		fail(line, "dictsort of %s", kind(a[0]))
	}
	out := items(s, d)
	slices.SortStableFunc(out, func(x, y Value) int {
		return strings.Compare(strings.ToLower(x.(List)[0].(string)), strings.ToLower(y.(List)[0].(string)))
	})
	return out
}

func reverse(s *state, line int, a List, _ *Dict) Value {
	out := s.list(slices.Clone(iterate(s, line, a[0])))
	slices.Reverse(out)
	if _, ok := a[0].(string); ok {
		return join(s, line, out, "")
	}
	return out
}

func unique(s *state, line int, a List, _ *Dict) Value {
	var out List
	for _, v := range iterate(s, line, a[0]) {
		if !contains(s, line, out, v) {
			out = append(out, v)
		}
	}
	return s.list(out)
}

func toInt(_ *state, _ int, a List, named *Dict) Value {
	switch x := a[0].(type) {
	case string:
		if n, err := strconv.ParseInt(strings.TrimSpace(x), 10, 64); err == nil {
			return n
		}
	default:
		if f, ok := number(x); ok && math.Abs(f) < 1<<62 {
			return int64(f)
		}
	}
	return argument(a, named, 1, "default", int64(0))
}

func toFloat(_ *state, _ int, a List, named *Dict) Value {
	if x, ok := a[0].(string); ok {
		if f, err := strconv.ParseFloat(strings.TrimSpace(x), 64); err == nil {
			return f
		}
	} else if f, ok := number(a[0]); ok {
		return f
	}
	return argument(a, named, 1, "default", 0.0)
}

func absolute(_ *state, line int, a List, _ *Dict) Value {
	switch x := a[0].(type) {
	case int64:
		return max(x, -x)
	case float64:
		return math.Abs(x)
	}
	fail(line, "abs of %s", kind(a[0]))
	return nil
}

// mapped is map: a member of each element, or a filter on each.
func mapped(s *state, line int, a List, named *Dict) Value {
	var out List
	attribute, byName := named.Get("attribute")
	for _, v := range iterate(s, line, a[0]) {
		s.step()
		if byName {
			out = append(out, attributeOf(s, line, v, attribute))
			continue
		}
		f, ok := s.filters[textArgument(line, a, 1)]
		if !ok {
			fail(line, "map by a filter that is not understood")
		}
		out = append(out, f(s, line, append(List{v}, a[2:]...), NewDict()))
	}
	return s.list(out)
}

// attributeOf returns a member, perhaps one of a member: "function.name".
func attributeOf(s *state, line int, v, attribute Value) Value {
	path, ok := attribute.(string)
	if !ok {
		return member{line, literal{v}, literal{attribute}}.eval(s)
	}
	for part := range strings.SplitSeq(path, ".") {
		if strings.IndexFunc(part, func(r rune) bool { return !unicode.IsDigit(r) }) < 0 && part != "" {
			n, _ := strconv.ParseInt(part, 10, 64) // out of range is no place either
			v = member{line, literal{v}, literal{n}}.eval(s)
			continue
		}
		v = member{line, literal{v}, literal{part}}.eval(s)
	}
	return v
}

// chosen is select, reject, selectattr and rejectattr.
func chosen(s *state, line int, a List, byAttribute, keep bool) Value {
	var out List
	rest := a[1:]
	if byAttribute {
		if len(rest) == 0 {
			fail(line, "no attribute to select by")
		}
		rest = rest[1:]
	}
	holds := truth
	if len(rest) > 0 {
		test, ok := testFuncs[textArgument(line, rest, 0)]
		if !ok {
			fail(line, "test %.40q is not understood", s.text(rest[0]))
		}
		holds = func(v Value) bool { return test(s, line, v, rest[1:]) }
	}
	for _, v := range iterate(s, line, a[0]) {
		s.step()
		x := v
		if byAttribute {
			x = attributeOf(s, line, v, a[1])
		}
		if holds(x) == keep {
			out = append(out, v)
		}
	}
	return s.list(out)
}
