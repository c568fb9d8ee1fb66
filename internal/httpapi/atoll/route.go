package atoll

import (
	"context"
	"encoding"
	stdjson "encoding/json"
	"io"
	"net/http"
	"reflect"
	"strconv"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/go-json-experiment/json"

	"atoll/api"
	"atoll/internal/auth"
	"atoll/internal/core"
)

// route is one operation: what the document says of it, and how it is guarded.
type route struct {
	method, path string
	id, summary  string
	about        string // more than fits the summary
	tag          string
	scope        string // needed of the key; or open, public
	status       int    // of success; default 200
	produces     string // content type of an answer that is not JSON
	pattern      string // for the mux, where it differs from path
	// serve, if set, replaces huma's handling; the types given to add still
	// document the route.
	serve handler
	// fail, if set, writes errors in place of problem documents.
	fail func(http.ResponseWriter, *api.Problem)
}

// Scopes of routes that need no key.
const (
	open   = "open"   // health, metrics, and what is published for all
	public = "public" // anyone may ask, each address at a limited rate
)

// handler is a plain handler; p is nil on routes that need no key.
type handler func(w http.ResponseWriter, r *http.Request, p *auth.Principal)

// Inputs and outputs that many handlers share.
type (
	none struct{}

	reply[T any] struct{ Body T }

	created[T any] struct {
		Location string `header:"Location"`
		Body     T
	}

	list[T any] = reply[api.List[T]]

	// Paging is embedded in the inputs of lists.
	Paging struct {
		Cursor string `query:"cursor" maxLength:"512" doc:"next of the page before"`
		Limit  int    `query:"limit" minimum:"1" maximum:"1000" default:"100" doc:"rows of a page"`
	}
)

func (p Paging) page() Page { return Page(p) }

func replyOf[T any](body T, err error) (*reply[T], error) {
	if err != nil {
		return nil, err
	}
	return &reply[T]{body}, nil
}

// listOf answers with one page.
func listOf[T any](rows []T, next string, err error) (*list[T], error) {
	if err != nil {
		return nil, err
	}
	return &list[T]{api.List[T]{Object: "list", Data: rows, Next: next}}, nil
}

// pageOf cuts a page out of all rows. A cursor is the ID of the last row seen.
func pageOf[T any](rows []T, p Paging, id func(*T) string) (*list[T], error) {
	first := 0
	if p.Cursor != "" {
		for first = range rows {
			if id(&rows[first]) == p.Cursor {
				break
			}
		}
		if len(rows) == 0 || id(&rows[first]) != p.Cursor {
			return nil, badCursor()
		}
		first++
	}
	rows = rows[first:]
	next := ""
	if len(rows) > p.Limit {
		rows = rows[:p.Limit]
		next = id(&rows[p.Limit-1])
	}
	return listOf(rows, next, nil)
}

func badCursor() error {
	return core.Errorf(core.Invalid, "this is not a cursor of this list").At("cursor").WithHint("use the next value of the page before")
}

// param is a path or query parameter of a type with a text form. (huma reads
// types based on integers as integers, whatever text form they have.)
type param[T any] struct{ Value T }

func (p *param[T]) UnmarshalText(b []byte) error {
	return any(&p.Value).(encoding.TextUnmarshaler).UnmarshalText(b)
}

// add registers a route.
func add[I, O any](s *server, rt route, h func(context.Context, *I) (*O, error)) {
	s.routes[rt.id] = rt
	op := operation(rt, s.doc.OpenAPI().Components.Schemas)
	huma.Register(s.doc, op, func(ctx context.Context, in *I) (*O, error) {
		out, err := h(ctx, in)
		if err != nil {
			c := callOf(ctx)
			return nil, failure{s.prepare(c.w, c.r, err)}
		}
		return out, nil
	})
}

// addRaw registers a route that is served by its own plain handler. I and O only
// document it.
func addRaw[I, O any](s *server, rt route) { add[I, O](s, rt, nil) }

// addBody registers a route that takes a JSON body of type B, decoded as
// strictly as a task specification.
func addBody[I, B, O any](s *server, rt route, h func(context.Context, *I, *B) (*O, error)) {
	add(s, rt, func(ctx context.Context, in *I) (*O, error) {
		body := new(B)
		c := callOf(ctx)
		if err := s.readJSON(c.w, c.r, body); err != nil {
			return nil, err
		}
		return h(ctx, in, body)
	})
	schema := s.doc.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[B](), true, rt.id)
	documented(s.doc.OpenAPI(), rt).RequestBody = &huma.RequestBody{
		Required: true, Content: map[string]*huma.MediaType{"application/json": {Schema: schema}},
	}
}

// documented finds the operation of a route in the document.
func documented(o *huma.OpenAPI, rt route) *huma.Operation {
	item := o.Paths[rt.path]
	switch rt.method {
	case http.MethodGet:
		return item.Get
	case http.MethodPost:
		return item.Post
	case http.MethodPut:
		return item.Put
	default:
		return item.Delete
	}
}

// operation is the part of a route's documentation that is not in its types.
func operation(rt route, schemas huma.Registry) huma.Operation {
	op := huma.Operation{
		OperationID: rt.id, Method: rt.method, Path: rt.path, Summary: rt.summary, Description: rt.about,
		Tags: []string{rt.tag}, DefaultStatus: rt.status, RejectUnknownQueryParameters: true,
		Responses: map[string]*huma.Response{"default": {
			Description: "A problem document (RFC 9457)",
			Content:     map[string]*huma.MediaType{problemType: {Schema: schemas.Schema(reflect.TypeFor[api.Problem](), true, "")}},
		}},
		Security: []map[string][]string{},
	}
	if rt.scope != open && rt.scope != public {
		op.Security = []map[string][]string{{"key": {rt.scope}}}
	}
	if rt.produces != "" {
		status := max(rt.status, http.StatusOK)
		op.Responses[strconv.Itoa(status)] = &huma.Response{
			Description: http.StatusText(status),
			Content:     map[string]*huma.MediaType{rt.produces: {Schema: &huma.Schema{Type: "string", Format: "binary"}}},
		}
	}
	return op
}

// adapter mounts huma's handlers, guarded, on the server's mux.
type adapter struct{ *server }

func (a adapter) Handle(op *huma.Operation, h func(huma.Context)) {
	rt := a.routes[op.OperationID]
	serve := rt.serve
	if serve == nil {
		serve = func(w http.ResponseWriter, r *http.Request, p *auth.Principal) {
			c := &call{w: w, p: p}
			r = withCall(r, c)
			h(&humaContext{base: humago.NewContext(op, r, w), server: a.server, w: w, r: r})
		}
	}
	pattern := rt.pattern
	if pattern == "" {
		pattern = rt.path
	}
	a.mux.HandleFunc(rt.method+" "+pattern, a.guard(rt, serve))
}

// base is embedded under a name that does not hide the method Context.
type base = huma.Context

// humaContext lets humaProblem change the status that huma has chosen.
type humaContext struct {
	base
	server *server
	w      http.ResponseWriter
	r      *http.Request
	status int
}

func (c *humaContext) SetStatus(status int) {
	if c.status != 0 {
		status = c.status
	}
	c.base.SetStatus(status)
}

// newDocument starts the OpenAPI document and the router behind it.
func newDocument(s *server) huma.API {
	format := huma.Format{
		Marshal:   func(w io.Writer, v any) error { return json.MarshalWrite(w, v, wire) },
		Unmarshal: api.Decode,
	}
	return huma.NewAPI(huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI: "3.1.0",
			Info: &huma.Info{
				Title: "Atoll", Version: s.cfg.Version,
				Description: "Submit AI work to machines of many owners; every result comes with a receipt that a stranger can check.",
				License:     &huma.License{Name: "Apache-2.0", Identifier: "Apache-2.0"},
			},
			Components: &huma.Components{SecuritySchemes: map[string]*huma.SecurityScheme{
				"key": {Type: "http", Scheme: "bearer", Description: "An API key with the scope named: admin, requester, read or node. admin implies requester, requester implies read."},
			}},
		},
		DefaultFormat: "application/json",
		Formats:       map[string]huma.Format{"application/json": format, "json": format}, // json: also as a suffix
		Transformers:  []huma.Transformer{humaProblem},
	}, adapter{s})
}

// finishDocument writes the document, without the error types of huma's own
// that no answer has.
func finishDocument(o *huma.OpenAPI) ([]byte, error) {
	delete(o.Components.Schemas.Map(), "ErrorModel")
	delete(o.Components.Schemas.Map(), "ErrorDetail")
	return stdjson.MarshalIndent(o, "", "  ")
}
