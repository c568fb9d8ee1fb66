package jinja

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// method returns the method of a value by its name, or nil. None changes a value.
func method(of Value, name string) function {
	switch x := of.(type) {
	case string:
		if f, ok := textMethods[name]; ok {
			return func(s *state, line int, args List, _ *Dict) Value {
				s.work(len(x))
				return f(s, line, x, args)
			}
		}
	case *Dict:
		if f, ok := dictMethods[name]; ok {
			return func(s *state, line int, args List, _ *Dict) Value { return f(s, line, x, args) }
		}
	}
	return nil
}

var dictMethods = map[string]func(s *state, line int, d *Dict, args List) Value{
	"items": func(s *state, _ int, d *Dict, _ List) Value { return items(s, d) },
	"keys":  func(s *state, line int, d *Dict, _ List) Value { return iterate(s, line, d) },
	"values": func(s *state, _ int, d *Dict, _ List) Value {
		out := make(List, len(d.keys))
		for i, k := range d.keys {
			out[i] = d.values[k]
		}
		return s.list(out)
	},
	"get": func(_ *state, line int, d *Dict, args List) Value {
		if len(args) < 1 || len(args) > 2 {
			fail(line, "get with %d arguments", len(args))
		}
		if k, ok := args[0].(string); ok {
			if v, ok := d.Get(k); ok {
				return v
			}
		}
		if len(args) == 2 {
			return args[1]
		}
		return nil
	},
}

// items returns pairs of key and value.
func items(s *state, d *Dict) List {
	out := make(List, len(d.keys))
	for i, k := range d.keys {
		out[i] = s.list(List{k, d.values[k]})
	}
	return s.list(out)
}

var textMethods = map[string]func(s *state, line int, x string, args List) Value{
	"strip":      func(s *state, line int, x string, a List) Value { return strip(s, line, x, a, true, true) },
	"lstrip":     func(s *state, line int, x string, a List) Value { return strip(s, line, x, a, true, false) },
	"rstrip":     func(s *state, line int, x string, a List) Value { return strip(s, line, x, a, false, true) },
	"upper":      func(s *state, _ int, x string, _ List) Value { return s.made(strings.ToUpper(x)) },
	"lower":      func(s *state, _ int, x string, _ List) Value { return s.made(strings.ToLower(x)) },
	"capitalize": func(s *state, _ int, x string, _ List) Value { return s.made(capitalize(x)) },
	"title": func(s *state, _ int, x string, _ List) Value {
		return s.made(title(x, func(r rune) bool { return !unicode.IsLetter(r) }))
	},
	"startswith": func(_ *state, line int, x string, a List) Value { return affix(line, x, a, strings.HasPrefix) },
	"endswith":   func(_ *state, line int, x string, a List) Value { return affix(line, x, a, strings.HasSuffix) },
	"removeprefix": func(_ *state, line int, x string, a List) Value {
		return strings.TrimPrefix(x, textArgument(line, a, 0))
	},
	"removesuffix": func(_ *state, line int, x string, a List) Value {
		return strings.TrimSuffix(x, textArgument(line, a, 0))
	},
	"replace": replaceText,
	"split":   func(s *state, line int, x string, a List) Value { return split(s, line, x, a, false) },
	"rsplit":  func(s *state, line int, x string, a List) Value { return split(s, line, x, a, true) },
	"splitlines": func(s *state, _ int, x string, _ List) Value {
		s.room(elementSize * (strings.Count(x, "\n") + 1))
		var out List
		for l := range strings.Lines(x) {
			out = append(out, strings.TrimSuffix(strings.TrimSuffix(l, "\n"), "\r"))
		}
		return out
	},
	"find": func(_ *state, line int, x string, a List) Value { return find(x, textArgument(line, a, 0)) },
	"count": func(_ *state, line int, x string, a List) Value {
		return int64(strings.Count(x, textArgument(line, a, 0)))
	},
	"join": func(s *state, line int, x string, a List) Value {
		if len(a) != 1 {
			fail(line, "join with %d arguments", len(a))
		}
		return join(s, line, a[0], x)
	},
	"isdigit": func(_ *state, _ int, x string, _ List) Value {
		return x != "" && strings.IndexFunc(x, func(r rune) bool { return !unicode.IsDigit(r) }) < 0
	},
}

func textArgument(line int, args List, i int) string {
	if i < len(args) {
		if s, ok := args[i].(string); ok {
			return s
		}
	}
	fail(line, "argument %d must be a string", i+1)
	return ""
}

func strip(s *state, line int, x string, args List, left, right bool) Value {
	drop := unicode.IsSpace
	if len(args) > 0 && args[0] != nil {
		set := textArgument(line, args, 0)
		s.work(len(x) * min(len(set), 1<<20))
		drop = func(r rune) bool { return strings.ContainsRune(set, r) }
	}
	if left {
		x = strings.TrimLeftFunc(x, drop)
	}
	if right {
		x = strings.TrimRightFunc(x, drop)
	}
	return x
}

// affix is startswith and endswith, of one string or any of several.
func affix(line int, x string, args List, has func(s, affix string) bool) Value {
	if len(args) == 1 {
		if several, ok := args[0].(List); ok {
			for i := range several {
				if has(x, textArgument(line, several, i)) {
					return true
				}
			}
			return false
		}
	}
	return has(x, textArgument(line, args, 0))
}

func replaceText(s *state, line int, x string, args List) Value {
	old, with, n := textArgument(line, args, 0), textArgument(line, args, 1), -1
	if len(args) > 2 {
		limit, ok := args[2].(int64)
		if !ok {
			fail(line, "replace with %s as its count", kind(args[2]))
		}
		n = int(limit)
	}
	s.room(len(x) + (strings.Count(x, old)+1)*len(with))
	return strings.Replace(x, old, with, n)
}

func split(s *state, line int, x string, args List, fromRight bool) Value {
	limit := -1
	if len(args) > 1 {
		n, ok := args[1].(int64)
		if !ok {
			fail(line, "split with %s as its limit", kind(args[1]))
		}
		limit = int(min(n, 1<<31))
	}
	var parts []string
	switch {
	case len(args) == 0 || args[0] == nil:
		if limit >= 0 {
			fail(line, "split at white space with a limit is not understood")
		}
		s.room(elementSize * (len(x)/2 + 1))
		parts = strings.Fields(x)
	case textArgument(line, args, 0) == "":
		fail(line, "split at nothing")
	default:
		sep := textArgument(line, args, 0)
		s.room(elementSize * (strings.Count(x, sep) + 1))
		parts = strings.Split(x, sep)
		if limit >= 0 && len(parts) > limit+1 {
			if fromRight {
				k := len(parts) - limit
				parts = append([]string{strings.Join(parts[:k], sep)}, parts[k:]...)
			} else {
				parts = append(parts[:limit:limit], strings.Join(parts[limit:], sep))
			}
		}
	}
	out := make(List, len(parts))
	for i, p := range parts {
		out[i] = p
	}
	return out
}

// find returns the place in characters, or −1.
func find(x, sub string) Value {
	before, _, ok := strings.Cut(x, sub)
	if !ok {
		return int64(-1)
	}
	return int64(len([]rune(before)))
}

func capitalize(x string) string {
	first, size := utf8.DecodeRuneInString(x)
	if size == 0 {
		return ""
	}
	return string(unicode.ToUpper(first)) + strings.ToLower(x[size:])
}

// title writes the first letter of each word large and the others small. starts
// reports whether a word begins after a letter.
func title(x string, starts func(rune) bool) string {
	var b strings.Builder
	begin := true
	for _, r := range x {
		if begin {
			b.WriteRune(unicode.ToUpper(r))
		} else {
			b.WriteRune(unicode.ToLower(r))
		}
		begin = starts(r)
	}
	return b.String()
}
