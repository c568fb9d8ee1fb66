package conformance

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"atoll/internal/receipt"
)

// cosign runs the command that the documentation gives to users. It needs no
// network: with --key and --trusted-root there is nothing left to look up.
func (f *fixture) cosign(t *testing.T, path, kind string, bundle, artifact, root []byte) error {
	t.Helper()
	dir := t.TempDir()
	file := func(name string, data []byte) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	cmd := exec.CommandContext(t.Context(), path, "verify-blob-attestation",
		"--bundle", file("receipt.sigstore.json", bundle), "--key", file("node.pub", f.nodePEM),
		"--trusted-root", file("trusted_root.json", root), "--type", kind, file("result.bin", artifact))
	// A proxy that does not exist: whatever asks the network fails.
	cmd.Env = append(os.Environ(), "HOME="+dir, "TUF_ROOT="+dir, "HTTP_PROXY=http://127.0.0.1:1", "HTTPS_PROXY=http://127.0.0.1:1")
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	return err
}

func TestCosign(t *testing.T) {
	t.Parallel()
	path, err := exec.LookPath("cosign")
	if err != nil {
		t.Skip("cosign is not in PATH; get it with: go install github.com/sigstore/cosign/v3/cmd/cosign@v3.1.3")
	}
	f := newFixture(t)
	if err := f.cosign(t, path, receipt.ExecutionType, f.bundle, result, f.root); err != nil {
		t.Errorf("refused: %v", err)
	}
	if f.cosign(t, path, receipt.VerdictType, f.bundle, result, f.root) == nil {
		t.Error("other predicate type: accepted")
	}
	for _, x := range f.tampered(t) {
		if f.cosign(t, path, receipt.ExecutionType, x.bundle, x.result, x.root) == nil {
			t.Errorf("%s: accepted", x.name)
		}
	}
}
