package auth

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"time"

	"atoll/internal/core"
)

// Limits of the cache of verified keys. The lifetime bounds how long a key that
// another hub has revoked still works here.
const (
	maxCached = 10_000
	cacheFor  = 10 * time.Second
	maxHeader = 512 // bytes of an Authorization header
)

// Source finds whom a key belongs to. It fails with core.Unauthorized if nobody.
type Source interface {
	Authenticate(ctx context.Context, key string) (Principal, error)
}

// Keys authenticates requests by their API key, and remembers keys that it has
// just seen. It is safe for concurrent use.
type Keys struct {
	source Source
	now    func() time.Time

	mu    sync.RWMutex
	known map[core.Digest]cached
	// forgot counts Forget calls: a lookup that began before one is not cached.
	forgot uint64
}

type cached struct {
	principal *Principal
	until     time.Time
}

// NewKeys returns Keys over source. now may be nil.
func NewKeys(source Source, now func() time.Time) (*Keys, error) {
	if source == nil {
		return nil, errors.New("auth: no source of keys")
	}
	if now == nil {
		now = time.Now
	}
	return &Keys{source: source, now: now, known: map[core.Digest]cached{}}, nil
}

// Principal says who sent r. Errors are core.Unauthorized, or the source's own.
// The Principal is shared and must not be changed.
func (k *Keys) Principal(r *http.Request) (*Principal, error) {
	key, err := bearer(r.Header)
	if err != nil {
		return nil, err
	}
	hash := core.DigestOf([]byte(key))
	k.mu.RLock()
	c, ok := k.known[hash]
	forgot := k.forgot
	k.mu.RUnlock()
	if ok && k.now().Before(c.until) {
		return c.principal, nil
	}
	p, err := k.source.Authenticate(r.Context(), key)
	if err != nil {
		return nil, err
	}
	k.remember(hash, &p, forgot)
	return &p, nil
}

func (k *Keys) remember(hash core.Digest, p *Principal, forgot uint64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.forgot != forgot {
		return
	}
	if len(k.known) >= maxCached {
		for h := range k.known { // any one: the map's order is random enough
			delete(k.known, h)
			break
		}
	}
	k.known[hash] = cached{p, k.now().Add(cacheFor)}
}

// Forget drops the cached principals that match, after their keys were revoked.
func (k *Keys) Forget(match func(*Principal) bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.forgot++
	for h, c := range k.known {
		if match(c.principal) {
			delete(k.known, h)
		}
	}
}

// bearer returns the key of the Authorization header (RFC 6750).
func bearer(h http.Header) (string, error) {
	values := h["Authorization"]
	missing := core.Errorf(core.Unauthorized, "the request carries no API key").WithHint("send Authorization: Bearer atl_key_…")
	if len(values) == 0 {
		return "", missing
	}
	scheme, key, _ := strings.Cut(values[0], " ")
	if len(values) > 1 || len(values[0]) > maxHeader || !strings.EqualFold(scheme, "Bearer") || key == "" {
		return "", core.Errorf(core.Unauthorized, "the Authorization header is not a bearer key").WithHint("send Authorization: Bearer atl_key_…")
	}
	return strings.TrimSpace(key), nil
}
