package node

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nkeys"

	"atoll/internal/bus"
	"atoll/internal/core"
	"atoll/internal/identity"
)

func otherCA(t *testing.T) []byte {
	t.Helper()
	ca, err := identity.LoadOrCreateCA(t.TempDir(), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	return ca.PEM()
}

// A hub behind a certificate that neither the system nor the token vouches for is
// joined with the certificate that the provider gives, and remembered with it.
func TestNodeTrustsTheCertificateGiven(t *testing.T) {
	t.Parallel()
	h := newHub(t, true)
	h.token = identity.NewJoinToken(core.Digest{}) // pins nothing
	h.spoil = func(g *identity.JoinGrant) { g.CACertPEM, g.NodeCert = "", "" }
	cfg := h.config(t.TempDir())
	cfg.CACert = h.ca.PEM()
	_, end := running(t, cfg)
	h.next(bus.KindHeartbeat)
	if err := end(); err != nil {
		t.Fatal(err)
	}
	cfg.CACert, cfg.Token = nil, ""
	running(t, cfg)
	work(t, h, 1)
}

// A revoked node ends, at once when it is started again; one that is cut off
// works on.
func TestNodeThatIsRevokedEnds(t *testing.T) {
	t.Parallel()
	h := newHub(t, false)
	cfg := h.config(t.TempDir())
	n, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- n.Run(t.Context()) }()
	h.next(bus.KindHeartbeat)
	h.mu.Lock()
	h.disowns = true
	h.mu.Unlock()
	if err := h.bus.Revoke(nkeyOf(t, n.nkey), time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := <-done; !errors.Is(err, ErrDisowned) || !strings.Contains(err.Error(), "revoked") {
		t.Fatalf("%v, want %v", err, ErrDisowned)
	}
	again, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := again.Run(ctx); !errors.Is(err, ErrDisowned) {
		t.Errorf("a second start: %v, want %v", err, ErrDisowned)
	}
}

func nkeyOf(t *testing.T, k nkeys.KeyPair) string {
	t.Helper()
	public, err := k.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return public
}
