package jinja

import (
	"math"
	"strconv"
	"strings"
)

// toJSON is Python's json.dumps with ensure_ascii=False, which is what Hugging
// Face's tojson is: ", " and ": " between, keys in their own order. indent gives
// it lines.
func toJSON(s *state, line int, a List, named *Dict) Value {
	width := -1
	if v := argument(a, named, 1, "indent", nil); v != nil {
		n, ok := v.(int64)
		if !ok || n < 0 || n > 100 {
			fail(line, "tojson with an indent that is not a number from 0 to 100")
		}
		width = int(n)
	}
	w := &jsonWriter{s: s, line: line, width: width}
	s.room(s.size(a[0], 0))
	w.value(a[0], 0)
	return s.made(w.b.String())
}

type jsonWriter struct {
	s     *state
	b     strings.Builder
	line  int
	width int // of one level of indentation, or −1 for one line
}

func (w *jsonWriter) value(v Value, depth int) {
	switch x := v.(type) {
	case nil:
		w.b.WriteString("null")
	case bool:
		w.b.WriteString(strconv.FormatBool(x))
	case int64:
		w.b.WriteString(strconv.FormatInt(x, 10))
	case float64:
		if math.IsNaN(x) || math.IsInf(x, 0) {
			fail(w.line, "%v has no form in JSON", x)
		}
		w.b.WriteString(floatText(x))
	case string:
		w.text(x)
	case List:
		w.elements("[", "]", len(x), depth, func(i int) { w.value(x[i], depth+1) })
	case *Dict:
		w.elements("{", "}", len(x.keys), depth, func(i int) {
			w.text(x.keys[i])
			w.b.WriteString(": ")
			w.value(x.values[x.keys[i]], depth+1)
		})
	default:
		fail(w.line, "tojson of %s", kind(v))
	}
}

func (w *jsonWriter) elements(open, end string, n, depth int, element func(int)) {
	w.b.WriteString(open)
	for i := range n {
		switch {
		case w.width >= 0 && i > 0:
			w.b.WriteByte(',')
		case i > 0:
			w.b.WriteString(", ")
		}
		w.newline(depth + 1)
		element(i)
	}
	if n > 0 {
		w.newline(depth)
	}
	w.b.WriteString(end)
}

func (w *jsonWriter) newline(depth int) {
	if w.width >= 0 {
		w.s.room(1 + depth*w.width)
		w.b.WriteString("\n" + strings.Repeat(" ", depth*w.width))
	}
}

var jsonEscapes = map[rune]string{'"': `\"`, '\\': `\\`, '\n': `\n`, '\r': `\r`, '\t': `\t`, '\b': `\b`, '\f': `\f`}

func (w *jsonWriter) text(x string) {
	w.b.WriteByte('"')
	for _, r := range x {
		if e, ok := jsonEscapes[r]; ok {
			w.b.WriteString(e)
		} else if r < ' ' {
			w.b.WriteString(`\u00` + string("0123456789abcdef"[r>>4]) + string("0123456789abcdef"[r&15]))
		} else {
			w.b.WriteRune(r)
		}
	}
	w.b.WriteByte('"')
}
