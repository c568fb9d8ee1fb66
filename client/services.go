package client

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"

	"atoll/api"
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

// Post sends JSON to any path of the hub, such as one of the OpenAI API, and returns
// the answer to be read and closed, as it comes. Nothing is sent twice.
func (c *Client) Post(ctx context.Context, path string, body []byte) (io.ReadCloser, error) {
	res, err := c.open(ctx, call{method: http.MethodPost, path: path, body: body})
	if err != nil {
		return nil, err
	}
	return res.Body, nil
}

// openAIError is how the OpenAI API tells errors.
type openAIError struct {
	Error struct {
		Message string `json:"message"`
		Type    string `json:"type"`
		Param   string `json:"param"`
	} `json:"error"`
}

// problem is the error as the hub's own API would tell it.
func (e *openAIError) problem() *api.Problem {
	return &api.Problem{Type: "about:blank", Title: e.Error.Type, Detail: e.Error.Message, Field: e.Error.Param}
}
