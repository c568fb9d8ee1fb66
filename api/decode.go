package api

import (
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"atoll/internal/core"
)

// Decode reads a JSON body into v, a pointer to a struct. Unknown fields,
// duplicate keys, wrong types and anything after the value are refused with a
// core.Error of kind Invalid that names the field by its path. The body's size
// is for the caller to bound.
func Decode(body []byte, v any) error {
	if err := json.Unmarshal(body, v, json.RejectUnknownMembers(true)); err != nil {
		return explain(err, reflect.TypeOf(v))
	}
	return nil
}

// DecodeTaskSpec reads the body of POST /v1/submit-task. It checks the form
// only, as Decode does, and the depth of params; see TaskSpec.Validate.
func DecodeTaskSpec(body []byte) (*TaskSpec, error) {
	s := new(TaskSpec)
	if err := Decode(body, s); err != nil {
		return nil, err
	}
	for k, raw := range s.Params {
		if deeper(raw, maxDepth) {
			return nil, core.Errorf(core.Invalid, "nested deeper than %d levels", maxDepth).At("params." + clip(k))
		}
	}
	return s, nil
}

// deeper reports whether a valid JSON value is nested more than limit levels.
func deeper(raw []byte, limit int) bool {
	depth, inString := 0, false
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '{', c == '[':
			if depth++; depth > limit {
				return true
			}
		case c == '}', c == ']':
			depth--
		}
	}
	return false
}

// explain turns the decoder's errors into words for the person who wrote the body.
func explain(err error, root reflect.Type) error {
	if e, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		field := path(e.JSONPointer)
		if errors.Is(e.Err, jsontext.ErrDuplicateName) {
			return core.Errorf(core.Invalid, "the field is given twice").At(field)
		}
		out := core.Errorf(core.Invalid, "the body is not JSON: %s, at byte %d", clip(reason(e.Err)), e.ByteOffset)
		return out.At(field).WithHint("send one JSON object and nothing after it")
	}
	e, ok := errors.AsType[*json.SemanticError](err)
	if !ok {
		return core.Errorf(core.Invalid, "the body is not JSON: %s", clip(reason(err)))
	}
	field := path(e.JSONPointer)
	if errors.Is(e.Err, json.ErrUnknownName) {
		out := core.Errorf(core.Invalid, "there is no such field").At(field)
		if s := nearest(e.JSONPointer.LastToken(), fieldNames(root, e.JSONPointer.Parent())); s != "" {
			return out.WithHint("did you mean " + s + "?")
		}
		return out.WithHint("see /openapi.json for the fields there are")
	}
	want, hint := wanted(e.GoType)
	if e.Err != nil && e.JSONKind == '"' && want == "a string" {
		return core.Errorf(core.Invalid, "%s", clip(e.Err.Error())).At(field)
	}
	if got := kindName(e.JSONKind); got != "" {
		out := core.Errorf(core.Invalid, "want %s, got %s", want, got)
		if e.Err != nil && e.JSONKind == '0' {
			out = core.Errorf(core.Invalid, "want %s: %s", want, clip(reason(e.Err)))
		}
		return out.At(field).WithHint(hint)
	}
	return core.Errorf(core.Invalid, "want %s", want).At(field).WithHint(hint)
}

// reason is an error's text without the decoder's package names.
func reason(err error) string {
	if err == nil {
		return "it ends too early"
	}
	s := err.Error()
	for _, p := range []string{"jsontext: ", "json: "} {
		s = strings.TrimPrefix(s, p)
	}
	return s
}

// wanted names the JSON type that a Go type is written as.
func wanted(t reflect.Type) (want, hint string) {
	if t == nil {
		return "another type", ""
	}
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t {
	case reflect.TypeFor[core.Money]():
		return "a string", `amounts are strings: "2.50"`
	case reflect.TypeFor[Duration]():
		return "a string", `durations are strings: "30s"`
	case reflect.TypeFor[time.Time]():
		return "a string", `times are strings: "2026-12-01T00:00:00Z"`
	}
	if reflect.PointerTo(t).Implements(reflect.TypeFor[interface{ UnmarshalText([]byte) error }]()) {
		return "a string", ""
	}
	switch t.Kind() {
	case reflect.String:
		return "a string", ""
	case reflect.Bool:
		return "true or false", ""
	case reflect.Int, reflect.Int64, reflect.Int32:
		return "a whole number", ""
	case reflect.Float64:
		return "a number", ""
	case reflect.Slice, reflect.Array:
		return "an array", ""
	default:
		return "an object", ""
	}
}

func kindName(k jsontext.Kind) string {
	switch k {
	case 'n':
		return "null"
	case 't', 'f':
		return "true or false"
	case '"':
		return "a string"
	case '0':
		return "a number"
	case '{':
		return "an object"
	case '[':
		return "an array"
	}
	return ""
}

// path writes a JSON pointer as people do: input[0].uri.
func path(p jsontext.Pointer) string {
	var b strings.Builder
	for t := range p.Tokens() {
		if _, err := strconv.ParseUint(t, 10, 31); err == nil {
			fmt.Fprintf(&b, "[%s]", t)
			continue
		}
		if b.Len() > 0 {
			b.WriteByte('.')
		}
		b.WriteString(clip(t))
	}
	return clip(b.String())
}

// clip keeps what callers sent from flooding an answer or a log.
func clip(s string) string {
	const most = 200
	if len(s) > most {
		s = s[:most] + "…"
	}
	return strings.ToValidUTF8(s, "?")
}
