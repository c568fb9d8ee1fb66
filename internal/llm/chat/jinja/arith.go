package jinja

import (
	"math"
	"strings"
)

func (e compare) eval(s *state) Value {
	a := e.first.eval(s)
	for i, op := range e.ops {
		s.step()
		b := e.rest[i].eval(s)
		if !holds(s, e.line, op, a, b) {
			return false
		}
		a = b
	}
	return true
}

func holds(s *state, line int, op string, a, b Value) bool {
	switch op {
	case "==":
		return equal(s, a, b, 0)
	case "!=":
		return !equal(s, a, b, 0)
	case "in":
		return contains(s, line, b, a)
	case "not in":
		return !contains(s, line, b, a)
	}
	s.step()
	c, ok := order(a, b)
	if !ok {
		fail(line, "%s %s %s", kind(a), op, kind(b))
	}
	return op == "<" && c < 0 || op == "<=" && c <= 0 || op == ">" && c > 0 || op == ">=" && c >= 0
}

func contains(s *state, line int, of, v Value) bool {
	switch x := of.(type) {
	case string:
		sub, ok := v.(string)
		if !ok {
			fail(line, "%s in a string", kind(v))
		}
		s.work(len(x))
		return strings.Contains(x, sub)
	case List:
		for _, e := range x {
			if equal(s, e, v, 0) {
				return true
			}
		}
		return false
	case *Dict:
		k, ok := v.(string)
		_, has := x.Get(k)
		return ok && has
	case undefined:
		return false
	}
	fail(line, "in %s", kind(of))
	return false
}

func (e unary) eval(s *state) Value {
	s.step()
	switch v := e.of.eval(s).(type) {
	case int64:
		if e.op == "-" {
			return -v
		}
		return v
	case float64:
		if e.op == "-" {
			return -v
		}
		return v
	default:
		fail(e.line, "%s before %s", e.op, kind(v))
	}
	return nil
}

func (e binary) eval(s *state) Value {
	s.step()
	a, b := e.a.eval(s), e.b.eval(s)
	if e.op == "~" {
		x, y := s.text(a), s.text(b)
		s.room(len(x) + len(y))
		return x + y
	}
	if v, ok := joined(s, e.op, a, b); ok {
		return v
	}
	x, okX := number(a)
	y, okY := number(b)
	if !okX || !okY {
		fail(e.line, "%s %s %s", kind(a), e.op, kind(b))
	}
	i, intA := a.(int64)
	j, intB := b.(int64)
	if intA && intB {
		if v, ok := wholeNumbers(e.op, i, j); ok {
			return v
		}
	}
	if y == 0 && (e.op == "/" || e.op == "//" || e.op == "%") {
		fail(e.line, "division by 0")
	}
	switch e.op {
	case "+":
		return x + y
	case "-":
		return x - y
	case "*":
		return x * y
	case "/":
		return x / y
	case "//":
		return math.Floor(x / y)
	case "%":
		return x - float64(y*math.Floor(x/y))
	}
	fail(e.line, "%v ** %v is not a whole number of 63 bits", x, y)
	return nil
}

// joined is + and * of strings and lists.
func joined(s *state, op string, a, b Value) (Value, bool) {
	switch x := a.(type) {
	case string:
		if y, ok := b.(string); ok && op == "+" {
			s.room(len(x) + len(y))
			return x + y, true
		}
		if n, ok := b.(int64); ok && op == "*" {
			n = max(n, 0)
			if len(x) > 0 {
				s.room(int(min(n, math.MaxInt32)) * len(x))
			} else {
				n = 0
			}
			return strings.Repeat(x, int(n)), true
		}
	case List:
		if y, ok := b.(List); ok && op == "+" {
			return s.list(append(append(make(List, 0, len(x)+len(y)), x...), y...)), true
		}
	}
	return nil, false
}

// wholeNumbers is arithmetic that stays whole; what overflows is left to floats.
func wholeNumbers(op string, a, b int64) (Value, bool) {
	const safe = 1 << 31 // products of smaller numbers fit
	small := -safe < a && a < safe && -safe < b && b < safe
	switch {
	case op == "+" && small:
		return a + b, true
	case op == "-" && small:
		return a - b, true
	case op == "*" && small:
		return a * b, true
	case op == "//" && b > 0:
		return floorDiv(a, b), true
	case op == "%" && b > 0:
		return a - b*floorDiv(a, b), true
	case op == "**" && small && b >= 0:
		if a == 0 || a == 1 || a == -1 {
			b = min(b, 2-b%2) // as large powers as one likes are these
		}
		out := int64(1)
		for range b {
			if out *= a; max(out, -out) >= safe {
				return nil, false
			}
		}
		return out, true
	}
	return nil, false
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}
