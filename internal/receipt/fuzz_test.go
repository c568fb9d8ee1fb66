package receipt

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"atoll/internal/core"
)

// seeds adds the payloads, envelopes, leaves or bundles of the vectors.
func seeds(f *testing.F, part func(*parsedBundle) []byte) {
	f.Helper()
	for _, path := range must[[]string](f)(filepath.Glob(filepath.Join(vectorDir, "*.sigstore.json"))) {
		b := must[[]byte](f)(os.ReadFile(path))
		if part == nil {
			f.Add(b)
		} else if p, err := parseBundle(b); err == nil {
			f.Add(part(p))
		}
	}
}

func FuzzStatement(f *testing.F) {
	seeds(f, func(p *parsedBundle) []byte { return p.envelope.payload })
	f.Fuzz(func(t *testing.T, b []byte) {
		o, err := decode(b)
		if err != nil {
			if !errors.Is(err, ErrPayload) {
				t.Errorf("unclassed: %v", err)
			}
			return
		}
		again, err := encode(o.kind, o.predicate())
		if err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
		if o2, err := decode(again); err != nil || !reflect.DeepEqual(o2, o) {
			t.Errorf("not the same after writing: %v", err)
		}
	})
}

func FuzzEnvelope(f *testing.F) {
	f.Add(must[Signed](f)(fixedSigner(f, 1).Execution(exampleExecution(1))).Envelope)
	f.Add(must[Signed](f)(fixedSigner(f, 1).Verdict(exampleVerdict())).Envelope)
	f.Add(must[Signed](f)(fixedSigner(f, 1).Round(exampleRound())).Envelope)
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := parseEnvelope(b)
		if err != nil {
			return
		}
		if again, err := parseEnvelope(appendEnvelope(e.payload, e.sig)); err != nil || again.digest != e.digest {
			t.Errorf("not the same after writing: %v", err)
		}
	})
}

func FuzzLeaf(f *testing.F) {
	seeds(f, func(p *parsedBundle) []byte { return p.entry.Body })
	f.Fuzz(func(t *testing.T, b []byte) {
		if l, err := parseLeaf(b); err == nil && !bytes.Equal(appendLeaf(l.digest, l.sig, l.key), b) {
			t.Error("two texts for one leaf")
		}
	})
}

// No input makes Check accept another result than the one that was signed.
func FuzzCheck(f *testing.F) {
	seeds(f, nil)
	want := Want{
		Logs: must[[]tlogKey](f)(ParseTrustedRoot(readVector(f, "trusted_root.json"))),
		Key:  must[Key](f)(ParseKey(readVector(f, "node.pub"))), Type: ExecutionType,
	}
	good := exampleExecution(2)
	f.Fuzz(func(t *testing.T, b []byte) {
		report, err := Check(b, want)
		if len(report.Steps) != len(steps) {
			t.Fatalf("%d steps", len(report.Steps))
		}
		if err != nil {
			return
		}
		if !reflect.DeepEqual(report.Execution, good) {
			t.Errorf("accepted %+v", report.Execution)
		}
		w := want
		w.Result = core.DigestOf([]byte("another"))
		if _, err := Check(b, w); !errors.Is(err, ErrSubject) {
			t.Errorf("another result: %v", err)
		}
	})
}

func FuzzTrustedRoot(f *testing.F) {
	f.Add(readVector(f, "trusted_root.json"))
	f.Fuzz(func(t *testing.T, b []byte) {
		keys, err := ParseTrustedRoot(b)
		if (err == nil) == (len(keys) == 0) {
			t.Errorf("%d keys, %v", len(keys), err)
		}
	})
}

func FuzzKey(f *testing.F) {
	f.Add(readVector(f, "node.pub"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if k, err := ParseKey(b); err == nil && k.IsZero() {
			t.Error("no key and no error")
		}
	})
}
