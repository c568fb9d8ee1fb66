package text

import (
	"fmt"

	"github.com/go-json-experiment/json/jsontext"

	"atoll/internal/engine"
	"atoll/internal/engine/jsonl"
)

// request is one line of input.
type request struct {
	ID   jsontext.Value `json:"id"`
	Text *string        `json:"text"`
}

func parse(line []byte) (request, error) {
	var req request
	var err error
	switch kind := jsontext.Value(line).Kind(); kind {
	case '{':
		err = jsonl.Decode(line, MaxLine, &req)
	case '"':
		err = jsonl.Decode(line, MaxLine, &req.Text)
	default:
		return req, fmt.Errorf("%w: %.40q is no JSON object or string", engine.ErrInput, line)
	}
	if err != nil {
		return req, err
	}
	if req.Text == nil {
		return req, fmt.Errorf(`%w: no "text"`, engine.ErrInput)
	}
	return req, jsonl.CheckID(req.ID)
}

// line appends the answer to one line. Numbers are written from integers, so
// that no float formatting comes between equal results and equal bytes.
func (r *run) line(line []byte) error {
	req, err := parse(line)
	if err != nil {
		return err
	}
	res, err := r.model.Classify(*req.Text, r.top, r.reasons)
	if err != nil {
		return fmt.Errorf("%w: %w", engine.ErrInput, err)
	}
	b := r.out
	b = append(b, '{')
	if req.ID != nil {
		b = append(b, `"id":`...)
		b = append(b, req.ID...)
		b = append(b, ',')
	}
	b = pair(b, "label", res.Classes[0].Label, "p", res.Classes[0].P.String())
	if r.top > 1 {
		b = append(b, `,"others":[`...)
		for i, c := range res.Classes[1:] {
			b = append(comma(b, i), '{')
			b = pair(b, "label", c.Label, "p", c.P.String())
			b = append(b, '}')
		}
		b = append(b, ']')
	}
	if r.reasons > 0 {
		b = append(b, `,"reasons":[`...)
		for i, why := range res.Reasons {
			b = append(comma(b, i), '{')
			b = pair(b, "feature", why.Feature, "weight", why.Weight.String())
			b = append(b, '}')
		}
		b = append(b, ']')
	}
	b = append(b, "}\n"...)
	r.out = b
	return nil
}

// pair appends two fields with string values.
func pair(b []byte, name1, value1, name2, value2 string) []byte {
	for i, s := range [...]string{name1, value1, name2, value2} {
		if i == 2 {
			b = append(b, ',')
		}
		// Quoting cannot fail: a model's labels are checked to be UTF-8 when it
		// is loaded, and folding a text leaves only UTF-8.
		b, _ = jsontext.AppendQuote(b, s)
		if i%2 == 0 {
			b = append(b, ':')
		}
	}
	return b
}

func comma(b []byte, i int) []byte {
	if i > 0 {
		b = append(b, ',')
	}
	return b
}
