// Package node puts one node together: keys, the grant by which a hub has let it
// in, the measured machine, cache, outbox, bus and agent. It holds no rules of
// its own; those are in package agent.
//
// # A node's directory
//
//	keys/node.pem     its identity: signs receipts (ECDSA P-256)
//	keys/bus.pem      its messaging key
//	grant.json        the hub's answer when it joined, mode 0600: holds secrets
//	outbox.db         reports not yet acknowledged
//	lock              held while a process uses the directory, and says which
//	cache/            models, by digest
//	datasets/         tables that federations may learn from: see package dataset
//	federations/      what the node must not forget of those: see package fed/client
package node

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"github.com/nats-io/nkeys"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"atoll/internal/blob/swarm"
	"atoll/internal/bus"
	"atoll/internal/core"
	"atoll/internal/durable"
	"atoll/internal/engine"
	"atoll/internal/fed/client"
	"atoll/internal/identity"
	"atoll/internal/node/agent"
	"atoll/internal/node/measure"
	"atoll/internal/node/outbox"
	"atoll/internal/peer"
	"atoll/internal/peer/probe"
	"atoll/internal/policy"
	"atoll/internal/receipt"
)

// Defaults of a Config.
const (
	DefaultCacheBytes = 10 << 30
	DefaultMaxInput   = 64 << 20
	// defaultQueue leases for each slot keep a node busy while messages travel.
	defaultQueue = 32
	leastQueue   = 64
)

// Config is what a provider chooses. Fields without a remark on their default are
// required.
type Config struct {
	Name    core.NodeID
	Dir     string
	HubURL  string
	Token   identity.Token // needed only to join, the first time
	CACert  []byte         // PEM, trusted to join in place of what token or system trust; optional
	Country string         // where the node stands, ISO 3166-1 alpha-2
	Region  string         // optional, the provider's own word
	Labels  map[string]string
	Price   core.Money      // asked for each lease, and the least that is taken
	Engines []engine.Engine // stay the caller's to close
	// MaxPenalty is how much of the price may be withheld for lateness, in
	// thousandths; default: nothing.
	MaxPenalty int

	Slots      int   // leases run at once; default: one for each core
	Queue      int   // leases held at once; default: 32 for each slot, at least 64
	CPUMillis  int64 // offered, thousandths of a core; default: what there is
	Memory     int64 // offered, bytes; default: what there is
	CacheBytes int64 // default DefaultCacheBytes
	Reserve    int64 // bytes of the disk that stay free, for which the cache gives way; default: none
	MaxInput   int64 // bytes of one part; default DefaultMaxInput

	Accounts []core.AccountID // works only for these; default: for all
	Sandbox  []string         // what the kernel enforces, as probed
	Faults   agent.Faults     // rehearsal; default: none
	Version  string
	Build    core.Digest // of the executable, for receipts; default: unknown

	Machine *measure.Machine // default: measured in Run
	Bus     *bus.Server      // a bus of this process, in place of the grant's addresses
	Listen  string           // loopback address for /healthz and /metrics; default: none
	// Peers is the address at which other nodes are heard, with whom models are held
	// together, or PeersRelayed; default: a free port of loopback if the hub is there,
	// else PeersRelayed. PeersAt is where they reach it, if that is another address.
	// Away from loopback they reach it through the hub, too.
	Peers, PeersAt string

	Metrics prometheus.Registerer // default: none
	Gather  prometheus.Gatherer   // what /metrics shows; needed with Listen
	Tracer  trace.Tracer          // default: none
	Log     *slog.Logger
	NoSync  bool // for tests
}

// Node is one node. Its parts come to life in Run.
type Node struct {
	cfg  Config
	key  *identity.Key
	nkey nkeys.KeyPair

	unlock func() error // gives the directory back

	mu       sync.Mutex // guards what follows
	agent    *agent.Agent
	conn     *bus.NodeConn
	cancel   context.CancelFunc // of a Run that has no agent yet
	draining bool

	web    *http.Client   // to the hub, set by start
	cert   *certificate   // shown to peers, and to the hub but on loopback; set by start; nil if there is none
	near   *peers         // set by start; nil if there is no certificate
	models *swarm.Swarm   // set by start
	hub    *agent.HubHTTP // set by start

	up    chan struct{} // closed when agent and conn are set
	ended chan struct{} // closed when Run has returned
	once  sync.Once
}

// New checks the configuration, takes the directory, making it and the keys if
// they are not there. Run must follow; it gives the directory back.
func New(cfg Config) (_ *Node, err error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	n := &Node{cfg: cfg, up: make(chan struct{}), ended: make(chan struct{})}
	if n.unlock, err = durable.Lock(cfg.Dir, "node "+string(cfg.Name)); err != nil {
		if errors.Is(err, durable.ErrLocked) {
			err = fmt.Errorf("%w and --name, for which a token is needed, too", err)
		}
		return nil, fmt.Errorf("node directory: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, n.unlock())
		}
	}()
	if n.key, err = identity.LoadOrCreate(n.path("keys"), "node"); err != nil {
		return nil, err
	}
	if n.nkey, err = identity.LoadOrCreateNkey(n.path("keys"), "bus", nkeys.PrefixByteUser); err != nil {
		return nil, err
	}
	return n, nil
}

func (n *Node) path(name string) string { return filepath.Join(n.cfg.Dir, name) }

func (c *Config) complete() error {
	if err := core.CheckName("node", string(c.Name)); err != nil {
		return err
	}
	if err := checkHubURL(c.HubURL); err != nil {
		return err
	}
	if c.Peers == "" {
		c.Peers = PeersRelayed
		if c.hubIsHere() {
			c.Peers = "127.0.0.1:0"
		}
	}
	if err := checkPeers(c.Peers, c.PeersAt); err != nil {
		return err
	}
	switch {
	case c.Dir == "" || c.Log == nil || len(c.Engines) == 0:
		return errors.New("node: directory, log or engines are missing")
	case !policy.IsCountry(c.Country):
		return core.Errorf(core.Invalid, "country %.20q: want a code of ISO 3166-1 in two capital letters, such as FR", c.Country)
	case c.Price < 0 || c.Price > core.MaxMoney:
		return core.Errorf(core.Invalid, "price %s: want 0 to %s", c.Price, core.MaxMoney)
	case min(int64(c.Slots), int64(c.Queue), c.CPUMillis, c.Memory, c.CacheBytes, c.Reserve, c.MaxInput) < 0:
		return errors.New("node: one of slots, queue, processor, memory, cache, reserve and input is negative")
	case c.Listen != "" && c.Gather == nil:
		return errors.New("node: metrics are to be served, but none are given")
	}
	if c.Slots == 0 {
		c.Slots = runtime.GOMAXPROCS(0)
	}
	if c.Queue == 0 {
		c.Queue = max(defaultQueue*c.Slots, leastQueue)
	}
	if c.CacheBytes == 0 {
		c.CacheBytes = DefaultCacheBytes
	}
	if c.MaxInput == 0 {
		c.MaxInput = DefaultMaxInput
	}
	if c.Faults.Seed == 0 { // liars of one network do not lie about the same parts
		h := fnv.New64a()
		_, _ = h.Write([]byte(c.Name)) // never fails
		c.Faults.Seed = h.Sum64()
	}
	return nil
}

// hubIsHere reports whether the hub is on this very machine.
func (c *Config) hubIsHere() bool {
	u, err := url.Parse(c.HubURL)
	return err == nil && isLoopback(u.Hostname())
}

// checkHubURL keeps secrets off the open network.
func checkHubURL(text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" || (u.Scheme != "http" && u.Scheme != "https") || u.User != nil {
		return core.Errorf(core.Invalid, "hub URL %.120q: want https://host:port, or http://host:port on this machine", text)
	}
	if u.Scheme == "http" && !isLoopback(u.Hostname()) {
		return core.Errorf(core.Invalid, "hub URL %.120q: without TLS anybody on the way could read the node's key; use https", text)
	}
	return nil
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || (ip != nil && ip.IsLoopback())
}

// Run joins the hub if need be and works until ctx ends, or Drain has finished.
// It is called once. When ctx ends first, running parts are left undone; reports
// already stored are sent by the next Run over the same directory. It returns
// agent.ErrDied after the fault crash-after, and ErrDisowned when the hub has
// locked the node out.
func (n *Node) Run(ctx context.Context) (err error) {
	defer n.once.Do(func() { close(n.ended) })
	defer func() { err = errors.Join(err, n.unlock()) }()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	n.mu.Lock()
	n.cancel = cancel
	drained := n.draining
	n.mu.Unlock()
	if drained {
		return nil
	}
	out, err := outbox.Open(outbox.Config{Path: n.path("outbox.db"), NoSync: n.cfg.NoSync})
	if err != nil {
		return fmt.Errorf("node directory %s: %w", n.cfg.Dir, err)
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	grant, err := n.grant(ctx)
	if err != nil {
		return n.unlessDrained(err)
	}
	defer func() { err = errors.Join(err, n.near.close()) }()
	defer func() {
		if n.models != nil {
			n.models.Close()
		}
	}()
	conn, err := n.start(ctx, grant, out)
	if err != nil {
		return n.unlessDrained(err)
	}
	defer conn.Close()
	if n.cfg.Listen != "" {
		server, err := n.serve(ctx)
		if err != nil {
			return err
		}
		defer server.close()
	}
	return n.work(ctx, grant, conn)
}

// work runs the agent for as long as the hub knows this node.
func (n *Node) work(ctx context.Context, grant *identity.JoinGrant, conn *bus.NodeConn) error {
	ctx, stop := context.WithCancelCause(ctx)
	var watching sync.WaitGroup
	watching.Go(func() {
		if err := n.untilDisowned(ctx, grant, conn); err != nil {
			stop(err)
		}
	})
	if n.cert != nil {
		watching.Go(func() {
			n.cert.keepFresh(ctx, func(ctx context.Context) (string, error) { return n.renewCertificate(ctx, *grant) },
				func(err error) { n.cfg.Log.Warn("the certificate was not renewed, trying again", "error", err) })
		})
	}
	learner, err := client.New(client.Config{
		Node: n.cfg.Name, Country: n.cfg.Country, Key: n.key, Dir: n.cfg.Dir, Hub: client.HTTP{Caller: n.hub}, Threads: n.cfg.Slots, Log: n.cfg.Log,
	})
	if err != nil {
		stop(err)
	} else {
		watching.Go(func() { learner.Run(ctx) })
	}
	watching.Go(func() { n.near.serve(n) })
	err = n.agent.Run(ctx, conn)
	err = errors.Join(err, n.near.close())
	disowned := context.Cause(ctx)
	stop(nil)
	watching.Wait()
	if errors.Is(disowned, ErrDisowned) {
		return errors.Join(disowned, err)
	}
	return err
}

// unlessDrained takes the sting out of an error that Drain has caused.
func (n *Node) unlessDrained(err error) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.draining && errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// start makes the agent and connects it.
func (n *Node) start(ctx context.Context, grant *identity.JoinGrant, out *outbox.Outbox) (*bus.NodeConn, error) {
	tlsConfig, busTLS, cert, err := n.tlsConfigs(grant)
	if err != nil {
		return nil, err
	}
	n.cert = cert
	n.web = &http.Client{Transport: &http.Transport{TLSClientConfig: tlsConfig, MaxIdleConnsPerHost: max(n.cfg.Slots, swarm.OriginAtOnce), IdleConnTimeout: time.Minute,
		TLSHandshakeTimeout: 10 * time.Second, ResponseHeaderTimeout: 30 * time.Second, Proxy: http.ProxyFromEnvironment}}
	if n.near, err = n.openPeers(ctx, grant); err != nil {
		return nil, err
	}
	cfg, err := n.agentConfig(ctx, grant, out)
	if err != nil {
		return nil, err
	}
	if n.hub, err = agent.NewHubHTTP(n.cfg.HubURL, grant.APIKey, n.web); err != nil {
		return nil, err
	}
	cfg.HTTP = n.hub
	if err := n.openModels(&cfg); err != nil {
		return nil, err
	}
	a, err := agent.New(cfg)
	if err != nil {
		return nil, err
	}
	if n.near != nil {
		if err := n.near.join(n, grant.PeerCAPEM, cfg.Core.HubKey, cfg.Sharers); err != nil {
			return nil, err
		}
	}
	conn, err := bus.ConnectNode(bus.NodeConfig{
		Endpoint: bus.Endpoint{URLs: grant.NatsURLs, InProcess: n.cfg.Bus, TLS: busTLS, UserJWT: grant.UserJWT, Nkey: n.nkey},
		Node:     n.cfg.Name, OnConnect: a.Connected, Logger: n.cfg.Log,
	})
	if err != nil {
		return nil, err
	}
	if err := conn.Subscribe(a.Handle); err != nil {
		conn.Close()
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.draining {
		conn.Close()
		return nil, context.Canceled
	}
	n.agent, n.conn = a, conn
	close(n.up)
	return conn, nil
}

func (n *Node) agentConfig(ctx context.Context, grant *identity.JoinGrant, out *outbox.Outbox) (cfg agent.Config, err error) {
	c := &n.cfg
	hubKey, err := identity.ParsePublicKey(grant.HubKeyPEM)
	if err != nil {
		return cfg, fmt.Errorf("key of the hub: %w", err)
	}
	signer, err := receipt.NewSigner(n.key.Signer())
	if err != nil {
		return cfg, err
	}
	head := receipt.Execution{Hub: grant.HubID, Node: c.Name, Owner: grant.Owner, EngineBuild: c.Build}
	statements, err := agent.NewStatements(signer, head, c.Country)
	if err != nil {
		return cfg, err
	}
	m := c.Machine
	if m == nil {
		if m, err = measure.New(ctx, c.Log); err != nil {
			return cfg, err
		}
	}
	offer := n.offer(m)
	var together []engine.Sharer
	var ways func(context.Context, []peer.Address) []probe.Way
	if n.near != nil {
		offer.PeerAt, together, ways = n.near.self.At, sharers(c.Engines), n.near.probe
	}
	return agent.Config{
		Core: agent.CoreConfig{
			Node: c.Name, Hub: grant.HubID, HubKey: hubKey, Offer: offer,
			MaxInput: c.MaxInput, MaxModel: c.CacheBytes, MaxPenalty: c.MaxPenalty, Faults: c.Faults, Signer: statements, Outbox: out,
		},
		Engines: c.Engines, Sharers: together, Probe: ways, Metrics: c.Metrics, Tracer: c.Tracer, Log: c.Log,
	}, nil
}

// offer is what the node puts on the market: what was measured, as far as its
// provider lends it.
func (n *Node) offer(m *measure.Machine) bus.NodeOffer {
	c := &n.cfg
	o := bus.NodeOffer{
		Price: c.Price, Country: c.Country, Region: c.Region, Labels: c.Labels, Arch: m.Arch, OS: m.OS, Version: c.Version,
		Slots: c.Slots, Queue: c.Queue, CPUMillis: m.CPUMillis, Memory: m.Memory, GPUs: m.GPUs, Bench: m.Bench,
		Sandbox: c.Sandbox, Accounts: c.Accounts,
	}
	if c.CPUMillis > 0 {
		o.CPUMillis = c.CPUMillis
	}
	if c.Memory > 0 {
		o.Memory = c.Memory
	}
	return o
}

// Drain ends the node in order; see agent.Agent.Drain. Run returns nil then, or
// goes on if ctx ends first, for the caller to end.
func (n *Node) Drain(ctx context.Context) error {
	n.mu.Lock()
	n.draining = true
	a, cancel := n.agent, n.cancel
	n.mu.Unlock()
	switch {
	case a != nil:
		return a.Drain(ctx)
	case cancel != nil:
		cancel() // still joining: nothing to finish
	}
	return nil
}

// WaitConnected returns once the node has joined and is connected to its hub's
// bus, or says why not.
func (n *Node) WaitConnected(ctx context.Context) error {
	select {
	case <-n.up:
		return n.conn.WaitConnected(ctx)
	case <-n.ended:
		return errors.New("the node has ended")
	case <-ctx.Done():
		return fmt.Errorf("node %s has not joined: %w", n.cfg.Name, context.Cause(ctx))
	}
}
