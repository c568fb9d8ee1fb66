package client

import (
	"context"
	"iter"
	"net/http"
	"strconv"

	"atoll/api"
	"atoll/internal/core"
)

func federationPath(id core.FederationID, more string) string {
	return "/v1/federations/" + id.String() + more
}

// BeginFederation starts a federation by its specification, in JSON: see
// docs/federation.md.
func (c *Client) BeginFederation(ctx context.Context, spec []byte) (f api.Federation, err error) {
	return f, c.ask(ctx, call{method: http.MethodPost, path: "/v1/federations", body: spec}, &f)
}

// FederationRoster says who would take part in a federation now.
func (c *Client) FederationRoster(ctx context.Context, spec []byte) (r api.FederationRoster, err error) {
	return r, c.ask(ctx, call{method: http.MethodPost, path: "/v1/federations/roster", body: spec, safe: true}, &r)
}

// Federation returns a federation.
func (c *Client) Federation(ctx context.Context, id core.FederationID) (f api.Federation, err error) {
	return f, c.ask(ctx, get(federationPath(id, ""), nil), &f)
}

// Federations lists one's own, newest first.
func (c *Client) Federations(ctx context.Context) iter.Seq2[api.Federation, error] {
	return list[api.Federation](ctx, c, "/v1/federations", nil)
}

// FederationRounds lists the rounds that are over.
func (c *Client) FederationRounds(ctx context.Context, id core.FederationID) iter.Seq2[api.FederationRound, error] {
	return list[api.FederationRound](ctx, c, federationPath(id, "/rounds"), nil)
}

// FederationReceipt returns the receipt of a round as a Sigstore bundle.
func (c *Client) FederationReceipt(ctx context.Context, id core.FederationID, round int) ([]byte, error) {
	return c.bytes(ctx, get(federationPath(id, "/rounds/"+strconv.Itoa(round)+"/receipt"), nil))
}

// FederationModel returns the model's file as it stands.
func (c *Client) FederationModel(ctx context.Context, id core.FederationID) ([]byte, error) {
	return c.bytes(ctx, get(federationPath(id, "/model"), nil))
}

// FederationCard returns the model's card, in Markdown.
func (c *Client) FederationCard(ctx context.Context, id core.FederationID) ([]byte, error) {
	return c.bytes(ctx, get(federationPath(id, "/card"), nil))
}

// PauseFederation has a federation wait.
func (c *Client) PauseFederation(ctx context.Context, id core.FederationID) (api.Federation, error) {
	return c.changeFederation(ctx, id, "/pause")
}

// ResumeFederation has a federation go on that was paused.
func (c *Client) ResumeFederation(ctx context.Context, id core.FederationID) (api.Federation, error) {
	return c.changeFederation(ctx, id, "/resume")
}

// StopFederation ends a federation.
func (c *Client) StopFederation(ctx context.Context, id core.FederationID) (api.Federation, error) {
	return c.changeFederation(ctx, id, "/stop")
}

func (c *Client) changeFederation(ctx context.Context, id core.FederationID, verb string) (f api.Federation, err error) {
	return f, c.ask(ctx, call{method: http.MethodPost, path: federationPath(id, verb), safe: true}, &f)
}
