package receipt

import (
	"bytes"
	"context"
	"crypto"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"iter"
	"reflect"
	"strings"
	"testing"

	"github.com/gowebpki/jcs"
	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	"pgregory.net/rapid"

	"atoll/internal/core"
)

func noLeaves(context.Context, int64, int64) iter.Seq2[[]byte, error] {
	return func(func([]byte, error) bool) {}
}

func TestSignAndOpen(t *testing.T) {
	t.Parallel()
	s := fixedSigner(t, 1)
	for _, n := range []int{1, 2, 40} {
		want := exampleExecution(n)
		signed := must[Signed](t)(s.Execution(want))
		got, again, err := s.Key().OpenExecution(signed.Envelope)
		if err != nil || !reflect.DeepEqual(&got, want) {
			t.Fatalf("%d leases: %v", n, err)
		}
		if !reflect.DeepEqual(again, signed) {
			t.Errorf("%d leases: opening gives another leaf or digest than signing", n)
		}
		if twice := must[Signed](t)(s.Execution(want)); !reflect.DeepEqual(twice, signed) {
			t.Errorf("%d leases: signing again gives other bytes", n)
		}
		if _, _, err := fixedSigner(t, 3).Key().OpenExecution(signed.Envelope); !errors.Is(err, ErrSignature) {
			t.Errorf("other key: %v", err)
		}
		if _, _, err := s.Key().OpenVerdict(signed.Envelope); !errors.Is(err, ErrType) {
			t.Errorf("receipt as verdict: %v", err)
		}
		if _, _, err := (Key{}).OpenExecution(signed.Envelope); !errors.Is(err, ErrSignature) {
			t.Errorf("no key: %v", err)
		}
	}
	v := exampleVerdict()
	signed := must[Signed](t)(s.Verdict(v))
	if got, err := ParseVerdict(signed.Envelope); err != nil || !reflect.DeepEqual(&got, v) {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := ParseExecution(signed.Envelope); !errors.Is(err, ErrType) {
		t.Errorf("verdict as receipt: %v", err)
	}
}

// The envelope is DSSE as its reference implementation reads and verifies it.
func TestEnvelopeIsDSSE(t *testing.T) {
	t.Parallel()
	s := fixedSigner(t, 1)
	signed := must[Signed](t)(s.Execution(exampleExecution(1)))
	var e dsse.Envelope
	if err := json.Unmarshal(signed.Envelope, &e); err != nil {
		t.Fatal(err)
	}
	payload := must[[]byte](t)(e.DecodeB64Payload())
	if sum := sha256.Sum256(dsse.PAE(e.PayloadType, payload)); core.Digest(sum) != signed.Digest {
		t.Error("the digest is not that of the PAE")
	}
	v := must[*dsse.EnvelopeVerifier](t)(dsse.NewEnvelopeVerifier(stockVerifier{s.Key()}))
	if _, err := v.Verify(t.Context(), &e); err != nil {
		t.Error(err)
	}
}

type stockVerifier struct{ k Key }

func (v stockVerifier) Verify(_ context.Context, pae, sig []byte) error {
	return v.k.verify(&envelope{sig: sig, digest: sha256.Sum256(pae)})
}
func (stockVerifier) KeyID() (string, error)     { return "", nil }
func (v stockVerifier) Public() crypto.PublicKey { return v.k.public }

// The leaf that is put together by hand is what a canonicaliser makes of the
// entry.
func TestLeafIsCanonical(t *testing.T) {
	t.Parallel()
	k := fixedSigner(t, 1).Key()
	rapid.Check(t, func(rt *rapid.T) {
		digest := core.DigestOf(rapid.SliceOf(rapid.Byte()).Draw(rt, "digest of"))
		sig := rapid.SliceOfN(rapid.Byte(), 0, 80).Draw(rt, "signature")
		body := appendLeaf(digest, sig, k)
		var j leafJSON
		if err := json.Unmarshal(body, &j); err != nil {
			rt.Fatal(err)
		}
		plain, err := json.Marshal(&j)
		if err != nil {
			rt.Fatal(err)
		}
		canonical, err := jcs.Transform(plain)
		if err != nil || !bytes.Equal(canonical, body) {
			rt.Fatalf("%v:\n%s\n%s", err, canonical, body)
		}
		l, err := parseLeaf(body)
		if err != nil || l.digest != digest || !bytes.Equal(l.sig, sig) || l.key.digest != k.digest {
			rt.Fatalf("read back: %v", err)
		}
	})
}

func TestLeafRefused(t *testing.T) {
	t.Parallel()
	good := string(must[Signed](t)(fixedSigner(t, 1).Execution(exampleExecution(1))).Leaf)
	for name, body := range map[string]string{
		"space":         strings.Replace(good, ":", ": ", 1),
		"older version": strings.Replace(good, "0.0.2", "0.0.1", 1),
		"other kind":    strings.Replace(good, "hashedrekord\"", "intoto\"", 1),
		"other hash":    strings.Replace(good, "SHA2_256", "SHA2_512", 1),
		"extra member":  strings.Replace(good, "{", `{"a":1,`, 1),
		"doubled":       strings.Replace(good, "{", `{"apiVersion":"0.0.2",`, 1),
		"trailing":      good + " ",
		"cut":           good[:len(good)-1],
		"bad key":       strings.Replace(good, `rawBytes":"M`, `rawBytes":"N`, 1),
		"large":         good + strings.Repeat(" ", maxLeaf),
	} {
		if _, err := parseLeaf([]byte(body)); !errors.Is(err, ErrEntry) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestExecutionRefused(t *testing.T) {
	t.Parallel()
	s := fixedSigner(t, 1)
	for name, spoil := range map[string]func(*Execution){
		"no leases":         func(e *Execution) { e.Leases = nil },
		"too many":          func(e *Execution) { *e = *exampleExecution(MaxLeases + 1) },
		"no hub":            func(e *Execution) { e.Hub = "" },
		"no owner":          func(e *Execution) { e.Owner = "" },
		"lease twice":       func(e *Execution) { e.Leases[1].Lease = e.Leases[0].Lease },
		"no task":           func(e *Execution) { e.Leases[0].Task = 0 },
		"no result":         func(e *Execution) { e.Leases[0].Result = core.Digest{} },
		"no nonce":          func(e *Execution) { e.Leases[0].Nonce = "" },
		"long nonce":        func(e *Execution) { e.Leases[0].Nonce = strings.Repeat("x", maxText+1) },
		"negative usage":    func(e *Execution) { e.Leases[0].Usage.TokensOut = -1 },
		"ok with error":     func(e *Execution) { e.Leases[0].Error = "x" },
		"failed, no error":  func(e *Execution) { e.Leases[1].Error = "" },
		"failed, no digest": func(e *Execution) { e.Leases[1].Error = "another text" },
		"error not UTF-8":   func(e *Execution) { e.Leases[1].Error = "\xff" },
		"text not UTF-8":    func(e *Execution) { e.Leases[0].Escrow = "\xff" },
		"other outcome":     func(e *Execution) { e.Leases[0].Outcome = Passed },
		"much residency":    func(e *Execution) { e.Leases[0].Residency = make([]string, maxResidency+1) },
		"empty residency":   func(e *Execution) { e.Leases[0].Residency = []string{""} },
	} {
		e := exampleExecution(2)
		spoil(e)
		if _, err := s.Execution(e); !errors.Is(err, ErrPayload) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestVerdictRefused(t *testing.T) {
	t.Parallel()
	s := fixedSigner(t, 1)
	for name, spoil := range map[string]func(*Verdict){
		"no account":       func(v *Verdict) { v.Account = "" },
		"no log index":     func(v *Verdict) { v.Leases[0].LogIndex = -1 },
		"no result":        func(v *Verdict) { v.Leases[0].Result = core.Digest{} },
		"other outcome":    func(v *Verdict) { v.Leases[0].Outcome = OK },
		"pay for nothing":  func(v *Verdict) { v.Leases[1].PayMicro, v.Leases[1].Transfer = 1, 5 },
		"pay, no transfer": func(v *Verdict) { v.Leases[0].Transfer = 0 },
		"negative pay":     func(v *Verdict) { v.Leases[0].PayMicro = -1 },
		"long reason":      func(v *Verdict) { v.Leases[1].Reason = strings.Repeat("x", MaxError+1) },
		"no method":        func(v *Verdict) { v.Leases[0].Method = "" },
	} {
		v := exampleVerdict()
		spoil(v)
		if _, err := s.Verdict(v); !errors.Is(err, ErrPayload) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What is signed by the right key is still read strictly.
func TestStrictPayload(t *testing.T) {
	t.Parallel()
	s := fixedSigner(t, 1)
	good := string(payloadOf(t, must[Signed](t)(s.Execution(exampleExecution(2)))))
	replace := func(old, new string) string {
		if !strings.Contains(good, old) {
			t.Fatalf("%s is not in the statement", old)
		}
		return strings.Replace(good, old, new, 1)
	}
	for name, payload := range map[string]string{
		"unknown member":       replace(`{"_type"`, `{"extra":1,"_type"`),
		"unknown in lease":     replace(`"engine":`, `"extra":1,"engine":`),
		"unknown in digest":    replace(`{"sha256"`, `{"sha512":"","sha256"`),
		"doubled member":       replace(`"predicateType"`, `"_type":"https://in-toto.io/Statement/v1","predicateType"`),
		"doubled in lease":     replace(`"engine":`, `"price_micro":1,"engine":`),
		"other case":           replace(`"_type"`, `"_Type"`),
		"trailing data":        good + "{}",
		"float":                replace(`"price_micro":30000`, `"price_micro":30000.0`),
		"exponent":             replace(`"price_micro":30000`, `"price_micro":3e4`),
		"number as text":       replace(`"price_micro":30000`, `"price_micro":"30000"`),
		"other subject":        replace(`"sha256":"`, `"sha256":"0`),
		"other subject name":   replace(`"name":"lease_`, `"name":"leese_`),
		"upper case digest":    replace(`"input":"sha256:`, `"input":"SHA256:`),
		"older statement":      replace(`Statement/v1`, `Statement/v0.1`),
		"unknown predicate":    replace(ExecutionType, "urn:atoll:execution-receipt:v2"),
		"predicate of verdict": replace(ExecutionType, VerdictType),
		"null":                 "null",
		"empty":                "",
		"not UTF-8":            replace(`"hub-1"`, "\"hub-\xff\""),
		"missing subject":      `{"_type":"https://in-toto.io/Statement/v1","subject":[],"predicateType":"` + good[strings.Index(good, ExecutionType):],
	} {
		if _, err := decode([]byte(payload)); !errors.Is(err, ErrPayload) {
			t.Errorf("%s: %v", name, err)
		}
		if _, _, err := s.Key().OpenExecution(signRaw(t, s, []byte(payload)).Envelope); !errors.Is(err, ErrPayload) {
			t.Errorf("%s, signed: %v", name, err)
		}
	}
}

func TestEnvelopeRefused(t *testing.T) {
	t.Parallel()
	good := string(must[Signed](t)(fixedSigner(t, 1).Execution(exampleExecution(1))).Envelope)
	for name, e := range map[string]string{
		"other type":     strings.Replace(good, payloadType, "application/json", 1),
		"no signature":   good[:strings.Index(good, `[{`)] + "[]}",
		"two signatures": strings.Replace(good, `[{"sig":`, `[{"sig":"AAAA"},{"sig":`, 1),
		"unknown member": strings.Replace(good, `{`, `{"x":1,`, 1),
		"doubled":        strings.Replace(good, `{`, `{"payload":"",`, 1),
		"trailing":       good + "x",
		"not base64":     strings.Replace(good, `"payload":"`, `"payload":"!`, 1),
		"large":          good + strings.Repeat(" ", MaxEnvelope),
	} {
		if _, err := ParseExecution([]byte(e)); !errors.Is(err, ErrBundle) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func BenchmarkSign(b *testing.B) {
	s, e := fixedSigner(b, 1), exampleExecution(1)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Execution(e); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkStatement(b *testing.B) {
	e := exampleExecution(1)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := encode(ExecutionType, e); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkLeaf(b *testing.B) {
	k, sig := fixedSigner(b, 1).Key(), make([]byte, 71)
	b.ReportAllocs()
	for b.Loop() {
		appendLeaf(core.Digest{1}, sig, k)
	}
}

func BenchmarkOpen(b *testing.B) {
	s := fixedSigner(b, 1)
	signed := must[Signed](b)(s.Execution(exampleExecution(1)))
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := s.Key().OpenExecution(signed.Envelope); err != nil {
			b.Fatal(err)
		}
	}
}
