// Package e2e runs atoll as its users do: real processes, real ports, signals.
package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"atoll/client"
	"atoll/internal/core"
)

// binary builds atoll once for all tests.
var binary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "atoll-e2e-*")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "atoll")
	out, err := exec.Command("go", "build", "-o", path, "atoll/cmd/atoll").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build: %w\n%s", err, out)
	}
	return path, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if path, err := binary(); err == nil && code == 0 {
		os.RemoveAll(filepath.Dir(path))
	}
	os.Exit(code)
}

// process is one atoll process that can be killed and started again.
type process struct {
	name string
	args []string
	cmd  *exec.Cmd
	out  *bytes.Buffer
}

func (p *process) start(t *testing.T) {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	p.out = new(bytes.Buffer)
	p.cmd = exec.Command(path, p.args...)
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.out
	p.cmd.Env = append(os.Environ(), "XDG_CONFIG_HOME="+t.TempDir())
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
}

// kill is SIGKILL: no handler runs.
func (p *process) kill(t *testing.T) {
	t.Helper()
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
	p.cmd = nil
	if t.Failed() {
		t.Logf("%s said:\n%s", p.name, tail(p.out.String(), 4000))
	}
}

func tail(s string, n int) string {
	if len(s) > n {
		return "…" + s[len(s)-n:]
	}
	return s
}

// network is a hub and some nodes, each of another owner.
type network struct {
	hub   *process
	nodes []*process
	url   string
	key   string
}

func (n *network) all() []*process { return append([]*process{n.hub}, n.nodes...) }

func startNetwork(t *testing.T, nodes int) *network {
	t.Helper()
	dir := t.TempDir()
	addr := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	ready := filepath.Join(dir, "ready.json")
	n := &network{url: "http://" + addr}
	n.hub = &process{name: "hub", args: []string{"hub", "--dir", filepath.Join(dir, "hub"), "--listen", addr, "--ready-file", ready}}
	n.hub.start(t)
	t.Cleanup(func() {
		for _, p := range n.all() {
			p.kill(t)
		}
	})
	waitFor(t, 60*time.Second, "the hub to be ready", func() bool {
		b, err := os.ReadFile(ready)
		var r struct {
			AdminKey string `json:"admin_key"`
		}
		if err != nil || json.Unmarshal(b, &r) != nil {
			return false
		}
		n.key = r.AdminKey
		return true
	})
	c := n.client(t)
	if _, err := c.Credit(t.Context(), "admin", 1_000_000*core.Credit, "", "for the tests"); err != nil {
		t.Fatal(err)
	}
	for i := range nodes {
		name := fmt.Sprintf("node-%d", i)
		owner := core.AccountID(fmt.Sprintf("owner-%d", i))
		if _, err := c.CreateAccount(t.Context(), owner, 0, ""); err != nil {
			t.Fatal(err)
		}
		token, err := c.CreateJoinToken(t.Context(), owner, 1, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		p := &process{name: name, args: []string{"node", "run", "--hub", n.url, "--token", token.Token, "--name", name, "--dir", filepath.Join(dir, name), "--country", "FR", "--price", "0.01"}}
		p.start(t)
		n.nodes = append(n.nodes, p)
	}
	waitFor(t, 60*time.Second, "the nodes to join", func() bool { return n.up(t) == nodes })
	return n
}

func (n *network) client(t *testing.T) *client.Client {
	t.Helper()
	c, err := client.New(client.Config{URL: n.url, Key: n.key})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func (n *network) up(t *testing.T) (up int) {
	nodes, err := client.Collect(n.client(t).Nodes(t.Context()))
	if err != nil {
		return 0
	}
	for _, x := range nodes {
		if x.State == "up" {
			up++
		}
	}
	return up
}

func (n *network) pushModel(t *testing.T, module []byte) string {
	t.Helper()
	c := n.client(t)
	b, err := c.PutBlob(t.Context(), module)
	if err != nil {
		t.Fatal(err)
	}
	m, err := c.RegisterModel(t.Context(), client.NewModel{Name: "module", Engine: "wasm", Digest: b.Digest})
	if err != nil {
		t.Fatal(err)
	}
	return m.ID
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// waitFor polls, since what it waits for happens in other processes.
func waitFor(t *testing.T, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("waited %s in vain for %s", limit, what)
		}
		time.Sleep(50 * time.Millisecond)
	}
}
