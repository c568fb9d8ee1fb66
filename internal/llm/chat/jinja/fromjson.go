package jinja

import (
	"bytes"
	"fmt"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

// FromJSON turns a JSON text into a value. Mappings keep their order; doubled
// members are an error, as is nesting of more than 100 levels.
func FromJSON(raw []byte) (Value, error) {
	d := jsontext.NewDecoder(bytes.NewReader(raw))
	v, err := fromJSON(d, 0)
	if err != nil {
		return nil, err
	}
	if d.InputOffset() < int64(len(bytes.TrimRight(raw, " \t\r\n"))) {
		return nil, fmt.Errorf("more after the JSON value, at byte %d", d.InputOffset())
	}
	return v, nil
}

func fromJSON(d *jsontext.Decoder, depth int) (Value, error) {
	if depth > maxNesting {
		return nil, fmt.Errorf("JSON of more than %d levels", maxNesting)
	}
	t, err := d.ReadToken()
	if err != nil {
		return nil, err
	}
	switch t.Kind() {
	case 'n':
		return nil, nil
	case 't', 'f':
		return t.Bool(), nil
	case '"':
		return t.String(), nil
	case '0':
		if n, err := strconv.ParseInt(t.String(), 10, 64); err == nil {
			return n, nil
		}
		f, err := strconv.ParseFloat(t.String(), 64)
		return f, err
	case '[':
		out := List{}
		for d.PeekKind() != ']' {
			v, err := fromJSON(d, depth+1)
			if err != nil {
				return nil, err
			}
			out = append(out, v)
		}
		_, err := d.ReadToken()
		return out, err
	}
	out := NewDict()
	for d.PeekKind() != '}' {
		k, err := d.ReadToken()
		if err != nil {
			return nil, err
		}
		key := k.String()
		v, err := fromJSON(d, depth+1)
		if err != nil {
			return nil, err
		}
		out.Set(key, v)
	}
	_, err = d.ReadToken()
	return out, err
}
