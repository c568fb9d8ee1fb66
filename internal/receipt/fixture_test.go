package receipt

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"testing"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"

	"atoll/internal/core"
	"atoll/internal/draw"
	"atoll/internal/tlog"
)

const (
	testOrigin  = "hub-1.atoll.internal"
	testNonce   = "n0nce-of-the-lease"
	testWitness = "witness.example/w1"
)

var testResult = []byte(`{"label":"card_lost","score":"0.93"}` + "\n")

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func fixedKey(t testing.TB, seed byte) *ecdsa.PrivateKey {
	t.Helper()
	return must[*ecdsa.PrivateKey](t)(ecdsa.ParseRawPrivateKey(elliptic.P256(), bytes.Repeat([]byte{seed}, 32)))
}

func fixedSigner(t testing.TB, seed byte) *Signer {
	t.Helper()
	return must[*Signer](t)(NewSigner(fixedKey(t, seed)))
}

func fixedEd25519(seed byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, 32))
}

// exampleExecution is a receipt over n leases; the first one's result is
// testResult, the last one of several has failed.
func exampleExecution(n int) *Execution {
	e := &Execution{
		Hub: "hub-1", Node: "paris-1", Owner: "alice", Account: "acme",
		EngineBuild: core.DigestOf([]byte("atoll")), Leases: make([]ExecutedLease, n),
	}
	for i := range e.Leases {
		e.Leases[i] = ExecutedLease{
			Lease: core.LeaseID(1_000_000 + i), Task: 77, Part: i, Attempt: 1,
			Input: core.DigestOf([]byte("input")), Model: core.DigestOf([]byte("model")), Params: core.DigestOf([]byte("{}")),
			Result: core.DigestOf(append(testResult, make([]byte, i)...)), Engine: "text", Nonce: testNonce, Outcome: OK,
			StartedMs: 1_790_000_000_000, FinishedMs: 1_790_000_000_042,
			Usage:      Usage{CPUMs: 40, BytesIn: 5, BytesOut: int64(len(testResult))},
			PriceMicro: 30_000, RegionDeclared: "FR", RegionObserved: "FR", Residency: []string{"EU@2020-02-01"},
			Traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
		}
	}
	if n > 1 {
		l := &e.Leases[n-1]
		l.Outcome, l.Error = Failed, "module trapped: <unreachable> & \"quoted\""
		l.Result = core.DigestOf([]byte(l.Error))
	}
	return e
}

func exampleVerdict() *Verdict {
	return &Verdict{Hub: "hub-1", Account: "acme", Leases: []JudgedLease{
		{Lease: 1_000_000, Task: 77, Node: "paris-1", LogIndex: 3, Receipt: core.DigestOf([]byte("r")), Result: core.DigestOf(testResult), Method: "quorum", Outcome: Passed, Transfer: 9, PayMicro: 30_000},
		{Lease: 1_000_001, Task: 77, Node: "bonn-1", LogIndex: 4, Result: core.DigestOf([]byte("lie")), Method: "quorum", Outcome: Rejected, Reason: "2 of 3 owners agree on another result"},
	}}
}

// drawnVerdict is on a result that is drawn to be run again, and on the check.
func drawnVerdict() *Verdict {
	v := exampleVerdict()
	work, check := &v.Leases[0], &v.Leases[1]
	work.Method, work.Draw = "reexecute", &Draw{Rate: 500_000, Nonce: "mine", Secret: "00112233445566778899aabbccddeeff"}
	work.Draw.Drawn = draw.Cast(work.Draw.Secret, work.Draw.Nonce, work.Receipt).Under(work.Draw.Rate)
	check.Method, check.Checks = "reexecute", work.Lease
	return v
}

// testLog is a log of 300 leaves whose last one but forty can be chosen.
type testLog struct {
	t      testing.TB
	tree   *tlog.Tree
	signer *tlog.Signer
	index  int64
}

const (
	logBefore = 259
	logAfter  = 40
)

func newTestLog(t testing.TB, leaf []byte) *testLog {
	t.Helper()
	l := &testLog{t: t, signer: must[*tlog.Signer](t)(tlog.NewSigner(testOrigin, fixedEd25519(2)))}
	l.tree = must[*tlog.Tree](t)(tlog.Open(t.Context(), tlog.Config{Dir: t.TempDir(), Bodies: noLeaves}))
	for i := range logBefore {
		must[int64](t)(l.tree.Append([]byte{byte(i)}))
	}
	l.index = must[int64](t)(l.tree.Append(leaf))
	for i := range logAfter {
		must[int64](t)(l.tree.Append([]byte{byte(i)}))
	}
	return l
}

// logged proves the leaf in the tree of size leaves.
func (l *testLog) logged(s Signed, size int64) Logged {
	l.t.Helper()
	tree := l.at(size)
	return Logged{
		Envelope: s.Envelope, Leaf: s.Leaf, Index: l.index, Tree: tree, Log: l.signer.Key(),
		Proof:      must[[]tlog.Hash](l.t)(l.tree.ProveInclusion(l.index, size)),
		Checkpoint: must[[]byte](l.t)(l.signer.Sign(tree)),
	}
}

func (l *testLog) at(size int64) tlog.Checkpoint {
	l.t.Helper()
	return tlog.Checkpoint{Size: size, Root: must[tlog.Hash](l.t)(l.tree.Root(size))}
}

// signRaw signs any payload, also one that this package would not build.
func signRaw(t testing.TB, s *Signer, payload []byte) Signed {
	t.Helper()
	digest := sha256.Sum256(dsse.PAE(payloadType, payload))
	sig := must[[]byte](t)(s.sign(digest))
	return Signed{appendEnvelope(payload, sig), appendLeaf(digest, sig, s.key), digest}
}

func payloadOf(t testing.TB, s Signed) []byte {
	t.Helper()
	return must[envelope](t)(parseEnvelope(s.Envelope)).payload
}
