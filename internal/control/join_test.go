package control

import (
	"crypto/x509"
	"encoding/pem"
	"testing"
	"time"

	"github.com/nats-io/nkeys"

	"atoll/api"
	"atoll/internal/core"
	"atoll/internal/identity"
)

// A node gets its next certificate for the key with which it has joined, as long as
// it may be here.
func TestRenewCertificate(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, b := w.join("a-1", "alice", "FR", 10_000), w.join("b-1", "bob", "FR", 10_000)
	if cert, err := w.hub.RenewCertificate(t.Context(), a.id); core.KindOf(err) != core.Unsupported || cert != "" {
		t.Errorf("a hub without certificates: %q, %v", cert, err)
	}
	ca, err := identity.LoadOrCreateCA(t.TempDir(), w.hub.cfg.Now)
	if err != nil {
		t.Fatal(err)
	}
	w.hub.cfg.IssueTLS = ca.IssueNode
	must(t, func() error { _, err := w.hub.Revoke(t.Context(), b.id); return err })
	for id, kind := range map[core.NodeID]core.Kind{"nobody": core.NotFound, b.id: core.Forbidden} {
		if cert, err := w.hub.RenewCertificate(t.Context(), id); core.KindOf(err) != kind || cert != "" {
			t.Errorf("%s: %q, %v, want %s", id, cert, err, kind)
		}
	}
	text, err := w.hub.RenewCertificate(t.Context(), a.id)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode([]byte(text))
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil || !a.key.Public().ECDSA().Equal(cert.PublicKey) || cert.Subject.CommonName != string(a.id) {
		t.Errorf("a certificate for %s and another key: %v", cert.Subject, err)
	}
}

// A node that joins again and again with another bus key does not make the hub keep
// ever more of them.
func TestBusKeysAreBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	n := w.join("a-1", "alice", "FR", 10_000)
	tok, err := w.hub.CreateJoinToken(t.Context(), "alice", 1, api.Duration(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	again := func(nkey string) error {
		req, err := identity.SignJoin(identity.JoinRequest{Token: identity.Token(tok.Token), Node: n.id, NkeyPublic: nkey, Version: "1", Country: "FR"}, n.key)
		if err == nil {
			_, err = w.hub.Join(t.Context(), req)
		}
		return err
	}
	last := ""
	for i := range maxOldNkeys + 2 {
		user, err := nkeys.CreateUser()
		if err != nil {
			t.Fatal(err)
		}
		public, _ := user.PublicKey()
		err = again(public)
		if refused := core.KindOf(err) == core.Conflict; refused != (i >= maxOldNkeys) || err != nil && !refused {
			t.Fatalf("bus key %d: %v", i, err)
		}
		if err == nil {
			last = public
		}
	}
	if err := again(last); err != nil {
		t.Errorf("with the key that it has: %v", err)
	}
}
