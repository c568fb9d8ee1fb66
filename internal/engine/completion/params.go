package completion

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"atoll/internal/engine"
	"atoll/internal/engine/jsonl"
)

// OnError is the param that says what becomes of lines that are refused.
const OnError = "on_error"

// Params are a task's params.
type Params struct {
	Settings      // of lines that do not say so themselves
	answers  bool // refusals of lines are their answers
}

// ParseParams reads a task's params, but for those of the engine's own that are
// named.
func ParseParams(params map[string]string, own ...string) (p Params, err error) {
	switch value := params[OnError]; value {
	case "", "fail":
	case "answer":
		p.answers = true
	default:
		return p, fmt.Errorf("%w: params: %s %.40q: want fail or answer", engine.ErrInput, OnError, value)
	}
	var b bytes.Buffer
	b.WriteByte('{')
	for _, name := range slices.Sorted(maps.Keys(params)) {
		if name == OnError || slices.Contains(own, name) {
			continue
		}
		if b.Len() > 1 {
			b.WriteByte(',')
		}
		value := []byte(params[name])
		if !jsontext.Value(value).IsValid() { // a bare string, such as a stop
			value, _ = jsontext.AppendQuote(nil, params[name])
		}
		quoted, _ := jsontext.AppendQuote(nil, name)
		fmt.Fprintf(&b, "%s:%s", quoted, value)
	}
	b.WriteByte('}')
	if err := json.Unmarshal(b.Bytes(), &p.Settings, strict); err != nil {
		return p, fmt.Errorf("params: %w", jsonl.Refusal(err))
	}
	if err := p.Check(); err != nil {
		return p, fmt.Errorf("params: %w", err)
	}
	return p, nil
}

// Answers reports whether err is a line's own fault and therefore its answer:
// then it does not keep the lines beside it from theirs.
func (p *Params) Answers(err error) bool {
	return p.answers && (errors.Is(err, engine.ErrInput) || errors.Is(err, engine.ErrTooLarge))
}

// AppendRefusal writes the answer to a line that is refused.
func AppendRefusal(b []byte, id jsontext.Value, why error) []byte {
	b = append(b, '{')
	if id != nil {
		b = append(append(append(b, `"id":`...), id...), ',')
	}
	b = AppendText(append(b, `"error":`...), why.Error())
	return append(b, "}\n"...)
}
