package control

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"atoll/api"
	"atoll/internal/auth"
	"atoll/internal/core"
	"atoll/internal/identity"
	"atoll/internal/ledger"
	"atoll/internal/receipt"
	"atoll/internal/request"
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

// tokenDoc is what is stored of a join token.
type tokenDoc struct {
	Hash      core.Digest    `json:"hash"`
	Owner     core.AccountID `json:"owner"`
	Uses      int            `json:"uses"` // left
	ExpiresMs int64          `json:"expires"`
}

// Accounts lists balances: all for an admin, one's own otherwise.
func (c *Control) Accounts(ctx context.Context, v request.Viewer) ([]api.Account, error) {
	rows, err := c.store.Accounts(ctx)
	if err != nil {
		return nil, err
	}
	usage, err := c.store.Usage(ctx)
	out := []api.Account{}
	for _, a := range rows {
		if v.Admin || a.ID == v.Account {
			out = append(out, c.viewAccount(a, usage[a.ID]))
		}
	}
	return out, err
}

func (c *Control) viewAccount(a ledger.Account, stored int64) api.Account {
	return api.Account{ID: a.ID, Available: a.Available, Held: a.Held, CreatedAt: moment(a.CreatedMs), StoredBytes: stored, StorageLimit: c.quota.limit}
}

// CreateAccount opens an account, with credit if it is new.
func (c *Control) CreateAccount(ctx context.Context, id core.AccountID, credit core.Money, memo string) (api.Account, error) {
	if err := core.CheckName("account", string(id)); err != nil {
		return api.Account{}, core.Errorf(core.Invalid, "%w", err).At("id")
	}
	var out api.Account
	err := c.job(ctx, func(b *batch) error {
		if credit < 0 {
			return core.Errorf(core.Invalid, "want 0 credits or more").At("credit")
		}
		if c.accounts[id] != nil || id == ledger.Issuer {
			return core.Errorf(core.Conflict, "account %s exists", id).WithHint("add credit with POST /v1/accounts/" + string(id) + "/credit")
		}
		a := c.account(id, b.now)
		b.touchAccount(a)
		if credit > 0 {
			if err := b.issue(a, core.TransferID(c.ids.Next()), credit, memo); err != nil {
				return err
			}
		}
		out = c.viewAccount(*a, c.quota.change(id, 0, 0))
		return nil
	})
	return out, err
}

// Credit issues credits. The same key issues once.
func (c *Control) Credit(ctx context.Context, id core.AccountID, amount core.Money, key, memo string) (api.Account, error) {
	var out api.Account
	body := core.DigestOf(fmt.Appendf(nil, "credit %s %d", id, amount))
	err := c.job(ctx, func(b *batch) error {
		a := c.accounts[id]
		if a == nil || id == ledger.Issuer {
			return core.Errorf(core.NotFound, "no account %s", id)
		}
		if key != "" {
			if _, had, ok := b.tx.FindIdempotency(ledger.Issuer, key); ok {
				if had != body {
					return core.Errorf(core.Mismatch, "the Idempotency-Key was used for another credit")
				}
				out = c.viewAccount(*a, c.quota.change(id, 0, 0))
				return nil
			}
		}
		x := core.TransferID(c.ids.Next())
		if err := b.issue(a, x, amount, memo); err != nil {
			return err
		}
		if key != "" {
			b.tx.PutIdempotency(ledger.Issuer, key, core.TaskID(x), body)
		}
		out = c.viewAccount(*a, c.quota.change(id, 0, 0))
		return nil
	})
	return out, err
}

func (b *batch) issue(a *ledger.Account, id core.TransferID, amount core.Money, memo string) error {
	issuer := b.c.account(ledger.Issuer, b.now)
	tr := ledger.Transfer{ID: id, Ms: b.now, Kind: ledger.Issue, Debit: ledger.Issuer, Credit: a.ID, Amount: amount, Memo: core.Clip(memo, 200)}
	st, err := ledger.Apply(ledger.State{Debit: *issuer, Credit: *a}, tr)
	if err != nil {
		return err
	}
	*issuer, *a = st.Debit, st.Credit
	b.touchAccount(issuer)
	b.touchAccount(a)
	b.tx.PutTransfer(tr)
	return nil
}

// Statement lists an account's transfers, newest first.
func (c *Control) Statement(ctx context.Context, v request.Viewer, id core.AccountID, p request.Page) ([]api.Transfer, string, error) {
	if !v.Admin && v.Account != id {
		return nil, "", core.Errorf(core.NotFound, "no account %s", id)
	}
	c.mu.Lock()
	known := c.accounts[id] != nil
	c.mu.Unlock()
	if !known {
		return nil, "", core.Errorf(core.NotFound, "no account %s", id)
	}
	before := core.TransferID(1<<63 - 1)
	if p.Cursor != "" {
		if err := before.UnmarshalText([]byte(p.Cursor)); err != nil {
			return nil, "", badCursor(err)
		}
	}
	rows, err := c.store.Statement(ctx, id, before, p.Limit+1)
	next := ""
	if len(rows) > p.Limit {
		rows = rows[:p.Limit]
		next = rows[p.Limit-1].ID.String()
	}
	out := make([]api.Transfer, 0, len(rows))
	for _, t := range rows {
		out = append(out, api.Transfer{ID: t.ID, Time: moment(t.Ms), Kind: string(t.Kind), Debit: t.Debit, Credit: t.Credit, Amount: t.Amount, Task: t.Task, Lease: t.Lease, Memo: t.Memo})
	}
	return out, next, err
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

// CreateJoinToken makes a token with which nodes may join for an owner.
func (c *Control) CreateJoinToken(ctx context.Context, owner core.AccountID, uses int, ttl api.Duration) (api.JoinToken, error) {
	if uses < 1 || uses > 10_000 || ttl.Std() <= 0 || ttl.Std() > 365*24*time.Hour {
		return api.JoinToken{}, core.Errorf(core.Invalid, "a join token has 1 to 10000 uses and lives up to a year")
	}
	var out api.JoinToken
	err := c.job(ctx, func(b *batch) error {
		if c.accounts[owner] == nil || owner == ledger.Issuer {
			return core.Errorf(core.NotFound, "no account %s", owner).At("owner").WithHint("create the owner's account first")
		}
		secret := identity.NewJoinToken(c.cfg.CAPin)
		d := tokenDoc{Hash: secret.Hash(), Owner: owner, Uses: uses, ExpiresMs: b.now + ttl.Std().Milliseconds()}
		b.tx.PutToken(d.Hash, d)
		out = api.JoinToken{Token: string(secret), Owner: owner, ExpiresAt: moment(d.ExpiresMs), Uses: uses}
		return nil
	})
	return out, err
}

// Join admits a node for the owner behind its token. A node that joins again
// with the same key gets a new grant and keeps its record; a name that is taken
// by another key is refused.
func (c *Control) Join(ctx context.Context, req identity.JoinRequest) (identity.JoinGrant, error) {
	public, err := identity.VerifyJoin(req)
	if err != nil {
		return identity.JoinGrant{}, core.Errorf(core.Invalid, "%w", err)
	}
	signer, err := receipt.NewKey(public.ECDSA())
	if err != nil {
		return identity.JoinGrant{}, err
	}
	grant := c.cfg.Grant
	grant.Node, grant.ServerTime = req.Node, c.now().UnixMilli()
	if grant.UserJWT, err = c.cfg.Admit.IssueNode(req.Node, req.NkeyPublic); err != nil {
		return identity.JoinGrant{}, err
	}
	if c.cfg.IssueTLS != nil {
		cert, err := c.cfg.IssueTLS(req.Node, public)
		if err != nil {
			return identity.JoinGrant{}, err
		}
		grant.NodeCert = string(cert)
	}
	replaced := ""
	err = c.job(ctx, func(b *batch) error {
		var tok tokenDoc
		switch err := b.tx.FindToken(req.Token.Hash(), &tok); {
		case errors.Is(err, store.ErrNoRow):
			return core.Errorf(core.Unauthorized, "the join token is not known").WithHint("ask the hub's operator for one: atoll token create OWNER")
		case err != nil:
			return err
		}
		old := c.nodes[req.Node]
		switch {
		case tok.ExpiresMs < b.now:
			return core.Errorf(core.Unauthorized, "the join token has expired").WithHint("ask the hub's operator for a new one")
		case old != nil && old.doc.PublicKey != public.PEM():
			return core.Errorf(core.Conflict, "a node named %s has joined with another key", req.Node).At("node").WithHint("choose another --name")
		case old != nil && old.doc.Revoked:
			return core.Errorf(core.Forbidden, "node %s has been revoked", req.Node)
		case old != nil && old.doc.Owner != tok.Owner:
			return core.Errorf(core.Conflict, "node %s belongs to %s", req.Node, old.doc.Owner)
		case old == nil && tok.Uses < 1:
			return core.Errorf(core.Unauthorized, "the join token is used up").WithHint("ask the hub's operator for a new one")
		}
		d := nodeDoc{ID: req.Node, Owner: tok.Owner, JoinedMs: b.now}
		if old != nil {
			d = old.doc
			if replaced = d.Nkey; replaced == req.NkeyPublic {
				replaced = ""
			} else {
				d.OldNkeys = append(slices.Clone(d.OldNkeys), oldNkey{replaced, b.now})
			}
			b.tx.DeleteKey(old.doc.KeyID)
		} else {
			tok.Uses--
			b.tx.PutToken(tok.Hash, tok)
		}
		key := b.newKey(tok.Owner, req.Node, []string{"node"})
		d.PublicKey, d.Nkey, d.Country, d.KeyID = public.PEM(), req.NkeyPublic, req.Country, key.ID
		b.touchNode(c.addNode(d, signer))
		grant.Owner, grant.APIKey = tok.Owner, identity.Token(key.Secret)
		return nil
	})
	if err == nil && replaced != "" {
		err = c.cfg.Admit.Revoke(replaced, c.now()) // at a restart RevokedNkeys says so again
	}
	return grant, err
}

// RenewCertificate returns a node's next certificate for mutual TLS, in PEM, for
// the key with which it has joined.
func (c *Control) RenewCertificate(ctx context.Context, id core.NodeID) (string, error) {
	if c.cfg.IssueTLS == nil {
		return "", core.Errorf(core.Unsupported, "this hub has no certificate authority: it speaks plain HTTP on loopback")
	}
	var text string
	err := c.job(ctx, func(*batch) error {
		n := c.nodes[id]
		switch {
		case n == nil:
			return core.Errorf(core.NotFound, "no node %.80s", id)
		case n.doc.Revoked:
			return core.Errorf(core.Forbidden, "node %s has been revoked", id)
		}
		text = n.doc.PublicKey
		return nil
	})
	if err != nil {
		return "", err
	}
	public, err := identity.ParsePublicKey(text)
	if err != nil {
		return "", err
	}
	cert, err := c.cfg.IssueTLS(id, public)
	return string(cert), err
}

// Drain stops or resumes giving a node new leases.
func (c *Control) Drain(ctx context.Context, id core.NodeID, on bool) (api.Node, error) {
	return c.editNode(ctx, id, func(b *batch, n *node) { n.doc.Drained = on })
}

// Revoke locks a node out: its keys are void, its leases go elsewhere.
func (c *Control) Revoke(ctx context.Context, id core.NodeID) (api.Node, error) {
	var nkey string
	out, err := c.editNode(ctx, id, func(b *batch, n *node) {
		n.doc.Revoked, n.doc.RevokedMs = true, b.now
		nkey = n.doc.Nkey
		b.tx.DeleteKey(n.doc.KeyID)
		for _, r := range sortedRefs(n.leases) {
			b.lose(r, "node "+string(id)+" was revoked by the operator")
		}
	})
	if err == nil {
		err = c.cfg.Admit.Revoke(nkey, c.now())
	}
	return out, err
}

// RevokedNkeys are the bus keys that are shut out, and since when.
func RevokedNkeys(ctx context.Context, s *store.Store) (map[string]time.Time, error) {
	docs, err := store.Docs[nodeDoc](ctx, s, "nodes")
	out := map[string]time.Time{}
	for _, d := range docs {
		if d.Revoked {
			out[d.Nkey] = moment(d.RevokedMs)
		}
		for _, old := range d.OldNkeys {
			out[old.Nkey] = moment(old.Ms)
		}
	}
	return out, err
}

func (c *Control) editNode(ctx context.Context, id core.NodeID, edit func(*batch, *node)) (api.Node, error) {
	var out api.Node
	err := c.job(ctx, func(b *batch) error {
		n := c.nodes[id]
		if n == nil {
			return core.Errorf(core.NotFound, "no node %s", id)
		}
		edit(b, n)
		n.refresh(n.offer.Up)
		b.touchNode(n)
		b.freed = true
		out = n.view()
		return nil
	})
	return out, err
}

// uploaded returns the size of bytes that an account has brought itself.
func (c *Control) uploaded(ctx context.Context, a core.AccountID, d core.Digest) (int64, error) {
	size, err := c.store.Uploaded(ctx, a, d)
	if errors.Is(err, store.ErrNoRow) || err == nil && !c.cfg.Blobs.Has(d) {
		return 0, notUploaded(a, d)
	}
	return size, err
}

func notUploaded(a core.AccountID, d core.Digest) *core.Error {
	return core.Errorf(core.NotFound, "account %s has uploaded no bytes with digest %s", a, d).WithHint("upload them first with POST /v1/blobs")
}

// Ready says what the hub still waits for.
func (c *Control) Ready(context.Context) error {
	if err := c.store.Err(); err != nil {
		return core.Errorf(core.Unavailable, "the store has stopped; restart the hub")
	}
	return nil
}
