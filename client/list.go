package client

import (
	"context"
	"errors"
	"iter"
	"maps"
	"net/url"

	"atoll/api"
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
			if err := c.ask(ctx, k, &page); err != nil {
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
