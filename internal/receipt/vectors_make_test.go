package receipt

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"atoll/internal/core"
	"atoll/internal/draw"
	"atoll/internal/tlog"
)

// maker builds the vectors.
type maker struct {
	t       testing.TB
	signer  *Signer
	signed  Signed
	log     *testLog
	cosign  *tlog.Cosigner
	files   map[string][]byte
	vectors []vector
}

const vectorSize = logBefore + 1 + logAfter

func makeVectors(t testing.TB) *maker {
	t.Helper()
	m := &maker{t: t, signer: fixedSigner(t, 1), files: map[string][]byte{}}
	m.signed = must[Signed](t)(m.signer.Execution(exampleExecution(2)))
	m.log = newTestLog(t, m.signed.Leaf)
	m.cosign = must[*tlog.Cosigner](t)(tlog.NewCosigner(testWitness, fixedEd25519(9)))
	m.files["trusted_root.json"] = append(must[[]byte](t)(TrustedRoot(m.log.signer.Key(), time.Unix(1_780_000_000, 0))), '\n')
	m.files["result.bin"] = testResult
	for name, seed := range map[string]byte{"node.pub": 1, "other.pub": 4} {
		der := must[[]byte](t)(x509.MarshalPKIXPublicKey(&fixedKey(t, seed).PublicKey))
		m.files[name] = pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	}
	m.good()
	m.draws()
	m.wants()
	m.bundles()
	m.statements()
	m.entries()
	m.trees()
	return m
}

// want asks for every check.
func (m *maker) want() vectorWant {
	seen := m.log.at(200)
	return vectorWant{
		Key: "node.pub", Type: ExecutionType, Lease: 1_000_000, Task: 77, Nonce: testNonce, Result: core.DigestOf(testResult),
		SeenSize: 200, SeenRoot: seen.Root[:], SeenProof: m.log.sinceSeen(), Witnesses: []string{m.cosign.VKey()},
	}
}

// cosigned is where s is in l, under a cosigned checkpoint.
func (m *maker) cosigned(l *testLog, s Signed) Logged {
	g := l.logged(s, vectorSize)
	g.Checkpoint = must[[]byte](m.t)(m.cosign.Cosign(g.Checkpoint, l.signer.Key(), 1_790_000_100))
	return g
}

// add writes a vector; its bundle gets a file of its own unless one is named.
func (m *maker) add(name, fails string, w vectorWant, bundle []byte) {
	v := vector{Name: name, Fails: fails, Want: w, Bundle: "good.sigstore.json"}
	if bundle != nil {
		v.Bundle = strings.ReplaceAll(name, " ", "-") + ".sigstore.json"
		m.files[v.Bundle] = bundle
	}
	m.vectors = append(m.vectors, v)
}

func (m *maker) bundle(l Logged) []byte { return must[[]byte](m.t)(Bundle(l)) }

// inLog is a bundle of s, properly logged in a log of its own that shares its
// first leaves with the others.
func (m *maker) inLog(s Signed, w vectorWant) ([]byte, vectorWant) {
	l := newTestLog(m.t, s.Leaf)
	w.SeenProof = l.sinceSeen()
	return m.bundle(m.cosigned(l, s)), w
}

// sinceSeen proves that the log has grown from what the wants have seen.
func (l *testLog) sinceSeen() (proof [][]byte) {
	l.t.Helper()
	for _, h := range must[[]tlog.Hash](l.t)(l.tree.ProveConsistency(200, vectorSize)) {
		proof = append(proof, h[:])
	}
	return proof
}

func (m *maker) good() {
	m.add("good", "", m.want(), m.bundle(m.cosigned(m.log, m.signed)))
	m.add("nothing asked", "", vectorWant{}, nil)
	m.add("failed lease", "", vectorWant{Lease: 1_000_001, Result: core.DigestOf([]byte(exampleExecution(2).Leases[1].Error))}, nil)
	v := must[Signed](m.t)(m.signer.Verdict(exampleVerdict()))
	b, w := m.inLog(v, m.want())
	w.Type, w.Nonce = VerdictType, ""
	m.add("verdict", "", w, b)
	w.Nonce = testNonce
	m.vectors = append(m.vectors, vector{Name: "verdict has no nonce", Bundle: "verdict.sigstore.json", Want: w, Fails: "nonce"})
}

// draws are verdicts on results of which a sample is run again.
func (m *maker) draws() {
	secret := drawnVerdict().Leases[0].Draw.Secret
	for _, x := range []struct {
		name, fails string
		commit      core.Digest
		change      func(*JudgedLease)
	}{
		{"draw", "", draw.Commit(secret), func(*JudgedLease) {}},
		{"draw without the receipt", "", core.Digest{}, func(*JudgedLease) {}},
		{"draw that fell otherwise", "draw", draw.Commit(secret), func(l *JudgedLease) { l.Draw.Drawn = !l.Draw.Drawn }},
		{"draw by a secret chosen later", "draw", draw.Commit("another"), func(*JudgedLease) {}},
		{"draw not told", "draw", draw.Commit(secret), func(l *JudgedLease) { l.Draw = nil }},
		{"draw over a receipt not named", "draw", draw.Commit(secret), func(l *JudgedLease) { l.Receipt = core.Digest{} }},
		{"draw at no rate", "statement", core.Digest{}, func(l *JudgedLease) { l.Draw.Rate = 0 }},
	} {
		v := drawnVerdict()
		x.change(&v.Leases[0])
		payload := must[[]byte](m.t)(json.Marshal(statementOf(v)))
		b, w := m.inLog(signRaw(m.t, m.signer, payload), m.want())
		w.Type, w.Nonce = VerdictType, ""
		if !x.commit.IsZero() {
			w.Commits = Commits{core.DigestOf([]byte("r")), map[core.LeaseID]core.Digest{v.Leases[0].Lease: x.commit}}
		}
		m.add(x.name, x.fails, w, b)
	}
}

// statementOf is what encode writes, also of a predicate that it would refuse.
func statementOf(v *Verdict) statement[predicate] {
	s := statement[predicate]{Type: statementType, PredicateType: VerdictType, Predicate: v, Subject: make([]subject, len(v.Leases))}
	for i, c := range v.claims() {
		s.Subject[i].Name = c.lease.String()
		s.Subject[i].Digest.SHA256 = c.result.Hex()
	}
	return s
}

// wants are of the good bundle, and ask for something else.
func (m *maker) wants() {
	for _, x := range []struct {
		name, fails string
		change      func(*vectorWant)
	}{
		{"other key", "key", func(w *vectorWant) { w.Key = "other.pub" }},
		{"other type", "type", func(w *vectorWant) { w.Type = VerdictType }},
		{"other lease", "lease", func(w *vectorWant) { w.Lease = 5 }},
		{"other task", "task", func(w *vectorWant) { w.Task = 78 }},
		{"other nonce", "nonce", func(w *vectorWant) { w.Nonce = "another" }},
		{"changed result", "result", func(w *vectorWant) { w.Result = core.DigestOf(append([]byte("x"), testResult...)) }},
		// The digest is a subject, but not that of the lease asked for.
		{"result of another lease", "result", func(w *vectorWant) { w.Result = core.DigestOf([]byte(exampleExecution(2).Leases[1].Error)) }},
		{"smaller than seen", "growth", func(w *vectorWant) { w.SeenSize = vectorSize + 1 }},
		{"other past", "consistency", func(w *vectorWant) { w.SeenRoot = make([]byte, 32) }},
		{"other root at that size", "consistency", func(w *vectorWant) { w.SeenSize, w.SeenRoot = vectorSize, make([]byte, 32) }},
		{"damaged consistency proof", "consistency", func(w *vectorWant) { w.SeenProof[1] = make([]byte, 32) }},
		{"other witness", "witness", func(w *vectorWant) {
			w.Witnesses = append(w.Witnesses, must[*tlog.Cosigner](m.t)(tlog.NewCosigner(testWitness, fixedEd25519(8))).VKey())
		}},
	} {
		w := m.want()
		x.change(&w)
		m.add(x.name, x.fails, w, nil)
	}
}

// bundles are not bundles.
func (m *maker) bundles() {
	good := string(m.files["good.sigstore.json"])
	for name, text := range map[string]string{
		"bundle of older version":    strings.Replace(good, "bundle.v0.3+json", "bundle.v0.2+json", 1),
		"bundle with unknown member": strings.Replace(good, `{`, `{"extra":1,`, 1),
		"bundle with doubled member": strings.Replace(good, `{`, `{"mediaType":"`+bundleMedia+`",`, 1),
		"bundle with trailing data":  good + "{}",
		"bundle without log entry":   good[:strings.Index(good, `"tlogEntries"`)] + `"tlogEntries":[]},` + good[strings.Index(good, `"dsseEnvelope"`):],
		"bundle with two signatures": strings.Replace(good, `[{"sig":`, `[{"sig":"AAAA"},{"sig":`, 1),
	} {
		m.add(name, "bundle", m.want(), []byte(text))
	}
}

// statements are signed and logged as they should be, and say nonsense, or are
// not signed.
func (m *maker) statements() {
	good := string(payloadOf(m.t, m.signed))
	for name, payload := range map[string]string{
		"statement with unknown member": strings.Replace(good, `{`, `{"extra":1,`, 1),
		"statement with doubled member": strings.Replace(good, `{`, `{"_type":"`+statementType+`",`, 1),
		"statement with trailing data":  good + " {}",
		"statement with other subject":  strings.Replace(good, core.DigestOf(testResult).Hex(), core.DigestOf(nil).Hex(), 1),
		"statement of later version":    strings.Replace(good, ExecutionType, "urn:atoll:execution-receipt:v2", 1),
	} {
		b, w := m.inLog(signRaw(m.t, m.signer, []byte(payload)), m.want())
		m.add(name, "statement", w, b)
	}
	e := must[envelope](m.t)(parseEnvelope(m.signed.Envelope))
	e.sig[len(e.sig)-1] ^= 1
	b, w := m.inLog(Signed{appendEnvelope(e.payload, e.sig), appendLeaf(e.digest, e.sig, m.signer.key), e.digest}, m.want())
	m.add("damaged signature", "signature", w, b)
	other := must[envelope](m.t)(parseEnvelope(must[Signed](m.t)(m.signer.Execution(exampleExecution(1))).Envelope))
	b, w = m.inLog(Signed{appendEnvelope(other.payload, e.sig), appendLeaf(other.digest, e.sig, m.signer.key), other.digest}, m.want())
	m.add("changed statement", "signature", w, b)
}

// entries are in the log, and are not of this statement.
func (m *maker) entries() {
	e := must[envelope](m.t)(parseEnvelope(m.signed.Envelope))
	otherKey := fixedSigner(m.t, 4).Key()
	for name, leaf := range map[string][]byte{
		"entry of other statement": must[Signed](m.t)(m.signer.Execution(exampleExecution(1))).Leaf,
		"entry of other signature": appendLeaf(e.digest, mirrored(m.t, e.sig), m.signer.key),
		"entry of other key":       appendLeaf(e.digest, e.sig, otherKey),
		"entry not canonical":      bytes.Replace(m.signed.Leaf, []byte(":"), []byte(": "), 1),
		"entry of other version":   bytes.Replace(m.signed.Leaf, []byte("0.0.2"), []byte("0.0.1"), 1),
	} {
		l := newTestLog(m.t, leaf)
		var j bundleJSON // made with the right leaf, so that it names the right key
		if err := strict(m.bundle(m.cosigned(l, m.signed)), &j); err != nil {
			m.t.Fatal(err)
		}
		j.Material.Entries[0].Body = leaf
		w := m.want()
		w.SeenProof = l.sinceSeen()
		m.add(name, "entry", w, must[[]byte](m.t)(json.Marshal(&j)))
	}
}

// mirrored is the other signature that ECDSA has for every signature.
func mirrored(t testing.TB, sig []byte) []byte {
	t.Helper()
	var rs struct{ R, S *big.Int }
	if _, err := asn1.Unmarshal(sig, &rs); err != nil {
		t.Fatal(err)
	}
	rs.S.Sub(fixedKey(t, 1).Params().N, rs.S)
	return must[[]byte](t)(asn1.Marshal(rs))
}

// trees have a proof or a checkpoint that does not fit.
func (m *maker) trees() {
	change := func(name, fails string, f func(*Logged)) {
		g := m.cosigned(m.log, m.signed)
		f(&g)
		m.add(name, fails, m.want(), m.bundle(g))
	}
	change("damaged inclusion proof", "inclusion", func(g *Logged) {
		g.Proof = slices.Clone(g.Proof)
		g.Proof[2][5] ^= 1
	})
	change("proof of other index", "inclusion", func(g *Logged) { g.Index-- })
	change("other log", "log", func(g *Logged) {
		g.Log = must[tlog.Key](m.t)(tlog.NewKey(testOrigin, must[*tlog.Signer](m.t)(tlog.NewSigner(testOrigin, fixedEd25519(7))).Key().Public()))
	})
	change("checkpoint by other key", "checkpoint", func(g *Logged) {
		other := must[*tlog.Signer](m.t)(tlog.NewSigner(testOrigin, fixedEd25519(7)))
		g.Checkpoint = must[[]byte](m.t)(m.cosign.Cosign(must[[]byte](m.t)(other.Sign(g.Tree)), other.Key(), 1))
	})
	change("checkpoint with changed size", "checkpoint", func(g *Logged) {
		g.Checkpoint = bytes.Replace(g.Checkpoint, fmt.Appendf(nil, "\n%d\n", vectorSize), fmt.Appendf(nil, "\n%d\n", vectorSize+1), 1)
	})
	change("checkpoint of other origin", "origin", func(g *Logged) {
		seed := append([]byte{1}, fixedEd25519(2).Seed()...)
		id := m.log.signer.Key().ID()
		s := must[note.Signer](m.t)(note.NewSigner(fmt.Sprintf("PRIVATE+KEY+%s+%x+%s", testOrigin, id[:4], base64.StdEncoding.EncodeToString(seed))))
		g.Checkpoint = must[[]byte](m.t)(note.Sign(&note.Note{Text: tlog.FormatCheckpoint("hub-2.atoll.internal", g.Tree)}, s))
	})
	change("proof to an older tree", "root", func(g *Logged) {
		older := m.log.logged(m.signed, vectorSize-10)
		g.Proof, g.Tree = older.Proof, older.Tree
	})
	change("not cosigned", "witness", func(g *Logged) { g.Checkpoint = must[[]byte](m.t)(m.log.signer.Sign(g.Tree)) })
	change("damaged cosignature", "witness", func(g *Logged) {
		i := bytes.LastIndexByte(g.Checkpoint, '=') - 6
		g.Checkpoint = bytes.Clone(g.Checkpoint)
		g.Checkpoint[i] ^= 2 // another base64 letter
	})
}
