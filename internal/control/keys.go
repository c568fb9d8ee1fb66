package control

import (
	"context"
	"errors"
	"slices"
	"strings"

	"atoll/api"
	"atoll/internal/auth"
	"atoll/internal/core"
	"atoll/internal/identity"
	"atoll/internal/store"
)

// keyDoc is what is stored of an API key; the key itself is not.
type keyDoc struct {
	ID        string         `json:"id"`
	Hash      core.Digest    `json:"hash"`
	Account   core.AccountID `json:"account"`
	Node      core.NodeID    `json:"node,omitempty"`
	Scopes    []string       `json:"scopes"`
	CreatedMs int64          `json:"created"`
}

// CreateKey makes an API key; its secret is in the answer and nowhere else.
func (c *Control) CreateKey(ctx context.Context, account core.AccountID, scopes []string) (api.APIKey, error) {
	for _, s := range scopes {
		if !slices.Contains([]string{"admin", "requester", "read"}, s) {
			return api.APIKey{}, core.Errorf(core.Invalid, "scope %.40q: want admin, requester or read", s).At("scopes")
		}
	}
	if len(scopes) == 0 {
		return api.APIKey{}, core.Errorf(core.Invalid, "a key needs at least one scope").At("scopes")
	}
	var out api.APIKey
	err := c.job(ctx, func(b *batch) error {
		if c.accounts[account] == nil {
			return core.Errorf(core.NotFound, "no account %s", account).At("account")
		}
		out = b.newKey(account, "", scopes)
		return nil
	})
	return out, err
}

func (b *batch) newKey(account core.AccountID, node core.NodeID, scopes []string) api.APIKey {
	secret := identity.NewAPIKey()
	d := keyDoc{ID: secret.Hash().Hex()[:16], Hash: secret.Hash(), Account: account, Node: node, Scopes: scopes, CreatedMs: b.now}
	b.tx.PutKey(d.ID, d.Hash, d)
	return api.APIKey{ID: d.ID, Account: account, Scopes: scopes, CreatedAt: moment(b.now), Secret: string(secret)}
}

// Keys lists all API keys by ID, without their secrets.
func (c *Control) Keys(ctx context.Context) ([]api.APIKey, error) {
	rows, err := store.Docs[keyDoc](ctx, c.store, "keys")
	out := make([]api.APIKey, 0, len(rows))
	for _, d := range rows {
		out = append(out, api.APIKey{ID: d.ID, Account: d.Account, Node: d.Node, Scopes: d.Scopes, CreatedAt: moment(d.CreatedMs)})
	}
	slices.SortFunc(out, func(a, b api.APIKey) int { return strings.Compare(a.ID, b.ID) })
	return out, err
}

// RevokeKey makes a key useless. A mistyped ID is an error: nobody shall believe
// that a lost key is void when it is not.
func (c *Control) RevokeKey(ctx context.Context, id string) error {
	keys, err := store.Docs[keyDoc](ctx, c.store, "keys")
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(keys, func(k *keyDoc) bool { return k.ID == id }) {
		return core.Errorf(core.NotFound, "no key has the ID %.80q", id).WithHint("GET /v1/keys lists them")
	}
	return c.job(ctx, func(b *batch) error {
		b.tx.DeleteKey(id)
		return nil
	})
}

// Authenticate finds whom a key belongs to.
func (c *Control) Authenticate(ctx context.Context, key string) (auth.Principal, error) {
	unknown := core.Errorf(core.Unauthorized, "the API key is not known").WithHint("send Authorization: Bearer atl_key_…")
	tok, err := identity.ParseToken(identity.APIKey, key)
	if err != nil {
		return auth.Principal{}, unknown
	}
	var d keyDoc
	switch err := c.store.Key(ctx, tok.Hash(), &d); {
	case errors.Is(err, store.ErrNoRow):
		return auth.Principal{}, unknown
	case err != nil:
		return auth.Principal{}, err
	}
	return auth.Principal{Account: d.Account, Node: d.Node, Scopes: d.Scopes, KeyID: d.ID}, nil
}
