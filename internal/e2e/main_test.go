package e2e

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"sync"
	"testing"

	"atoll/client"
)

// buildDir holds the binary that the tests run.
var buildDir string

func TestMain(m *testing.M) {
	var err error
	if buildDir, err = os.MkdirTemp("", "atoll-e2e-*"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(buildDir)
	os.Exit(code)
}

// binary builds atoll once for all tests, with the tags of the tests: so that
// "go test -tags plant_dedupe" runs a planted bug (see internal/planted).
var binary = sync.OnceValues(func() (string, error) {
	tags := ""
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "-tags" {
				tags = s.Value
			}
		}
	}
	path := filepath.Join(buildDir, "atoll")
	out, err := exec.Command("go", "build", "-tags", tags, "-o", path, "atoll/cmd/atoll").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build: %w\n%s", err, out)
	}
	return path, nil
})

// testConfig is for a network in a test, whose words are shown if it fails.
func testConfig(t *testing.T, nodes int) Config {
	t.Helper()
	if testing.Short() {
		t.Skip("starts processes; run without -short")
	}
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	said := map[string]*bytes.Buffer{}
	t.Cleanup(func() { // after the network's own, which ends those who write
		if t.Failed() {
			for name, b := range said {
				t.Logf("%s said:\n%s", name, tail(b.String(), 4000))
			}
		}
	})
	return Config{Binary: path, Dir: t.TempDir(), Nodes: nodes, Output: func(process string) io.Writer {
		said[process] = new(bytes.Buffer)
		return said[process]
	}}
}

func tail(s string, n int) string {
	if len(s) > n {
		return "…" + s[len(s)-n:]
	}
	return s
}

// startTest starts a network for a test, and a client with the admin's key.
func startTest(t *testing.T, cfg Config) (*Network, *client.Client) {
	t.Helper()
	n, err := Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	c, err := n.Client()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return n, c
}
