package wasm

import (
	"os"
	"path/filepath"
	"testing"

	"atoll/internal/core"
	"atoll/internal/engine"
	"atoll/internal/node/sandbox"
)

func TestMain(m *testing.M) {
	sandbox.MaybeWorker(append(liarWorkers(), compilerWorker(), Worker())...)
	os.Exit(m.Run())
}

func newEngine(t testing.TB, cfg Config) *Engine {
	t.Helper()
	e, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Close() })
	return e
}

func modelOf(t testing.TB, module []byte, tenant core.AccountID) engine.Model {
	t.Helper()
	path := filepath.Join(t.TempDir(), "module.wasm")
	if err := os.WriteFile(path, module, 0o600); err != nil {
		t.Fatal(err)
	}
	return engine.Model{Digest: core.DigestOf(module), Path: path, Tenant: tenant}
}

func load(t testing.TB, e *Engine, module []byte) *Instance {
	t.Helper()
	return loadFor(t, e, module, "acme")
}

func loadFor(t testing.TB, e *Engine, module []byte, tenant core.AccountID) *Instance {
	t.Helper()
	in, err := e.Load(t.Context(), modelOf(t, module, tenant))
	if err != nil {
		t.Fatalf("load: %v", err)
	}
	t.Cleanup(func() { _ = in.Close(t.Context()) })
	return in.(*Instance)
}
