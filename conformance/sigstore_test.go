package conformance

import (
	"bytes"
	"crypto"
	"testing"
	"time"

	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/verify"
	"github.com/sigstore/sigstore/pkg/signature"
	"golang.org/x/mod/sumdb/note"

	"atoll/internal/core"
	"atoll/internal/receipt"
	"atoll/internal/tlog"
)

// material is a trusted root and a public key, as a user of sigstore-go would
// put them together.
type material struct {
	*root.TrustedRoot
	keys *root.TrustedPublicKeyMaterial
}

func (m material) PublicKeyVerifier(hint string) (root.TimeConstrainedVerifier, error) {
	return m.keys.PublicKeyVerifier(hint)
}

// sigstore verifies as an offline user of stock sigstore-go.
func (f *fixture) sigstore(t testing.TB, bundleJSON, artifact, rootJSON []byte) (*verify.VerificationResult, error) {
	t.Helper()
	trusted := must[*root.TrustedRoot](t)(root.NewTrustedRootFromJSON(rootJSON))
	verifier := must[signature.Verifier](t)(signature.LoadVerifier(&f.node.PublicKey, crypto.SHA256))
	keys := root.NewTrustedPublicKeyMaterial(func(string) (root.TimeConstrainedVerifier, error) {
		return root.NewExpiringKey(verifier, time.Time{}, time.Time{}), nil
	})
	v := must[*verify.Verifier](t)(verify.NewVerifier(material{trusted, keys}, verify.WithTransparencyLog(1), verify.WithNoObserverTimestamps()))
	var b bundle.Bundle
	if err := b.UnmarshalJSON(bundleJSON); err != nil {
		return nil, err
	}
	return v.Verify(&b, verify.NewPolicy(verify.WithArtifact(bytes.NewReader(artifact)), verify.WithKey()))
}

func TestSigstoreGoAccepts(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, artifact := range [][]byte{result, append([]byte{0}, result...)} { // each subject
		got, err := f.sigstore(t, f.bundle, artifact, f.root)
		if err != nil {
			t.Fatal(err)
		}
		if got.Statement.GetPredicateType() != receipt.ExecutionType || len(got.Statement.GetSubject()) != 2 {
			t.Errorf("statement: %+v", got.Statement)
		}
	}
}

func TestSigstoreGoRefuses(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, x := range f.tampered(t) {
		if _, err := f.sigstore(t, x.bundle, x.result, x.root); err == nil {
			t.Errorf("%s: accepted", x.name)
		} else {
			t.Logf("%s: %v", x.name, err)
		}
	}
	other := newFixture(t)
	if _, err := other.sigstore(t, f.bundle, result, f.root); err == nil {
		t.Error("wrong node key: accepted")
	}
}

// Atoll's own checks come to the same conclusions.
func TestAtollAgrees(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	check := func(bundle, artifact, rootJSON []byte) error {
		_, err := receipt.Check(bundle, receipt.Want{
			Logs: must[[]tlog.Key](t)(receipt.ParseTrustedRoot(rootJSON)), Key: must[receipt.Key](t)(receipt.ParseKey(f.nodePEM)), Result: core.DigestOf(artifact),
		})
		return err
	}
	if err := check(f.bundle, result, f.root); err != nil {
		t.Error(err)
	}
	for _, x := range f.tampered(t) {
		if err := check(x.bundle, x.result, x.root); err == nil {
			t.Errorf("%s: accepted", x.name)
		}
	}
}

func TestStockNoteOpensCheckpoint(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	v := must[note.Verifier](t)(note.NewVerifier(f.log.Key().VKey()))
	n, err := note.Open(f.checkpoint, note.VerifierList(v))
	if err != nil || n.Text != tlog.FormatCheckpoint(origin, f.tree) || len(n.UnverifiedSigs) != 1 {
		t.Errorf("%+v, %v", n, err)
	}
	other := must[note.Verifier](t)(note.NewVerifier(newLog(t).Key().VKey()))
	if _, err := note.Open(f.checkpoint, note.VerifierList(other)); err == nil {
		t.Error("another key opens it")
	}
}
