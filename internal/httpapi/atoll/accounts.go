package atoll

import (
	"context"
	"net/http"
	"time"

	"atoll/api"
	"atoll/internal/auth"
	"atoll/internal/core"
)

type (
	newAccount struct {
		ID     core.AccountID `json:"id" doc:"1 to 63 of a-z, 0-9 and -"`
		Credit core.Money     `json:"credit,omitzero" doc:"credits to start with"`
		Memo   string         `json:"memo,omitempty"`
	}

	newCredit struct {
		Amount core.Money `json:"amount"`
		Memo   string     `json:"memo,omitempty"`
	}

	newKey struct {
		Account core.AccountID `json:"account"`
		Scopes  []string       `json:"scopes" doc:"admin, requester, read"`
	}

	newJoinToken struct {
		Owner core.AccountID `json:"owner" doc:"account that is paid for what the nodes do"`
		Uses  *int           `json:"uses,omitzero" doc:"how many nodes may join; default 1"`
		TTL   api.Duration   `json:"ttl,omitzero" doc:"default 24h"`
	}

	creditInput struct {
		ID  string `path:"id"`
		Key string `header:"Idempotency-Key" maxLength:"255" doc:"the same key issues once"`
	}

	statementInput struct {
		Paging
		ID string `path:"id"`
	}

	keyInput struct {
		ID string `path:"id" maxLength:"64"`
	}
)

const defaultTokenTTL = api.Duration(24 * time.Hour)

func (s *server) addAccounts() {
	const tag = "accounts"
	add(s, route{method: "GET", path: "/v1/accounts", id: "list-accounts", tag: tag, scope: auth.Read, summary: "List accounts", about: "All for an admin, one's own otherwise."},
		func(ctx context.Context, in *Paging) (*list[api.Account], error) {
			rows, err := s.hub.Accounts(ctx, viewer(ctx))
			if err != nil {
				return nil, err
			}
			return pageOf(rows, *in, func(a *api.Account) string { return string(a.ID) })
		})
	addBody(s, route{method: "POST", path: "/v1/accounts", id: "create-account", tag: tag, scope: auth.Admin, status: http.StatusCreated, summary: "Open an account"},
		func(ctx context.Context, _ *none, in *newAccount) (*reply[api.Account], error) {
			return replyOf(s.hub.CreateAccount(ctx, in.ID, in.Credit, in.Memo))
		})
	addBody(s, route{method: "POST", path: "/v1/accounts/{id}/credit", id: "credit-account", tag: tag, scope: auth.Admin, summary: "Issue credits to an account"}, s.credit)
	add(s, route{method: "GET", path: "/v1/accounts/{id}/statement", id: "get-statement", tag: tag, scope: auth.Read, summary: "List an account's transfers, newest first"},
		func(ctx context.Context, in *statementInput) (*list[api.Transfer], error) {
			return listOf(s.hub.Statement(ctx, viewer(ctx), core.AccountID(in.ID), in.page()))
		})
	add(s, route{method: "GET", path: "/v1/webhook-keys", id: "get-webhook-keys", tag: tag, scope: auth.Requester, summary: "Get the keys that callbacks to one's account are verified with",
		about: "Callbacks are CloudEvents signed as Standard Webhooks demand: v1 with the account's secret, v1a with the hub's public key."},
		func(ctx context.Context, _ *none) (*reply[api.WebhookKeys], error) {
			return replyOf(s.hub.WebhookKeys(ctx, viewer(ctx)))
		})
	add(s, route{method: "GET", path: "/v1/ledger/audit", id: "audit-ledger", tag: tag, scope: auth.Admin, summary: "Check the ledger's invariants over all of it"},
		func(ctx context.Context, _ *none) (*reply[api.Audit], error) { return replyOf(s.hub.Audit(ctx)) })
	add(s, route{method: "GET", path: "/v1/keys", id: "list-keys", tag: tag, scope: auth.Admin, summary: "List API keys", about: "Without their secrets, which nobody has kept."},
		func(ctx context.Context, in *Paging) (*list[api.APIKey], error) {
			rows, err := s.hub.Keys(ctx)
			if err != nil {
				return nil, err
			}
			return pageOf(rows, *in, func(k *api.APIKey) string { return k.ID })
		})
	addBody(s, route{method: "POST", path: "/v1/keys", id: "create-key", tag: tag, scope: auth.Admin, status: http.StatusCreated, summary: "Make an API key", about: "Its secret is in the answer and nowhere else."},
		func(ctx context.Context, _ *none, in *newKey) (*reply[api.APIKey], error) {
			return replyOf(s.hub.CreateKey(ctx, in.Account, in.Scopes))
		})
	add(s, route{method: "DELETE", path: "/v1/keys/{id}", id: "revoke-key", tag: tag, scope: auth.Admin, status: http.StatusNoContent, summary: "Revoke an API key"},
		func(ctx context.Context, in *keyInput) (*none, error) {
			if err := s.hub.RevokeKey(ctx, in.ID); err != nil {
				return nil, err
			}
			s.forget(func(p *auth.Principal) bool { return p.KeyID == in.ID })
			return &none{}, nil
		})
	addBody(s, route{method: "POST", path: "/v1/join-tokens", id: "create-join-token", tag: tag, scope: auth.Admin, status: http.StatusCreated, summary: "Make a token with which nodes join for an owner"},
		func(ctx context.Context, _ *none, in *newJoinToken) (*reply[api.JoinToken], error) {
			uses := 1
			if in.Uses != nil {
				uses = *in.Uses
			}
			setDefault(&in.TTL, defaultTokenTTL)
			return replyOf(s.hub.CreateJoinToken(ctx, in.Owner, uses, in.TTL))
		})
}

func (s *server) credit(ctx context.Context, in *creditInput, body *newCredit) (*reply[api.Account], error) {
	if body.Amount <= 0 {
		return nil, core.Errorf(core.Invalid, "want more than 0 credits").At("amount")
	}
	key, err := idempotencyKey(callOf(ctx).r.Header)
	if err != nil {
		return nil, err
	}
	return replyOf(s.hub.Credit(ctx, core.AccountID(in.ID), body.Amount, key, body.Memo))
}
