package app

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"atoll/api"
	"atoll/client"
	"atoll/examples/wasm"
	"atoll/internal/cli"
	"atoll/internal/core"
)

// patience bounds every wait of these tests; none of them measures time.
const patience = 60 * time.Second

// testLog goes to the test's output: warnings, or all there is with -v.
func testLog(t testing.TB) *slog.Logger {
	level := slog.LevelWarn
	if testing.Verbose() {
		level = slog.LevelInfo
	}
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: level}))
}

// startHub runs the role "hub" as the command does, until the test ends.
func startHub(t *testing.T, cfg cli.HubConfig) cli.Ready {
	t.Helper()
	ready := make(chan cli.Ready, 1)
	cfg.OnReady = func(r cli.Ready) error {
		ready <- r
		return nil
	}
	if cfg.Dir == "" {
		cfg.Dir = t.TempDir()
	}
	if cfg.Listen == "" {
		cfg.Listen = "127.0.0.1:0"
	}
	cfg.Log = testLog(t)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- hub(ctx, cfg) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("hub: %v", err)
		}
	})
	select {
	case r := <-ready:
		return r
	case err := <-ended:
		ended <- nil
		t.Fatalf("the hub did not start: %v", err)
	case <-time.After(patience):
		t.Fatal("the hub does not become ready")
	}
	return cli.Ready{}
}

// startNode runs the role "node". It returns once the node has joined, with what
// stops it, or with why it has ended.
func startNode(t *testing.T, cfg cli.NodeConfig) (stop func(), err error) {
	t.Helper()
	joined := make(chan struct{})
	cfg.OnReady = func(cli.NodeReady) error {
		close(joined)
		return nil
	}
	cfg.Country, cfg.Price, cfg.Slots, cfg.Log = "FR", core.Credit/100, 1, testLog(t)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- nodeRun(ctx, cfg) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("node: %v", err)
		}
	})
	select {
	case <-joined:
		t.Cleanup(stop)
		return stop, nil
	case err := <-ended:
		cancel()
		return nil, err
	case <-time.After(patience):
		cancel()
		return nil, fmt.Errorf("no join within %s: %w", patience, <-ended)
	}
}

// operator is a client with the admin's key and some credits.
func operator(t *testing.T, r cli.Ready) *client.Client {
	t.Helper()
	cfg := client.Config{URL: r.URL, Key: r.AdminKey}
	if r.CACert != "" {
		cfg.CACert = []byte(r.CACert)
	}
	c, err := client.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	if _, err := c.Credit(t.Context(), "admin", 1000*core.Credit, "", "for the test"); err != nil {
		t.Fatal(err)
	}
	return c
}

// joinToken is for one node of an owner of its own.
func joinToken(t *testing.T, c *client.Client, owner core.AccountID) string {
	t.Helper()
	if _, err := c.CreateAccount(t.Context(), owner, 0, ""); err != nil {
		t.Fatal(err)
	}
	token, err := c.CreateJoinToken(t.Context(), owner, 1, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return token.Token
}

// echo runs one task from submit to verified result and fetches that.
func echo(t *testing.T, c *client.Client, model, text string) {
	t.Helper()
	r, err := c.Submit(t.Context(), &api.TaskSpec{Model: model, Input: []api.DataPointer{client.Inline([]byte(text))}}, client.SubmitOptions{Wait: patience})
	if err != nil {
		t.Fatal(err)
	}
	if r.State != "succeeded" {
		t.Fatalf("%s: %s %+v", r.State, r.Reason, r.NotChosen)
	}
	if out, err := c.PartResult(t.Context(), r.ID, 0); err != nil || string(out) != text {
		t.Fatalf("result %q, %v; want %q", out, err, text)
	}
}

func pushEcho(t *testing.T, c *client.Client) string {
	t.Helper()
	return push(t, c, "echo", "wasm", wasm.Echo)
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}
