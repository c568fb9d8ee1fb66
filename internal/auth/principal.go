package auth

import (
	"context"
	"slices"

	"atoll/internal/core"
)

// Scopes of API keys.
const (
	Admin     = "admin"
	Requester = "requester"
	Read      = "read"
	Node      = "node"
)

// Principal is who a request comes from.
type Principal struct {
	Account core.AccountID // of a user or of a node's owner
	Node    core.NodeID    // set for a node's own key
	Scopes  []string       // admin, requester, read, node
	KeyID   string         // for rate limits and logs; not secret
}

// Has reports whether the principal's key has a scope, or one that implies it.
func (p *Principal) Has(scope string) bool {
	for _, s := range p.Scopes {
		switch {
		case s == scope,
			s == Admin && (scope == Requester || scope == Read),
			s == Requester && scope == Read:
			return true
		}
	}
	return false
}

// IsAdmin reports whether the principal operates the hub.
func (p *Principal) IsAdmin() bool { return slices.Contains(p.Scopes, Admin) }

type contextKey struct{}

// WithPrincipal returns ctx with p, for handlers behind the check.
func WithPrincipal(ctx context.Context, p *Principal) context.Context {
	return context.WithValue(ctx, contextKey{}, p)
}

// From returns the principal of ctx, or nil where nobody had to say who they are.
func From(ctx context.Context) *Principal {
	p, _ := ctx.Value(contextKey{}).(*Principal)
	return p
}
