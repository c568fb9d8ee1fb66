package jinja

import "maps"

func (b block) run(s *state) flow {
	for _, x := range b {
		s.step()
		if f := x.run(s); f != onward {
			return f
		}
	}
	return onward
}

func (x plain) run(s *state) flow { s.print(x.text); return onward }

func (x output) run(s *state) flow { s.print(s.text(x.e.eval(s))); return onward }

func (x branch) run(s *state) flow {
	for i, c := range x.conds {
		if c == nil || truth(c.eval(s)) {
			return x.bodies[i].run(s)
		}
	}
	return onward
}

func (x jump) run(*state) flow { return x.to }

func (x loop) run(s *state) flow {
	items := iterate(s, x.line, x.over.eval(s))
	if x.filter != nil {
		var kept List
		for _, v := range items {
			s.within(x.bind(s, v), func() {
				if truth(x.filter.eval(s)) {
					kept = append(kept, v)
				}
			})
		}
		items = s.list(kept)
	}
	if len(items) == 0 {
		return x.fallback.run(s)
	}
	for i := range items {
		vars := x.bind(s, items[i])
		vars["loop"] = loopVariable(s, items, i)
		var f flow
		s.within(vars, func() { f = x.body.run(s) })
		if f == breaks {
			break
		}
	}
	return onward
}

// bind gives the loop's variables their values for one element.
func (x loop) bind(s *state, v Value) map[string]Value {
	s.step()
	if len(x.targets) == 1 {
		return map[string]Value{x.targets[0]: v}
	}
	return unpack(x.line, x.targets, v)
}

func unpack(line int, targets []string, v Value) map[string]Value {
	items, ok := v.(List)
	if !ok || len(items) != len(targets) {
		fail(line, "%s cannot be unpacked into %d names", kind(v), len(targets))
	}
	vars := make(map[string]Value, len(targets))
	for i, t := range targets {
		vars[t] = items[i]
	}
	return vars
}

// loopVariable is "loop" within a loop's body.
func loopVariable(s *state, items List, i int) *Dict {
	s.room(32 * elementSize)
	n := len(items)
	d := NewDict("index", int64(i+1), "index0", int64(i), "revindex", int64(n-i), "revindex0", int64(n-i-1),
		"first", i == 0, "last", i == n-1, "length", int64(n))
	d.Set("previtem", undefined{"loop.previtem"})
	d.Set("nextitem", undefined{"loop.nextitem"})
	if i > 0 {
		d.Set("previtem", items[i-1])
	}
	if i < n-1 {
		d.Set("nextitem", items[i+1])
	}
	d.Set("cycle", function(func(_ *state, line int, args List, _ *Dict) Value {
		if len(args) == 0 {
			fail(line, "loop.cycle of nothing")
		}
		return args[i%len(args)]
	}))
	return d
}

// iterate returns the elements of a value: of a mapping its keys, of a string its
// characters.
func iterate(s *state, line int, v Value) List {
	switch x := v.(type) {
	case List:
		return x
	case *Dict:
		out := make(List, len(x.keys))
		for i, k := range x.keys {
			out[i] = k
		}
		return s.list(out)
	case string:
		s.room(elementSize * len(x))
		out := make(List, 0, len(x))
		for _, r := range x {
			out = append(out, string(r))
		}
		return out
	case undefined:
		return nil
	}
	fail(line, "%s has no elements", kind(v))
	return nil
}

func (x assign) run(s *state) flow {
	v := x.e.eval(s)
	switch {
	case x.of != "":
		ns, ok := s.lookup(x.of).(namespace)
		if !ok {
			fail(x.line, "%s is no namespace, so its members cannot be set", x.of)
		}
		s.room(4 * elementSize)
		ns.Set(x.targets[0], v)
	case len(x.targets) == 1:
		s.scope.vars[x.targets[0]] = v
	default:
		maps.Copy(s.scope.vars, unpack(x.line, x.targets, v))
	}
	return onward
}

func (x capture) run(s *state) flow {
	var body string
	s.within(map[string]Value{}, func() { body = s.captured(func() { x.body.run(s) }) })
	var v Value
	s.within(map[string]Value{captureName: body}, func() { v = x.e.eval(s) })
	if x.target == "" {
		s.print(s.text(v))
	} else {
		s.scope.vars[x.target] = v
	}
	return onward
}

// run makes the macro a function that sees the variables from where it stands.
func (x macro) run(s *state) flow {
	home := s.scope
	s.scope.vars[x.name] = function(func(s *state, line int, args List, named *Dict) Value {
		if s.calls++; s.calls > maxCalls {
			fail(line, "more than %d macros within macros", maxCalls)
		}
		if len(args) > len(x.params) {
			fail(line, "%s takes %d arguments, not %d", x.name, len(x.params), len(args))
		}
		outer := s.scope
		s.scope = home
		vars := make(map[string]Value, len(x.params))
		for i, p := range x.params {
			switch v, ok := named.Get(p); {
			case i < len(args):
				vars[p] = args[i]
			case ok:
				vars[p] = v
			case x.defaults[i] != nil:
				vars[p] = x.defaults[i].eval(s)
			default:
				vars[p] = undefined{p}
			}
		}
		for _, k := range named.keys {
			if _, ok := vars[k]; !ok {
				fail(line, "%s has no parameter %.40q", x.name, k)
			}
		}
		var out string
		s.within(vars, func() { out = s.captured(func() { x.body.run(s) }) })
		s.scope = outer
		s.calls--
		return out
	})
	return onward
}
