package cli_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"atoll/api"
	"atoll/internal/cli"
	"atoll/internal/cli/quickstart"
	"atoll/internal/core"
	"atoll/internal/llm/llmtest"
	"atoll/internal/node/sandbox"
)

func TestMain(m *testing.M) {
	sandbox.MaybeWorker() // the doctor starts children
	testscript.Main(m, map[string]func(){"atoll": func() {
		os.Exit(cli.Run(context.Background(), cli.OSEnv(), pretend))
	}})
}

// pretend is a runtime that prints what it was asked to run.
var pretend = cli.Runtime{
	Version: "1.2.3",
	Up: func(_ context.Context, c cli.UpConfig) error {
		fmt.Printf("up: %d nodes in %s, listen %s, ready file %q\n", c.Nodes, c.Country, c.Hub.Listen, c.Hub.ReadyFile)
		return c.Hub.OnReady(cli.Ready{URL: "http://127.0.0.1:8420", AdminKey: "atl_key_admin"})
	},
	Hub: func(_ context.Context, c cli.HubConfig) error {
		fmt.Printf("hub: listen %s, advertise %s, nats %v\n", c.Listen, c.Advertise, c.NATS)
		return nil
	},
	NodeRun: func(_ context.Context, c cli.NodeConfig) error {
		if c.Hub == "nowhere" {
			return core.Errorf(core.Invalid, "hub URL %q: want https://host:port", c.Hub)
		}
		fmt.Printf("node: hub %s, token %s, country %s, price %s, labels %v, engines %v, cache %d, faults %q, own server %v\n", c.Hub, c.Token, c.Country, c.Price, c.Labels, c.Engines, c.Cache, c.Faults, c.OpenAI)
		if c.OnReady != nil {
			return c.OnReady(cli.NodeReady{Node: "paris-1", Owner: "alice", HubURL: c.Hub})
		}
		return nil
	},
	Joined: func(dir string) (cli.NodeAccess, error) {
		if filepath.Base(dir) != "paris" {
			return cli.NodeAccess{}, fs.ErrNotExist
		}
		return cli.NodeAccess{NodeReady: cli.NodeReady{Node: "paris-1", Owner: "alice", HubURL: os.Getenv("FAKE_URL")}, Key: os.Getenv("NODE_KEY")}, nil
	},
	Discover: func(context.Context, *slog.Logger) cli.Found {
		return cli.Found{GPUs: []api.NodeGPU{{Type: "NVIDIA H100", Memory: 80 << 30}}, Servers: []cli.FoundServer{{Name: "Ollama", URL: "http://127.0.0.1:11434", Models: []string{"qwen2.5:7b", "phi4"}}}}
	},
	StartNetwork: func(context.Context, quickstart.NetworkConfig) (*quickstart.Network, error) {
		return nil, errors.New("no network here")
	},
}

// TestScripts runs each verb against a small fake of the API. See fake_test.go
// for what it knows.
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", "script"),
		Setup: func(env *testscript.Env) error {
			f := newFake()
			env.Defer(f.close)
			env.Values["fake"] = f
			env.Setenv("ATOLL_URL", f.url)
			env.Setenv("ATOLL_API_KEY", "atl_key_test")
			env.Setenv("FAKE_URL", f.url)
			env.Setenv("NODE_KEY", nodeKey)
			env.Setenv("XDG_CONFIG_HOME", filepath.Join(env.WorkDir, "config"))
			env.Setenv("XDG_DATA_HOME", filepath.Join(env.WorkDir, "data"))
			env.Setenv("TZ", "UTC")
			if err := llmtest.WriteCheckpoint(env.WorkDir); err != nil {
				return err
			}
			return f.receipts(env.WorkDir)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "sent": sent, "private": private,
		},
		UpdateScripts: os.Getenv("UPDATE") != "",
	})
}

// exits CODE ARGS…: atoll ends with this exit code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE atoll ARGS…")
	}
	code := 0
	err := ts.Exec(args[1], args[2:]...)
	if e := (*exec.ExitError)(nil); errors.As(err, &e) {
		code = e.ExitCode()
	} else {
		ts.Check(err)
	}
	if strconv.Itoa(code) != args[0] {
		ts.Fatalf("exit code %d, want %s", code, args[0])
	}
}

// sent FILE: the fake was sent this JSON last.
func sent(ts *testscript.TestScript, neg bool, args []string) {
	got := strings.TrimSpace(ts.Value("fake").(*fake).lastBody())
	want := strings.TrimSpace(ts.ReadFile(args[0]))
	if (got == want) == neg {
		ts.Fatalf("sent\n%s\nwant\n%s", got, want)
	}
}

// private FILE: nobody but its owner can read it.
func private(ts *testscript.TestScript, neg bool, args []string) {
	st, err := os.Stat(ts.MkAbs(args[0]))
	ts.Check(err)
	if (st.Mode().Perm() == 0o600) == neg {
		ts.Fatalf("%s has mode %s", args[0], st.Mode())
	}
}

// Every verb says what it does, by an example, too, and what each flag takes; those
// that show something know --json.
func TestVerbsAreComplete(t *testing.T) {
	t.Parallel()
	silent := []string{"use", "add", "remove", "result", "run", "join", "up", "hub", "revoke", "stop", "completion", "help"}
	for _, c := range cli.Verbs() {
		if c.Short == "" || strings.HasSuffix(c.Short, ".") {
			t.Errorf("%s: short help %q", c.Path, c.Short)
		}
		if made := strings.Contains(c.Path, "completion") || c.Path == "atoll help"; c.Leaf && c.Example == "" && !made {
			t.Errorf("%s has no example", c.Path)
		}
		if len(c.Unnamed) > 0 {
			t.Errorf("%s: the help of %v does not name the value in backquotes", c.Path, c.Unnamed)
		}
		for line := range strings.SplitSeq(c.Example, "\n") {
			if line != "" && !strings.Contains(line, "atoll ") {
				t.Errorf("%s: an example without the program: %q", c.Path, line)
			}
		}
		if name := c.Path[strings.LastIndexByte(c.Path, ' ')+1:]; c.Leaf && !c.JSON && !slices.Contains(silent, name) {
			t.Errorf("%s has no --json", c.Path)
		}
	}
}
