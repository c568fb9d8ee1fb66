package receipt

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"atoll/internal/core"
	"atoll/internal/tlog"
)

var update = flag.Bool("update", false, "write testdata anew")

const vectorDir = "testdata/check"

// vector is one line of vectors.json: Check of the bundle file against the wants
// fails in exactly the one step that Fails names, or in none. The files need no
// Go to be used.
type vector struct {
	Name   string     `json:"name"`
	Bundle string     `json:"bundle"`
	Want   vectorWant `json:"want"`
	Fails  string     `json:"fails,omitempty"`
}

type vectorWant struct {
	Key       string       `json:"key,omitempty"` // file; empty: that of the entry
	Type      string       `json:"type,omitempty"`
	Lease     core.LeaseID `json:"lease,omitzero"`
	Task      core.TaskID  `json:"task,omitzero"`
	Nonce     string       `json:"nonce,omitempty"`
	Result    core.Digest  `json:"result,omitzero"`
	Commits   Commits      `json:"commits,omitzero"`
	SeenSize  int64        `json:"seen_size,omitempty"`
	SeenRoot  []byte       `json:"seen_root,omitempty"`
	SeenProof [][]byte     `json:"seen_proof,omitempty"`
	Witnesses []string     `json:"witnesses,omitempty"`
}

// stepErrors is the error that each step fails with.
var stepErrors = map[string]error{
	"bundle": ErrBundle, "key": ErrKey, "signature": ErrSignature, "statement": ErrPayload, "type": ErrType, "lease": ErrLease,
	"task": ErrTask, "nonce": ErrNonce, "result": ErrSubject, "draw": ErrDraw, "entry": ErrEntry, "inclusion": ErrInclusion, "log": ErrLog,
	"checkpoint": ErrCheckpoint, "origin": ErrOrigin, "root": ErrRoot, "growth": ErrShrunk, "consistency": ErrFork, "witness": ErrWitness,
}

// TestVectorsAreCurrent holds testdata and the code that makes it together.
func TestVectorsAreCurrent(t *testing.T) {
	t.Parallel()
	m := makeVectors(t)
	slices.SortStableFunc(m.vectors, func(a, b vector) int { return strings.Compare(a.Name, b.Name) })
	list, err := json.MarshalIndent(m.vectors, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	m.files["vectors.json"] = append(list, '\n')
	if *update {
		if err := errors.Join(os.RemoveAll(vectorDir), os.MkdirAll(vectorDir, 0o755)); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range m.files {
		path := filepath.Join(vectorDir, name)
		if *update {
			if err := os.WriteFile(path, want, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is not what the code makes (%v); if the change is meant, run go test -run VectorsAreCurrent -update", path, err)
		}
	}
}

func readVector(t testing.TB, name string) []byte {
	t.Helper()
	return must[[]byte](t)(os.ReadFile(filepath.Join(vectorDir, name)))
}

func (w vectorWant) load(t testing.TB) Want {
	t.Helper()
	out := Want{
		Logs: must[[]tlog.Key](t)(ParseTrustedRoot(readVector(t, "trusted_root.json"))),
		Type: w.Type, Lease: w.Lease, Task: w.Task, Nonce: w.Nonce, Result: w.Result, Commits: w.Commits, Seen: Seen{Size: w.SeenSize},
	}
	if w.Key != "" {
		out.Key = must[Key](t)(ParseKey(readVector(t, w.Key)))
	}
	copy(out.Seen.Root[:], w.SeenRoot)
	for _, h := range w.SeenProof {
		out.Seen.Proof = append(out.Seen.Proof, tlog.Hash(h))
	}
	for _, v := range w.Witnesses {
		out.Witnesses = append(out.Witnesses, must[tlog.Witness](t)(tlog.ParseWitness(v)))
	}
	return out
}

// TestVectors: each vector fails for its one reason, and for no other.
func TestVectors(t *testing.T) {
	t.Parallel()
	var vectors []vector
	if err := json.Unmarshal(readVector(t, "vectors.json"), &vectors); err != nil {
		t.Fatal(err)
	}
	covered := map[string]bool{}
	for _, v := range vectors {
		report, err := Check(readVector(t, v.Bundle), v.Want.load(t))
		var failed []string
		for _, s := range report.Steps {
			if s.Err != nil {
				failed = append(failed, s.Name)
			}
			if v.Name == "good" && (!s.OK || s.Skipped) && s.Name != "draw" { // that a receipt knows nothing of
				t.Errorf("good: %s: %s", s.Name, s.Detail)
			}
		}
		covered[v.Fails] = true
		if got := strings.Join(failed, ","); got != v.Fails || !errors.Is(err, stepErrors[v.Fails]) {
			t.Errorf("%s: failed in %q, want %q: %v", v.Name, got, v.Fails, err)
		}
	}
	for _, s := range steps {
		if !covered[s.name] {
			t.Errorf("no vector fails in step %s", s.name)
		}
	}
}
