package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"atoll/internal/app"
	"atoll/internal/engine/wasm"
	"atoll/internal/node/sandbox"
)

func TestMain(m *testing.M) {
	sandbox.MaybeWorker(wasm.Worker()) // children of nodes
	if len(os.Args) > 1 && os.Args[1] == "up" {
		os.Exit(app.Run()) // the hub that "atoll bench" starts from its own file
	}
	testscript.Main(m, map[string]func(){"atoll": main})
}

// TestWholeProgram runs the program as a user does: real processes, hubs and
// nodes, over loopback.
func TestWholeProgram(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", "script"),
		Setup: func(env *testscript.Env) error {
			env.Setenv("XDG_CONFIG_HOME", filepath.Join(env.WorkDir, "config"))
			env.Setenv("XDG_DATA_HOME", filepath.Join(env.WorkDir, "data"))
			env.Setenv("TMPDIR", env.WorkDir)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"await": await},
	})
}
