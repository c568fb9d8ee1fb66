package conformance

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"atoll/internal/core"
	"atoll/internal/engine"
)

func (c Case) input(data []byte) engine.Input {
	return engine.Input{Data: data, Params: c.Params}
}

func open(t *testing.T, c Case) engine.Engine {
	t.Helper()
	e := c.New(t)
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Errorf("close engine: %v", err)
		}
	})
	return e
}

func load(t *testing.T, e engine.Engine, model []byte) engine.Instance {
	t.Helper()
	in, err := e.Load(t.Context(), modelFile(t, model))
	if err != nil {
		t.Fatalf("load: %v", err)
	}
	// t.Context is over by the time of cleanup.
	t.Cleanup(func() { _ = in.Close(context.WithoutCancel(t.Context())) })
	return in
}

func modelFile(t *testing.T, b []byte) engine.Model {
	t.Helper()
	path := filepath.Join(t.TempDir(), "model")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return engine.Model{Digest: core.DigestOf(b), Path: path, Tenant: "conformance"}
}

// good runs GoodInput and checks what holds for every run that succeeds.
func good(t *testing.T, in engine.Instance, c Case) []byte {
	t.Helper()
	out, use, err := in.Run(t.Context(), c.input(c.GoodInput))
	if err != nil {
		t.Fatalf("run of the good input: %v", err)
	}
	if use.BytesIn != int64(len(c.GoodInput)) || use.BytesOut != int64(len(out.Data)) {
		t.Errorf("usage: %d bytes in and %d out, want %d and %d", use.BytesIn, use.BytesOut, len(c.GoodInput), len(out.Data))
	}
	if use.CPU < 0 || use.Memory < 0 {
		t.Errorf("usage: CPU %s, memory %d; neither can be negative", use.CPU, use.Memory)
	}
	return out.Data
}

func same(t *testing.T, what string, got, want []byte) {
	t.Helper()
	if !bytes.Equal(got, want) {
		t.Errorf("%s gave other bytes:\n%s\nwant:\n%s", what, head(got), head(want))
	}
}

func refused(t *testing.T, err, want error) {
	t.Helper()
	if err == nil {
		t.Fatalf("Run succeeded, want an error that is %q", want)
	}
	if !errors.Is(err, want) {
		t.Errorf("error %q, want one that is %q", err, want)
	}
}

// random returns bytes that are the same in every test run.
func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}

func head(b []byte) []byte { return b[:min(len(b), 500)] }
