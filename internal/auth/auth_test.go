package auth_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"atoll/internal/auth"
	"atoll/internal/core"
)

// source is a store of keys that counts how often it is asked.
type source struct {
	mu     sync.Mutex
	keys   map[string]auth.Principal
	asked  int
	during func() // runs within a lookup
}

func (s *source) Authenticate(_ context.Context, key string) (auth.Principal, error) {
	s.mu.Lock()
	s.asked++
	p, ok := s.keys[key]
	during := s.during
	s.mu.Unlock()
	if during != nil {
		during()
	}
	if !ok {
		return auth.Principal{}, core.Errorf(core.Unauthorized, "unknown")
	}
	return p, nil
}

func (s *source) revoke(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.keys, key)
}

// clock is moved by the test.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

func request(headers ...string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	for _, h := range headers {
		r.Header.Add("Authorization", h)
	}
	return r
}

func newKeys(t *testing.T) (*auth.Keys, *source, *clock) {
	t.Helper()
	s := &source{keys: map[string]auth.Principal{"k1": {Account: "ann", KeyID: "1", Scopes: []string{"read"}}}}
	c := &clock{t: time.Unix(1_800_000_000, 0)}
	k, err := auth.NewKeys(s, c.now)
	if err != nil {
		t.Fatal(err)
	}
	return k, s, c
}

func TestBearer(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		headers []string
		ok      bool
	}{
		{[]string{"Bearer k1"}, true},
		{[]string{"bearer  k1"}, true},
		{nil, false},
		{[]string{""}, false},
		{[]string{"Bearer"}, false},
		{[]string{"Bearer "}, false},
		{[]string{"Basic k1"}, false},
		{[]string{"k1"}, false},
		{[]string{"Bearer k2"}, false},
		{[]string{"Bearer k1", "Bearer k1"}, false},
		{[]string{"Bearer " + strings.Repeat("k", 1000)}, false},
	} {
		k, _, _ := newKeys(t)
		p, err := k.Principal(request(c.headers...))
		if (err == nil) != c.ok || (c.ok && p.Account != "ann") || (!c.ok && core.KindOf(err) != core.Unauthorized) {
			t.Errorf("%q: got %v, %v", c.headers, p, err)
		}
	}
}

func TestKeysAreRemembered(t *testing.T) {
	t.Parallel()
	k, s, c := newKeys(t)
	ask := func(want error) {
		t.Helper()
		if _, err := k.Principal(request("Bearer k1")); (err == nil) != (want == nil) {
			t.Fatalf("got %v, want %v", err, want)
		}
	}
	ask(nil)
	ask(nil)
	if s.asked != 1 {
		t.Errorf("the source was asked %d times, want once", s.asked)
	}
	s.revoke("k1") // as another hub would: this one finds out when the time is up
	c.add(9 * time.Second)
	ask(nil)
	c.add(2 * time.Second)
	ask(errors.New("revoked"))
}

func TestForget(t *testing.T) {
	t.Parallel()
	k, s, _ := newKeys(t)
	one := func(p *auth.Principal) bool { return p.KeyID == "1" }
	if _, err := k.Principal(request("Bearer k1")); err != nil {
		t.Fatal(err)
	}
	s.revoke("k1")
	k.Forget(func(p *auth.Principal) bool { return p.KeyID == "2" })
	if _, err := k.Principal(request("Bearer k1")); err != nil {
		t.Errorf("another key was forgotten: %v", err)
	}
	k.Forget(one)
	if _, err := k.Principal(request("Bearer k1")); err == nil {
		t.Error("a revoked key still works")
	}

	// A lookup that was under way while the key was revoked must not bring it back.
	k, s, _ = newKeys(t)
	s.during = func() { s.revoke("k1"); k.Forget(one) }
	if _, err := k.Principal(request("Bearer k1")); err != nil {
		t.Fatal(err)
	}
	s.during = nil
	if _, err := k.Principal(request("Bearer k1")); err == nil {
		t.Error("a key revoked during its lookup was cached")
	}
}

func TestScopes(t *testing.T) {
	t.Parallel()
	all := []string{auth.Admin, auth.Requester, auth.Read, auth.Node}
	for has, want := range map[string]string{
		auth.Admin: "admin requester read", auth.Requester: "requester read", auth.Read: "read", auth.Node: "node", "": "", "root": "",
	} {
		p := auth.Principal{Scopes: []string{has}}
		var got []string
		for _, s := range all {
			if p.Has(s) {
				got = append(got, s)
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%q has %v, want %s", has, got, want)
		}
		if p.IsAdmin() != (has == auth.Admin) {
			t.Errorf("%q: IsAdmin %v", has, p.IsAdmin())
		}
	}
	if p := auth.From(t.Context()); p != nil {
		t.Errorf("a bare context has %v", p)
	}
	p := &auth.Principal{}
	if auth.From(auth.WithPrincipal(t.Context(), p)) != p {
		t.Error("the principal was not found again")
	}
}

func TestLimiter(t *testing.T) {
	t.Parallel()
	c := &clock{t: time.Unix(1_800_000_000, 0)}
	l, err := auth.NewLimiter("key", auth.Rate{PerSecond: 2, Burst: 5}, c.now)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 7 {
		h := http.Header{}
		err := l.Allow(h, "a")
		if want := i < 5; (err == nil) != want {
			t.Fatalf("request %d: %v", i, err)
		}
		if got := h.Get("RateLimit-Policy"); got != `"key";q=5;w=3` {
			t.Errorf("policy %s", got)
		}
		left := max(4-i, 0)
		if got, want := h.Get("RateLimit"), fmt.Sprintf(`"key";r=%d;t=%d`, left, (5-left+1)/2); got != want {
			t.Errorf("request %d: RateLimit %s, want %s", i, got, want)
		}
		if got := h.Get("Retry-After"); (got != "") != (err != nil) {
			t.Errorf("request %d: Retry-After %q", i, got)
		}
		if err != nil && core.KindOf(err) != core.Throttled {
			t.Errorf("kind %s", core.KindOf(err))
		}
	}
	if err := l.Allow(http.Header{}, "b"); err != nil {
		t.Errorf("another caller pays for the first: %v", err)
	}
	c.add(time.Second)
	for i := range 3 {
		if err := l.Allow(http.Header{}, "a"); (err == nil) != (i < 2) {
			t.Errorf("a second later, request %d: %v", i, err)
		}
	}
}

func TestLimiterIsBounded(t *testing.T) {
	t.Parallel()
	c := &clock{t: time.Unix(1_800_000_000, 0)}
	l, err := auth.NewLimiter("key", auth.Rate{PerSecond: 1, Burst: 1}, c.now)
	if err != nil {
		t.Fatal(err)
	}
	h := http.Header{}
	for i := range 60_000 {
		if err := l.Allow(h, fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	if n := l.Tracked(); n > 50_000 {
		t.Errorf("%d callers are remembered", n)
	}
}

func TestLimiterRefusesNonsense(t *testing.T) {
	t.Parallel()
	nan := 0.0
	nan /= nan
	for _, r := range []auth.Rate{{}, {PerSecond: 1}, {Burst: 1}, {PerSecond: -1, Burst: 1}, {PerSecond: nan, Burst: 1}} {
		if _, err := auth.NewLimiter("x", r, nil); err == nil {
			t.Errorf("%+v was accepted", r)
		}
	}
}
