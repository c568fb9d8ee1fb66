// Package jinja renders the templates in which language models say how a
// conversation is written: the part of Jinja 2 that they use, with the settings
// that Hugging Face gives it (trim_blocks, lstrip_blocks, loop controls, no
// autoescape, no changing of values).
//
// # Why its own
//
// A template comes with a model file, from a stranger. General engines trust
// their templates: they read files, and a few lines that double a string in a
// loop take all memory of the process. Here a template can compute and nothing
// else; each step and each byte that it makes is counted, and [Limits] ends it
// with an error. Mappings keep their order, as JSON for tools must; nothing
// depends on the machine or the clock.
//
// # What is understood
//
// Text, {{ expressions }}, {# comments #}, {% if %}, {% for %} with else, filter
// and loop, {% set %} in both forms, {% filter %}, {% macro %}, {% break %},
// {% continue %}, {% raw %}, {% generation %} (which marks the answer for training
// and prints its body). Include, import, extends and anything else are refused when parsing.
//
// Expressions have Python's operators, slices, calls with keywords, "is" tests and
// filters. Names of filters, tests, methods and functions are in filters.go,
// tests.go, methods.go and functions.go; an unknown one is an error.
//
// # Values
//
// A [Value] is nil (none), bool, int64, float64, string, [List] or *[Dict]; inside
// there are also undefined, namespaces and functions. A tuple is a list, and prints
// as one.
package jinja

import (
	"errors"
	"fmt"
)

var (
	// ErrTemplate means that a template is malformed or uses what is not
	// understood.
	ErrTemplate = errors.New("chat template")
	// ErrLimit means that rendering took more than its Limits.
	ErrLimit = errors.New("the template takes too much")
)

// RaisedError is an error that the template itself raised, with
// raise_exception: the conversation is not one that the model can have.
type RaisedError struct{ Message string }

func (e *RaisedError) Error() string { return e.Message }

// Limits bound a rendering.
type Limits struct {
	Steps  int // expressions and statements evaluated
	Memory int // bytes of all strings, and 16 for each element, ever made
	Output int // bytes of the result
}

// DefaultLimits suit a conversation of a megabyte or two.
var DefaultLimits = Limits{Steps: 2_000_000, Memory: 64 << 20, Output: 8 << 20}

// What a template may be at most.
const (
	maxSource  = 256 << 10 // bytes
	maxNesting = 100       // of expressions and blocks in the source
	maxCalls   = 64        // of macros within macros
	maxRange   = 100_000   // elements of one range
	maxDepth   = 1000      // of values within values
)

// failure carries an error up through the parser or evaluator.
type failure struct{ err error }

// fail ends parsing or rendering.
func fail(line int, format string, args ...any) {
	panic(failure{fmt.Errorf("%w, line %d: %w", ErrTemplate, line, fmt.Errorf(format, args...))})
}

// caught turns a failure into err. It is to be deferred.
func caught(err *error) {
	switch r := recover().(type) {
	case nil:
	case failure:
		*err = r.err
	default:
		panic(r)
	}
}
