package control

import (
	"context"
	"errors"
	"slices"
	"time"

	"atoll/api"
	"atoll/internal/core"
	"atoll/internal/identity"
	"atoll/internal/ledger"
	"atoll/internal/receipt"
	"atoll/internal/store"
)

// tokenDoc is what is stored of a join token.
type tokenDoc struct {
	Hash      core.Digest    `json:"hash"`
	Owner     core.AccountID `json:"owner"`
	Uses      int            `json:"uses"` // left
	ExpiresMs int64          `json:"expires"`
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

// maxOldNkeys bounds the bus keys of a node that are shut out: they are kept with
// it, and told to the bus, for ever. A node that keeps its keys has one in its life.
const maxOldNkeys = 32

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
		case old != nil && old.doc.Nkey != req.NkeyPublic && len(old.doc.OldNkeys) >= maxOldNkeys:
			return core.Errorf(core.Conflict, "node %s has had %d bus keys before this one, and all are kept", req.Node, maxOldNkeys).At("node").WithHint("choose another --name, and keep the directory of keys")
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
		b.touchNode(c.addNode(d, signer, b.now))
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
