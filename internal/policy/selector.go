package policy

import (
	"slices"
	"strconv"
	"strings"

	"atoll/internal/core"
)

// Selector is a condition on labels, in the syntax and with the meaning of
// Kubernetes label selectors. All requirements must hold. The zero Selector
// matches everything.
//
// The parser is ours, because the one in k8s.io/apimachinery brings in net and
// a global logger, and the pure packages must be seen to be pure by what they
// import. Fuzzing holds it against that one; it is stricter in refusing empty
// values within parentheses.
type Selector struct {
	reqs []requirement
}

type operator string

const (
	opExists  operator = "exists"
	opAbsent  operator = "!"
	opIn      operator = "in"
	opNotIn   operator = "notin"
	opGreater operator = ">"
	opLess    operator = "<"
)

type requirement struct {
	key    string
	op     operator
	values []string // of opIn and opNotIn, sorted
	bound  int64    // of opGreater and opLess
	single bool     // written as = or != with one value
}

// Matches reports whether labels meet every requirement. A missing label meets
// !=, notin and ! only. It does not allocate.
func (s Selector) Matches(labels map[string]string) bool {
	for i := range s.reqs {
		if !s.reqs[i].matches(labels) {
			return false
		}
	}
	return true
}

func (r *requirement) matches(labels map[string]string) bool {
	v, ok := labels[r.key]
	switch r.op {
	case opExists:
		return ok
	case opAbsent:
		return !ok
	case opIn:
		return ok && slices.Contains(r.values, v)
	case opNotIn:
		return !ok || !slices.Contains(r.values, v)
	default:
		n, err := strconv.ParseInt(v, 10, 64)
		return ok && err == nil && (r.op == opGreater && n > r.bound || r.op == opLess && n < r.bound)
	}
}

// String returns the selector in a normal form that ParseSelector reads back
// to an equal one.
func (s Selector) String() string {
	out := make([]string, len(s.reqs))
	for i := range s.reqs {
		out[i] = s.reqs[i].String()
	}
	return strings.Join(out, ",")
}

func (r *requirement) String() string {
	switch {
	case r.op == opExists:
		return r.key
	case r.op == opAbsent:
		return "!" + r.key
	case r.op == opIn && r.single:
		return r.key + "=" + r.values[0]
	case r.op == opNotIn && r.single:
		return r.key + "!=" + r.values[0]
	case r.op == opIn || r.op == opNotIn:
		return r.key + " " + string(r.op) + " (" + strings.Join(r.values, ",") + ")"
	default:
		return r.key + string(r.op) + strconv.FormatInt(r.bound, 10)
	}
}

// ParseSelector reads a selector. Empty text matches everything. Errors are
// core.Invalid and say what was expected where.
func ParseSelector(text string) (Selector, error) {
	if len(text) > maxSelector {
		return Selector{}, core.Errorf(core.TooLarge, "a selector of %d bytes: at most %d are read", len(text), maxSelector)
	}
	p := &selectorParser{text: text}
	p.next()
	var s Selector
	if p.tok == "" {
		return s, nil
	}
	for {
		r, err := p.requirement()
		if err != nil {
			return Selector{}, err
		}
		s.reqs = append(s.reqs, r)
		if p.tok == "" {
			return s, nil
		}
		if p.tok != "," {
			return Selector{}, p.errorf("want , or the end")
		}
		p.next()
	}
}
