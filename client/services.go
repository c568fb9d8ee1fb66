package client

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"net/http"
	"net/url"

	"atoll/api"
	"atoll/internal/openaiwire"
)

func servicePath(name string) string { return "/v1/services/" + url.PathEscape(name) }

// PutService serves a model under a name of the OpenAI API, or changes how.
func (c *Client) PutService(ctx context.Context, name string, spec api.ServiceSpec) (s api.Service, err error) {
	body, err := json.Marshal(spec)
	if err != nil {
		return s, fmt.Errorf("service: %w", err)
	}
	return s, c.ask(ctx, call{method: http.MethodPut, path: servicePath(name), body: body, safe: true}, &s)
}

// Services lists all services.
func (c *Client) Services(ctx context.Context) iter.Seq2[api.Service, error] {
	return list[api.Service](ctx, c, "/v1/services", nil)
}

// Service returns a service.
func (c *Client) Service(ctx context.Context, name string) (s api.Service, err error) {
	return s, c.ask(ctx, get(servicePath(name), nil), &s)
}

// DeleteService ends a service; its model stays.
func (c *Client) DeleteService(ctx context.Context, name string) error {
	return c.ask(ctx, call{method: http.MethodDelete, path: servicePath(name)}, nil)
}

// Stream asks a path of the OpenAI API for a streamed answer, with the given body,
// and yields the JSON of each event as it comes. What is yielded is valid until the
// next.
func (c *Client) Stream(ctx context.Context, path string, body []byte) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		res, err := c.open(ctx, call{method: http.MethodPost, path: path, body: body, accept: "text/event-stream"})
		if err != nil {
			yield(nil, err)
			return
		}
		defer res.Body.Close()
		for event, err := range openaiwire.Events(res.Body) {
			if err == nil {
				err = failedEvent(event)
			}
			if !yield(event, err) || err != nil {
				return
			}
		}
	}
}

// failedEvent is the error that an event tells, if it does.
func failedEvent(event []byte) error {
	var e openaiwire.ErrorBody
	if json.Unmarshal(event, &e) != nil || e.Error.Message == "" {
		return nil
	}
	return openAIProblem(&e.Error)
}

// openAIProblem is an error of the OpenAI API as the hub's own API would tell it.
func openAIProblem(e *openaiwire.Error) *api.Problem {
	p := &api.Problem{Type: "about:blank", Title: e.Type, Detail: e.Message}
	if e.Param != nil {
		p.Field = *e.Param
	}
	return p
}
