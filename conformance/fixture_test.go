package conformance

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"iter"
	"testing"
	"time"

	"atoll/internal/core"
	"atoll/internal/receipt"
	"atoll/internal/tlog"
)

const origin = "hub-1.atoll.internal"

var result = []byte("card_lost\n")

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// fixture is a receipt as a user would get it, made by the real packages with
// fresh keys.
type fixture struct {
	node       *ecdsa.PrivateKey
	nodePEM    []byte
	log        *tlog.Signer
	bundle     []byte
	root       []byte // trusted root
	wrongRoot  []byte // of a log with another key
	checkpoint []byte
	tree       tlog.Checkpoint
}

func newFixture(t testing.TB) *fixture {
	t.Helper()
	f := &fixture{node: must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)), log: newLog(t)}
	der := must[[]byte](t)(x509.MarshalPKIXPublicKey(&f.node.PublicKey))
	f.nodePEM = pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	signer := must[*receipt.Signer](t)(receipt.NewSigner(f.node))
	signed := must[receipt.Signed](t)(signer.Execution(execution()))

	tree := must[*tlog.Tree](t)(tlog.Open(t.Context(), tlog.Config{Dir: t.TempDir(), Bodies: none}))
	index := int64(0)
	for i := range 700 {
		body := fmt.Appendf(nil, "leaf %d", i)
		if i == 300 {
			body, index = signed.Leaf, int64(i)
		}
		must[int64](t)(tree.Append(body))
	}
	f.tree = must[tlog.Checkpoint](t)(tree.Next(tlog.Checkpoint{}))
	f.checkpoint = must[[]byte](t)(f.log.Sign(f.tree))
	// A witness' cosignature must not disturb those who do not know it.
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	witness := must[*tlog.Cosigner](t)(tlog.NewCosigner("witness.example/w1", private))
	f.checkpoint = must[[]byte](t)(witness.Cosign(f.checkpoint, f.log.Key(), 1_790_000_000))
	f.bundle = must[[]byte](t)(receipt.Bundle(receipt.Logged{
		Envelope: signed.Envelope, Leaf: signed.Leaf, Index: index, Tree: f.tree, Checkpoint: f.checkpoint, Log: f.log.Key(),
		Proof: must[[]tlog.Hash](t)(tree.ProveInclusion(index, f.tree.Size)),
	}))
	since := time.Unix(1_780_000_000, 0)
	f.root = must[[]byte](t)(receipt.TrustedRoot(f.log.Key(), since))
	f.wrongRoot = must[[]byte](t)(receipt.TrustedRoot(newLog(t).Key(), since))
	return f
}

func newLog(t testing.TB) *tlog.Signer {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return must[*tlog.Signer](t)(tlog.NewSigner(origin, private))
}

func none(context.Context, int64, int64) iter.Seq2[[]byte, error] {
	return func(func([]byte, error) bool) {}
}

func execution() *receipt.Execution {
	e := &receipt.Execution{Hub: "hub-1", Node: "paris-1", Owner: "alice", Account: "acme"}
	for i := range 2 {
		e.Leases = append(e.Leases, receipt.ExecutedLease{
			Lease: core.LeaseID(1_000_000 + i), Task: 77, Part: i, Attempt: 1,
			Input: core.DigestOf([]byte("input")), Model: core.DigestOf([]byte("model")), Result: core.DigestOf(append(make([]byte, i), result...)),
			Engine: "text", Nonce: "n0nce", Outcome: receipt.OK, StartedMs: 1_790_000_000_000, FinishedMs: 1_790_000_000_042,
			PriceMicro: 30_000, RegionDeclared: "FR", Residency: []string{"EU@2020-02-01"},
		})
	}
	return e
}
