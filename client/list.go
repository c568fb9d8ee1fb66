package client

import (
	"bytes"
	"context"
	"errors"
	"iter"
	"maps"
	"net/url"

	fastjson "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"atoll/api"
	"atoll/internal/core"
)

// list iterates over all pages of a list.
func list[T any](ctx context.Context, c *Client, path string, query url.Values) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		q := maps.Clone(query)
		if q == nil {
			q = url.Values{}
		}
		for {
			var page api.List[T]
			k := get(path, q)
			k.accept = "application/json" // events have two forms
			if err := c.ask(ctx, k, &page, signed); err != nil {
				yield(none, err)
				return
			}
			for _, row := range page.Data {
				if !yield(row, nil) {
					return
				}
			}
			if page.Next == "" {
				return
			}
			if page.Next == q.Get("cursor") {
				yield(none, errors.New("the hub's list does not move on"))
				return
			}
			q.Set("cursor", page.Next)
		}
	}
}

// signed reads amounts below zero, which nobody may send, but which the account
// that credits are issued from has.
var signed = fastjson.WithUnmarshalers(fastjson.UnmarshalFromFunc(func(d *jsontext.Decoder, m *core.Money) error {
	if d.PeekKind() != '"' {
		return errors.ErrUnsupported // the type's own reader says what is wrong
	}
	raw, err := d.ReadValue()
	if err != nil {
		return err
	}
	text := raw[1 : len(raw)-1] // what needs escapes is no amount
	amount, below := bytes.CutPrefix(text, []byte("-"))
	if err := m.UnmarshalText(amount); err != nil {
		return err
	}
	if below {
		*m = -*m
	}
	return nil
}))

// Collect gathers what an iterator yields, up to its first error.
func Collect[T any](seq iter.Seq2[T, error]) ([]T, error) {
	var out []T
	for v, err := range seq {
		if err != nil {
			return out, err
		}
		out = append(out, v)
	}
	return out, nil
}
