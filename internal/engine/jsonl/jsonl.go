// Package jsonl reads the input that most engines take: JSON Lines in UTF-8, one
// request a line. A byte order mark, CR LF, a missing last line end and blank
// lines, which editors and scripts leave behind, are read over; a blank line has
// a number, but no answer.
//
// Refusals are worded here and not by the JSON package, whose wording may
// change: a refused part must read alike on every node.
package jsonl

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"atoll/internal/engine"
)

// MaxID bounds a request's id, in bytes of JSON.
const MaxID = 256

// ErrEmpty means that all lines are blank.
var ErrEmpty = fmt.Errorf("%w: no line in it that is not blank", engine.ErrInput)

// Lines yields the lines that are not blank, with their numbers from 1.
func Lines(data []byte) iter.Seq2[int, []byte] {
	return func(yield func(int, []byte) bool) {
		n := 0
		for line := range bytes.Lines(bytes.TrimPrefix(data, []byte("\uFEFF"))) {
			n++
			line = bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r"))
			if len(bytes.Trim(line, " \t\r")) > 0 && !yield(n, line) {
				return
			}
		}
	}
}

// Decode reads a line of at most most bytes. Errors are engine.ErrInput or
// engine.ErrTooLarge.
func Decode(line []byte, most int, into any, opts ...json.Options) error {
	if len(line) > most {
		return fmt.Errorf("%w: %d bytes, at most %d", engine.ErrTooLarge, len(line), most)
	}
	if err := json.Unmarshal(line, into, opts...); err != nil {
		return Refusal(err)
	}
	return nil
}

// Refusal says where JSON is wrong, as an engine.ErrInput.
func Refusal(err error) error {
	if syntax, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		return fmt.Errorf("%w: no valid JSON at byte %d of the line", engine.ErrInput, syntax.ByteOffset+1)
	}
	if sem, ok := errors.AsType[*json.SemanticError](err); ok {
		if errors.Is(err, json.ErrUnknownName) {
			return fmt.Errorf("%w: the field %.80q is not known", engine.ErrInput, dotted(sem.JSONPointer))
		}
		if sem.JSONPointer == "" {
			return fmt.Errorf("%w: the line is a JSON %s", engine.ErrInput, kind(sem.JSONKind))
		}
		return fmt.Errorf("%w: %.80q is a JSON %s", engine.ErrInput, dotted(sem.JSONPointer), kind(sem.JSONKind))
	}
	return fmt.Errorf("%w: no line as it should be", engine.ErrInput)
}

// dotted is where in a line something is, such as messages.0.role. Slashes would
// look like a path, and nodes take those out of what they say.
func dotted(p jsontext.Pointer) string { return strings.Join(slices.Collect(p.Tokens()), ".") }

// kind is what people call a kind of JSON value.
func kind(k jsontext.Kind) string {
	switch k {
	case '{':
		return "object"
	case '[':
		return "array"
	}
	return k.String()
}

// CheckID accepts what can be repeated in an answer: a string or a number, or nil
// for none.
func CheckID(id jsontext.Value) error {
	if kind := id.Kind(); id != nil && kind != '"' && kind != '0' || len(id) > MaxID {
		return fmt.Errorf(`%w: "id" is %.40q, want a string or number of at most %d bytes`, engine.ErrInput, []byte(id), MaxID)
	}
	return nil
}
