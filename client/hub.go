package client

import (
	"context"
	"io"
	"iter"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"atoll/api"
	"atoll/internal/core"
)

// OfferQuery filters and sorts the market's offers. Zero fields do not filter.
type OfferQuery struct {
	Country        string
	Engine         string
	Selector       string // of labels, in Kubernetes syntax
	MaxPrice       core.Money
	MinReliability float64 // of the 5th percentile
	Sort           string  // price (default), p50, p99 or reliability; with - in front: descending
}

// Offers lists the nodes that can be had now.
func (c *Client) Offers(ctx context.Context, o OfferQuery) iter.Seq2[api.Offer, error] {
	q := url.Values{}
	for k, v := range map[string]string{"country": o.Country, "engine": o.Engine, "selector": o.Selector, "sort": o.Sort} {
		if v != "" {
			q.Set(k, v)
		}
	}
	if o.MaxPrice > 0 {
		q.Set("max_price", o.MaxPrice.String())
	}
	if o.MinReliability > 0 {
		q.Set("min_reliability", strconv.FormatFloat(o.MinReliability, 'f', -1, 64))
	}
	return list[api.Offer](ctx, c, "/v1/market/offers", q)
}

// Nodes lists all nodes that have joined.
func (c *Client) Nodes(ctx context.Context) iter.Seq2[api.Node, error] {
	return list[api.Node](ctx, c, "/v1/nodes", nil)
}

// OwnNode returns the node whose key the client has: what a node that has joined
// may see of itself.
func (c *Client) OwnNode(ctx context.Context) (n api.Node, err error) {
	return n, c.ask(ctx, get("/v1/node", nil), &n)
}

// Drain stops giving a node new leases, or resumes it.
func (c *Client) Drain(ctx context.Context, id core.NodeID, on bool) (n api.Node, err error) {
	k, err := post("/v1/nodes/"+url.PathEscape(string(id))+"/drain", map[string]bool{"on": on})
	if err != nil {
		return n, err
	}
	k.safe = true
	return n, c.ask(ctx, k, &n)
}

// RevokeNode locks a node out for good; its leases go elsewhere.
func (c *Client) RevokeNode(ctx context.Context, id core.NodeID) error {
	return c.ask(ctx, call{method: http.MethodDelete, path: "/v1/nodes/" + url.PathEscape(string(id)), safe: true}, nil)
}

// PutBlob uploads bytes, to be named by their digest in inputs and models.
func (c *Client) PutBlob(ctx context.Context, data []byte) (b api.Blob, err error) {
	if data == nil {
		data = []byte{}
	}
	return b, c.ask(ctx, call{method: http.MethodPost, path: "/v1/blobs", body: data, kind: "application/octet-stream", safe: true}, &b)
}

// PutFile is PutBlob for what is too large for memory: the first size bytes of r.
func (c *Client) PutFile(ctx context.Context, r io.ReaderAt, size int64) (b api.Blob, err error) {
	return b, c.ask(ctx, call{method: http.MethodPost, path: "/v1/blobs", file: io.NewSectionReader(r, 0, size), kind: "application/octet-stream", safe: true}, &b)
}

// NewModel registers bytes that PutBlob has stored.
type NewModel struct {
	Name        string      `json:"name"`
	Engine      string      `json:"engine"`
	Digest      core.Digest `json:"digest"`
	Description string      `json:"description,omitempty"`
}

// RegisterModel gives stored bytes a name and its next version. The same bytes
// under the same name are the same version.
func (c *Client) RegisterModel(ctx context.Context, m NewModel) (out api.Model, err error) {
	k, err := post("/v1/models", m)
	if err != nil {
		return out, err
	}
	k.safe = true
	return out, c.ask(ctx, k, &out)
}

// Model finds a model by name@version, or the latest by name.
func (c *Client) Model(ctx context.Context, id string) (m api.Model, err error) {
	return m, c.ask(ctx, get("/v1/models/"+url.PathEscape(id), nil), &m)
}

// Models lists all versions of all models.
func (c *Client) Models(ctx context.Context) iter.Seq2[api.Model, error] {
	return list[api.Model](ctx, c, "/v1/models", nil)
}

// Receipt returns a node's receipt for a lease, a Sigstore bundle. Problem 503
// for the moment until the log's next checkpoint covers it is waited out.
func (c *Client) Receipt(ctx context.Context, lease core.LeaseID) ([]byte, error) {
	return c.bytes(ctx, get("/v1/receipts/"+lease.String(), nil))
}

// Verdict returns the hub's verdict on a lease, a Sigstore bundle.
func (c *Client) Verdict(ctx context.Context, lease core.LeaseID) ([]byte, error) {
	return c.bytes(ctx, get("/v1/receipts/"+lease.String()+"/verdict", nil))
}

// TrustedRoot returns what the hub's log is checked with, as Sigstore's
// trusted root.
func (c *Client) TrustedRoot(ctx context.Context) ([]byte, error) {
	return c.bytes(ctx, get("/.well-known/atoll/trusted-root.json", nil))
}

// SigningKeys returns the public keys of the hub and of its nodes.
func (c *Client) SigningKeys(ctx context.Context) (k api.SigningKeys, err error) {
	return k, c.ask(ctx, get("/.well-known/atoll/keys.json", nil), &k)
}

// Checkpoint returns the log's newest checkpoint, a C2SP signed note.
func (c *Client) Checkpoint(ctx context.Context) ([]byte, error) {
	return c.bytes(ctx, get("/v1/log/checkpoint", nil))
}

// Metrics returns the hub's metrics in Prometheus' text format.
func (c *Client) Metrics(ctx context.Context) ([]byte, error) {
	return c.bytes(ctx, get("/metrics", nil))
}

// Health is what a hub says of itself.
type Health struct {
	Ready bool
	// Detail is what it still waits for.
	Detail string
	// Clock is the hub's clock at the answer, to the second; zero if not told.
	Clock time.Time
}

// Ready asks once whether the hub can take tasks.
func (c *Client) Ready(ctx context.Context) (Health, error) {
	res, err := c.once(ctx, get("/readyz", nil))
	if p, ok := asProblem(err); ok && p.Status == http.StatusServiceUnavailable {
		return Health{Detail: p.Error()}, nil
	}
	if err != nil {
		return Health{}, err
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, 1<<16)) // to reuse the connection
	clock, _ := http.ParseTime(res.Header.Get("Date"))
	return Health{Ready: true, Clock: clock}, nil
}

// Scopes finds out what the client's key may do: admin, requester, read. It
// sends what no hub can accept, and looks whether the form or the key is refused.
func (c *Client) Scopes(ctx context.Context) ([]string, error) {
	nothing := []byte("[]")
	probes := []struct {
		scope string
		ask   call
	}{
		{"admin", call{method: http.MethodPost, path: "/v1/keys", body: nothing, safe: true}},
		{"requester", call{method: http.MethodPost, path: "/v1/submit-task", body: nothing, safe: true}},
		{"read", get("/v1/models", url.Values{"limit": {"1"}})},
	}
	var scopes []string
	for _, p := range probes {
		err := c.ask(ctx, p.ask, nil)
		refused, ok := asProblem(err)
		switch {
		case err == nil, ok && refused.Status == http.StatusBadRequest:
			scopes = append(scopes, p.scope)
		case !ok || refused.Status != http.StatusForbidden:
			return nil, err
		}
	}
	slices.Sort(scopes)
	return scopes, nil
}

// Accounts lists balances: all for an admin, one's own otherwise.
func (c *Client) Accounts(ctx context.Context) iter.Seq2[api.Account, error] {
	return list[api.Account](ctx, c, "/v1/accounts", nil)
}

// CreateAccount opens an account with some credit, or none.
func (c *Client) CreateAccount(ctx context.Context, id core.AccountID, credit core.Money, memo string) (a api.Account, err error) {
	in := struct {
		ID     core.AccountID `json:"id"`
		Credit core.Money     `json:"credit,omitzero"`
		Memo   string         `json:"memo,omitempty"`
	}{id, credit, memo}
	k, err := post("/v1/accounts", in)
	if err != nil {
		return a, err
	}
	return a, c.ask(ctx, k, &a)
}

// Credit issues credits to an account. The same key issues once; an empty one
// is filled in.
func (c *Client) Credit(ctx context.Context, id core.AccountID, amount core.Money, key, memo string) (a api.Account, err error) {
	in := struct {
		Amount core.Money `json:"amount"`
		Memo   string     `json:"memo,omitempty"`
	}{amount, memo}
	k, err := post("/v1/accounts/"+url.PathEscape(string(id))+"/credit", in)
	if err != nil {
		return a, err
	}
	k.idempotent(key)
	return a, c.ask(ctx, k, &a)
}

// Statement lists an account's transfers, newest first.
func (c *Client) Statement(ctx context.Context, id core.AccountID) iter.Seq2[api.Transfer, error] {
	return list[api.Transfer](ctx, c, "/v1/accounts/"+url.PathEscape(string(id))+"/statement", nil)
}

// Keys lists the hub's API keys, without their secrets.
func (c *Client) Keys(ctx context.Context) iter.Seq2[api.APIKey, error] {
	return list[api.APIKey](ctx, c, "/v1/keys", nil)
}

// CreateKey makes an API key; its secret is in the answer and nowhere else.
func (c *Client) CreateKey(ctx context.Context, account core.AccountID, scopes ...string) (out api.APIKey, err error) {
	in := struct {
		Account core.AccountID `json:"account"`
		Scopes  []string       `json:"scopes"`
	}{account, scopes}
	k, err := post("/v1/keys", in)
	if err != nil {
		return out, err
	}
	return out, c.ask(ctx, k, &out)
}

// RevokeKey makes a key useless.
func (c *Client) RevokeKey(ctx context.Context, id string) error {
	return c.ask(ctx, call{method: http.MethodDelete, path: "/v1/keys/" + url.PathEscape(id), safe: true}, nil)
}

// CreateJoinToken makes a token with which so many nodes may join for an owner.
func (c *Client) CreateJoinToken(ctx context.Context, owner core.AccountID, uses int, ttl time.Duration) (out api.JoinToken, err error) {
	in := struct {
		Owner core.AccountID `json:"owner"`
		Uses  int            `json:"uses"`
		TTL   api.Duration   `json:"ttl"`
	}{owner, uses, api.Duration(ttl)}
	k, err := post("/v1/join-tokens", in)
	if err != nil {
		return out, err
	}
	return out, c.ask(ctx, k, &out)
}

// Audit has the hub check its whole ledger against its rules and its log.
func (c *Client) Audit(ctx context.Context) (a api.Audit, err error) {
	return a, c.ask(ctx, get("/v1/ledger/audit", nil), &a)
}
