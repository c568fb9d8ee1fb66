package wasm

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"atoll/internal/core"
	"atoll/internal/engine"
	enginewasm "atoll/internal/engine/wasm"
	"atoll/internal/engine/wasm/asm"
	"atoll/internal/node/sandbox"
)

func TestMain(m *testing.M) {
	sandbox.MaybeWorker(enginewasm.Worker())
	os.Exit(m.Run())
}

func TestGenerated(t *testing.T) {
	t.Parallel()
	if !bytes.Equal(Noop, asm.Noop()) || !bytes.Equal(Echo, asm.Echo()) {
		t.Error("run go generate ./examples/wasm")
	}
}

// TestRedact compiles the example with the Go command at hand and runs it as a
// node does.
func TestRedact(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "redact.wasm")
	build := exec.Command("go", "build", "-o", path, "./redact")
	build.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	module, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	e, err := enginewasm.New(enginewasm.Config{Children: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	in, err := e.Load(t.Context(), engine.Model{Digest: core.DigestOf(module), Path: path, Tenant: "bank"})
	if err != nil {
		t.Fatal(err)
	}
	const part = "card 4000 1234 5678 9010 was swallowed\nwrite to ana.p@example.org about DE89 3704 0044 0532 0130 00\nopened at 9:30\n"
	const want = "card *** was swallowed\nwrite to *** about ***\nopened at 9:30\n"
	for range 2 {
		out, use, err := in.Run(t.Context(), engine.Input{Data: []byte(part), Params: map[string]string{"mask": "***"}})
		if err != nil || string(out.Data) != want {
			t.Fatalf("got %q, %v; want %q", out.Data, err, want)
		}
		if use.CPU <= 0 || use.Memory <= 0 {
			t.Errorf("usage: CPU %s, memory %d", use.CPU, use.Memory)
		}
	}
	if floats, ok := in.(interface{ Floats() bool }); !ok || !floats.Floats() {
		t.Error("Go's runtime computes with floats, and the engine does not say so")
	}
}
