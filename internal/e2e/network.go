package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"time"

	"atoll/client"
	"atoll/internal/core"
)

const (
	// startWithin bounds the start of a process, and its coming back.
	startWithin = 60 * time.Second
	pollEvery   = 20 * time.Millisecond
	anyPort     = "127.0.0.1:0"
	purse       = 1_000_000 * core.Credit
)

// Price is what each node of a Network asks for a lease.
const Price = core.Credit / 100

// Config says what to start.
type Config struct {
	Binary   string   // path of atoll
	Dir      string   // for all that the processes keep; the caller removes it
	Nodes    int      // each of another owner
	NodeArgs []string // for each node, beside what makes it join
	// Output returns where a process's words go; nil: nowhere.
	Output   func(process string) io.Writer
	LogLevel string // how much they say; empty: what is usual
}

// Network is a hub and some nodes on loopback.
type Network struct {
	Hub   *Process
	Nodes []*Process // named node-0, node-1, …
	URL   string
	Key   string // the admin's
}

// Start starts a network and returns when all its nodes are up. The admin's
// account has credits to spend.
func Start(ctx context.Context, cfg Config) (_ *Network, err error) {
	ready := filepath.Join(cfg.Dir, "ready.json")
	n := &Network{}
	n.Hub = cfg.process("hub", "hub", "--dir", filepath.Join(cfg.Dir, "hub"), "--ready-file", ready, "--listen", anyPort)
	defer func() {
		if err != nil {
			err = errors.Join(err, n.Close())
		}
	}()
	if err := n.Hub.Start(); err != nil {
		return nil, err
	}
	err = poll(ctx, "the hub to be ready", func() (bool, error) { return n.readReady(ready) })
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(n.URL)
	if err != nil {
		return nil, err
	}
	n.Hub.Args[slices.Index(n.Hub.Args, anyPort)] = u.Host // next time where clients and nodes know it to be
	c, err := n.Client()
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if _, err := c.Credit(ctx, "admin", purse, "", "to spend"); err != nil {
		return nil, err
	}
	for i := range cfg.Nodes {
		if err := n.addNode(ctx, c, &cfg, i); err != nil {
			return nil, err
		}
	}
	return n, n.WaitUp(ctx)
}

func (cfg *Config) process(name string, args ...string) *Process {
	out := io.Discard
	if cfg.Output != nil {
		out = cfg.Output(name)
	}
	if cfg.LogLevel != "" {
		args = append(args, "--log-level", cfg.LogLevel)
	}
	return &Process{Name: name, Args: args, binary: cfg.Binary, home: filepath.Join(cfg.Dir, "home"), out: out}
}

// readReady reads the hub's ready file, if it is there.
func (n *Network) readReady(path string) (bool, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	var r struct {
		URL      string `json:"url"`
		AdminKey string `json:"admin_key"`
	}
	if err := json.Unmarshal(b, &r); err != nil {
		return false, fmt.Errorf("the hub's ready file: %w", err)
	}
	n.URL, n.Key = r.URL, r.AdminKey
	return true, nil
}

func (n *Network) addNode(ctx context.Context, c *client.Client, cfg *Config, i int) error {
	name := fmt.Sprintf("node-%d", i)
	owner := core.AccountID(fmt.Sprintf("owner-%d", i))
	if _, err := c.CreateAccount(ctx, owner, 0, ""); err != nil {
		return err
	}
	token, err := c.CreateJoinToken(ctx, owner, 1, time.Hour)
	if err != nil {
		return err
	}
	p := cfg.process(name, append([]string{"node", "run", "--hub", n.URL, "--token", token.Token, "--name", name,
		"--dir", filepath.Join(cfg.Dir, name), "--country", "FR", "--price", Price.String()}, cfg.NodeArgs...)...)
	n.Nodes = append(n.Nodes, p)
	return p.Start()
}

// All returns the hub and the nodes.
func (n *Network) All() []*Process { return append([]*Process{n.Hub}, n.Nodes...) }

// Client returns a client with the admin's key, for the caller to close.
func (n *Network) Client() (*client.Client, error) {
	return client.New(client.Config{URL: n.URL, Key: n.Key})
}

// WaitUp returns when the market has heard of all nodes.
func (n *Network) WaitUp(ctx context.Context) error {
	c, err := n.Client()
	if err != nil {
		return err
	}
	defer c.Close()
	return poll(ctx, "all nodes to be up", func() (bool, error) {
		up := 0
		for x, err := range c.Nodes(ctx) {
			if err != nil {
				return false, err
			}
			if x.State == "up" {
				up++
			}
		}
		return up == len(n.Nodes), nil
	})
}

// Close kills all that runs.
func (n *Network) Close() error {
	var errs []error
	for _, p := range n.All() {
		errs = append(errs, p.Kill())
	}
	return errors.Join(errs...)
}

// poll asks again and again, since what it waits for happens in other processes.
func poll(ctx context.Context, what string, done func() (bool, error)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startWithin, fmt.Errorf("waited %s in vain for %s", startWithin, what))
	defer cancel()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		if ok, err := done(); ok || err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
