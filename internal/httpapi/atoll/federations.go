package atoll

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"atoll/api"
	"atoll/internal/auth"
	"atoll/internal/core"
	"atoll/internal/fed"
)

// Federations is what the API needs of federated learning; internal/fed/server
// implements it. Errors carry a core.Kind.
type Federations interface {
	// Roster and Begin take a specification in JSON.
	Roster(ctx context.Context, v Viewer, spec []byte) (api.FederationRoster, error)
	Begin(ctx context.Context, v Viewer, spec []byte) (api.Federation, error)
	Federation(ctx context.Context, v Viewer, id core.FederationID) (api.Federation, error)
	Federations(ctx context.Context, v Viewer, p Page) ([]api.Federation, string, error)
	Rounds(ctx context.Context, v Viewer, id core.FederationID, p Page) ([]api.FederationRound, string, error)
	Receipt(ctx context.Context, v Viewer, id core.FederationID, round int) ([]byte, error)
	Model(ctx context.Context, v Viewer, id core.FederationID) ([]byte, error)
	Card(ctx context.Context, v Viewer, id core.FederationID) ([]byte, error)
	Pause(ctx context.Context, v Viewer, id core.FederationID) (api.Federation, error)
	Resume(ctx context.Context, v Viewer, id core.FederationID) (api.Federation, error)
	Stop(ctx context.Context, v Viewer, id core.FederationID) (api.Federation, error)

	// For nodes. Poll returns no order if there is none before ctx ends.
	Poll(ctx context.Context, node core.NodeID, report *api.SiteReport) (core.FederationID, *fed.Order, error)
	SiteRoster(ctx context.Context, node core.NodeID, id core.FederationID) (api.SiteRoster, error)
	Reply(ctx context.Context, node core.NodeID, id core.FederationID, body io.Reader) error
}

// FederationHeader names the federation that an order is of.
const FederationHeader = "Atoll-Federation"

// pollFor bounds for how long a node's request for orders is held open.
const pollFor = 20 * time.Second

type (
	// FederationPath is embedded in the inputs of a federation's routes.
	FederationPath struct {
		ID param[core.FederationID] `path:"id" doc:"fed_…"`
	}

	federationRounds struct {
		FederationPath
		Paging
	}

	federationRound struct {
		FederationPath
		Round int `path:"round" minimum:"1"`
	}

	rawInput struct{ RawBody []byte }

	federationReply struct {
		FederationPath
		RawBody []byte
	}
)

func (s *server) addFederations() {
	const tag, path = "federations", "/v1/federations/{id}"
	hub := s.cfg.Federations
	addSpec(s, route{method: "POST", path: "/v1/federations", id: "begin-federation", tag: tag, scope: auth.Requester, status: http.StatusCreated,
		summary: "Train a model over rows that stay with their owners", about: "The body is the specification: see docs/federation.md. It begins over the nodes that offer the dataset now; 503 if they are too few, with the reason for each."},
		func(ctx context.Context, spec []byte) (*created[api.Federation], error) {
			f, err := hub.Begin(ctx, viewer(ctx), spec)
			if err != nil {
				return nil, err
			}
			return &created[api.Federation]{"/v1/federations/" + f.ID.String(), f}, nil
		})
	addSpec(s, route{method: "POST", path: "/v1/federations/roster", id: "get-federation-roster", tag: tag, scope: auth.Requester,
		summary: "See who would take part in a federation", about: "With the digests of their keys, which owners pin. Nothing begins."},
		func(ctx context.Context, spec []byte) (*reply[api.FederationRoster], error) {
			return replyOf(hub.Roster(ctx, viewer(ctx), spec))
		})
	add(s, route{method: "GET", path: "/v1/federations", id: "list-federations", tag: tag, scope: auth.Read, summary: "List federations", about: "One's own, newest first."},
		func(ctx context.Context, in *Paging) (*list[api.Federation], error) {
			return listOf(hub.Federations(ctx, viewer(ctx), in.page()))
		})
	add(s, route{method: "GET", path: path, id: "get-federation", tag: tag, scope: auth.Read, summary: "Get a federation"},
		func(ctx context.Context, in *FederationPath) (*reply[api.Federation], error) {
			return replyOf(hub.Federation(ctx, viewer(ctx), in.ID.Value))
		})
	add(s, route{method: "GET", path: path + "/rounds", id: "list-federation-rounds", tag: tag, scope: auth.Read, summary: "List the rounds that are over"},
		func(ctx context.Context, in *federationRounds) (*list[api.FederationRound], error) {
			return listOf(hub.Rounds(ctx, viewer(ctx), in.ID.Value, in.page()))
		})
	add(s, route{method: "GET", path: path + "/rounds/{round}/receipt", id: "get-federation-receipt", tag: tag, scope: auth.Read, produces: bundleType,
		summary: "Get the receipt of a round", about: "A Sigstore bundle: who was in the sum, its digest, and the parameters before and after. 503 until a checkpoint of the log covers it."},
		func(ctx context.Context, in *federationRound) (*raw, error) {
			b, err := hub.Receipt(ctx, viewer(ctx), in.ID.Value, in.Round)
			return rawOf(bundleType, b, err)
		})
	add(s, route{method: "GET", path: path + "/model", id: "get-federation-model", tag: tag, scope: auth.Read, produces: "application/octet-stream",
		summary: "Get the model", about: "As it is after the newest round that is over, with its lineage in its header."},
		func(ctx context.Context, in *FederationPath) (*raw, error) {
			b, err := hub.Model(ctx, viewer(ctx), in.ID.Value)
			return rawOf("application/octet-stream", b, err)
		})
	add(s, route{method: "GET", path: path + "/card", id: "get-federation-card", tag: tag, scope: auth.Read, produces: "text/markdown",
		summary: "Get the model's card", about: "What it is for, what it was trained on, how it fares, and what was told of whom."},
		func(ctx context.Context, in *FederationPath) (*raw, error) {
			b, err := hub.Card(ctx, viewer(ctx), in.ID.Value)
			return rawOf("text/markdown; charset=utf-8", b, err)
		})
	for _, c := range []struct {
		verb, summary, about string
		do                   func(context.Context, Viewer, core.FederationID) (api.Federation, error)
	}{
		{"pause", "Have a federation wait", "Its deadlines stand still.", hub.Pause},
		{"resume", "Have a federation go on that was paused", "", hub.Resume},
		{"stop", "End a federation", "Its rounds stay, and the model that they have come to.", hub.Stop},
	} {
		add(s, route{method: "POST", path: path + "/" + c.verb, id: c.verb + "-federation", tag: tag, scope: auth.Requester, summary: c.summary, about: c.about},
			func(ctx context.Context, in *FederationPath) (*reply[api.Federation], error) {
				return replyOf(c.do(ctx, viewer(ctx), in.ID.Value))
			})
	}
	s.addFederationSites()
}

// addFederationSites registers what nodes with datasets use.
func (s *server) addFederationSites() {
	const tag, octets = "for nodes", "application/octet-stream"
	addRaw[rawInput, reply[[]byte]](s, route{method: "POST", path: "/v1/node/federations/orders", id: "get-federation-order", tag: tag, scope: auth.Node, produces: octets,
		summary: "Ask for an order of a federation", about: "Says which datasets federations may learn from here. Held open until there is an order; 204 after some seconds without. The header " + FederationHeader + " names the federation.", serve: s.federationOrder})
	add(s, route{method: "GET", path: "/v1/node/federations/{id}", id: "get-federation-terms", tag: tag, scope: auth.Node, summary: "See the terms of a federation that the node takes part in"},
		func(ctx context.Context, in *FederationPath) (*reply[api.SiteRoster], error) {
			return replyOf(s.cfg.Federations.SiteRoster(ctx, callOf(ctx).p.Node, in.ID.Value))
		})
	addRaw[federationReply, none](s, route{method: "POST", path: "/v1/node/federations/{id}/replies", id: "reply-to-federation", tag: tag, scope: auth.Node, status: http.StatusNoContent,
		summary: "Reply to an order", about: "204 once it is stored; to say it again changes nothing. 409 if nobody waits for it any more.", serve: s.federationReply})
}

// addSpec registers a route that takes a federation's specification, whose form is not
// this package's.
func addSpec[O any](s *server, rt route, h func(ctx context.Context, spec []byte) (*O, error)) {
	add(s, rt, func(ctx context.Context, _ *none) (*O, error) {
		c := callOf(ctx)
		var buf bytes.Buffer
		if err := s.readBody(c.w, c.r, &buf, fed.MaxSpec); err != nil {
			return nil, err
		}
		return h(ctx, buf.Bytes())
	})
	documented(s.doc.OpenAPI(), rt).RequestBody = &huma.RequestBody{
		Required: true, Content: map[string]*huma.MediaType{"application/json": {Schema: &huma.Schema{Type: "object"}}},
	}
}

func (s *server) federationOrder(w http.ResponseWriter, r *http.Request, p *auth.Principal) {
	report := new(api.SiteReport)
	err := s.readJSON(w, r, report)
	var id core.FederationID
	var o *fed.Order
	if err == nil {
		ctx, cancel := context.WithTimeout(r.Context(), pollFor)
		defer cancel()
		id, o, err = s.cfg.Federations.Poll(ctx, p.Node, report)
	}
	var b []byte
	if err == nil && o != nil {
		b, err = o.AppendBinary(nil)
	}
	switch {
	case err != nil:
		s.fail(w, r, err)
	case o == nil:
		w.WriteHeader(http.StatusNoContent)
	default:
		w.Header().Set(FederationHeader, id.String())
		s.streamTo(w, r, func(st *Stream) error {
			_, err := st.Write(b)
			return err
		})
	}
}

func (s *server) federationReply(w http.ResponseWriter, r *http.Request, p *auth.Principal) {
	var id core.FederationID
	err := id.UnmarshalText([]byte(r.PathValue("id")))
	if err != nil {
		err = core.Errorf(core.Invalid, "%w", err).At("id")
	}
	if err == nil {
		err = checkEncoding(w, r.Header)
	}
	if err == nil {
		body := s.upload(w, r, s.cfg.MaxResult)
		err = body.done(s.cfg.Federations.Reply(r.Context(), p.Node, id, body))
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}
