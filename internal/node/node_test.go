package node

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"atoll/api"
	"atoll/internal/blob/blobtest"
	"atoll/internal/bus"
	"atoll/internal/core"
	"atoll/internal/durable"
	"atoll/internal/engine"
	"atoll/internal/identity"
	"atoll/internal/node/agent"
	"atoll/internal/node/measure"
	"atoll/internal/receipt"
)

// patience bounds every wait of these tests; none of them measures time.
const patience = 20 * time.Second

var quiet = slog.New(slog.DiscardHandler)

// hub is as much of a hub as a node sees: an address to join at, and a bus.
type hub struct {
	t    *testing.T
	web  *httptest.Server
	bus  *bus.Server
	link *bus.HubConn
	key  *identity.Key
	ca   *identity.CA
	// monthAgo is the same authority, whose certificates have a day left.
	monthAgo *identity.CA
	token    identity.Token
	boot     string // of the node, as last heard

	mu    sync.Mutex // guards what follows
	joins int
	busy  int // requests to answer with 503 first
	no    string
	spoil func(*identity.JoinGrant)
	// nextCert is the node's next certificate.
	nextCert string
	// disowns: the hub no longer knows the node's key.
	disowns bool

	inbox chan bus.Inbound
}

func newHub(t *testing.T, secure bool) *hub {
	t.Helper()
	h := &hub{t: t, inbox: make(chan bus.Inbound, 1000)}
	var err error
	if h.key, err = identity.Generate(); err != nil {
		t.Fatal(err)
	}
	h.token = identity.NewJoinToken(core.Digest{})
	server := bus.ServerConfig{Dir: t.TempDir(), Port: -1, Logger: quiet}
	h.web = httptest.NewUnstartedServer(http.HandlerFunc(h.serve))
	h.web.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	if secure {
		dir := t.TempDir()
		if h.ca, err = identity.LoadOrCreateCA(dir, time.Now); err != nil {
			t.Fatal(err)
		}
		if h.monthAgo, err = identity.LoadOrCreateCA(dir, func() time.Time { return time.Now().Add(-29 * 24 * time.Hour) }); err != nil {
			t.Fatal(err)
		}
		if server.TLS, err = h.ca.ServerTLS("127.0.0.1"); err != nil {
			t.Fatal(err)
		}
		h.web.Listener = tls.NewListener(h.web.Listener, server.TLS) // StartTLS would add a certificate of its own
		h.web.Start()
		h.web.URL = strings.Replace(h.web.URL, "http:", "https:", 1)
		h.token = identity.NewJoinToken(h.ca.Pin())
	} else {
		h.web.Start()
	}
	t.Cleanup(h.web.Close)
	if h.bus, err = bus.StartEmbedded(server); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.bus.Close)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if h.link, err = h.bus.ConnectHub(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.link.Close)
	if err := h.link.Subscribe(func(m bus.Inbound) { h.inbox <- m }); err != nil {
		t.Fatal(err)
	}
	return h
}

func (h *hub) serve(w http.ResponseWriter, req *http.Request) {
	if path := "/v1/node/models/" + model().String(); req.URL.Path == path || req.URL.Path == path+"/chunks" {
		blobtest.ServeModel(w, req, []byte("upper"))
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if req.URL.Path == "/v1/node/certificate" && h.nextCert != "" {
		_ = json.NewEncoder(w).Encode(api.NodeCertificate{Certificate: h.nextCert})
		return
	}
	if req.URL.Path == "/v1/node" && h.disowns {
		http.Error(w, "the API key is not known", http.StatusUnauthorized)
		return
	}
	var r identity.JoinRequest
	if req.Method != http.MethodPost || req.URL.Path != "/v1/nodes/join" || json.NewDecoder(req.Body).Decode(&r) != nil {
		http.NotFound(w, req)
		return
	}
	if h.busy > 0 {
		h.busy--
		http.Error(w, "starting", http.StatusServiceUnavailable)
		return
	}
	public, err := identity.VerifyJoin(r)
	if err != nil || r.Token != h.token || h.no != "" {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(http.StatusUnauthorized)
		_ = json.NewEncoder(w).Encode(map[string]string{"title": "Unauthorized", "detail": "the join token " + h.no, "hint": "ask for another"})
		return
	}
	h.joins++
	g := identity.JoinGrant{Node: r.Node, Owner: "olga", HubID: "hub-1", HubKeyPEM: h.key.Public().PEM(), LogVKey: "log", APIKey: identity.NewAPIKey(),
		NatsURLs: []string{h.bus.URL()}, ServerTime: time.Now().UnixMilli()}
	if g.UserJWT, err = h.bus.IssueNode(r.Node, r.NkeyPublic); err != nil {
		h.t.Error(err)
	}
	if h.ca != nil {
		cert, err := h.ca.IssueNode(r.Node, public)
		if err != nil {
			h.t.Error(err)
		}
		g.CACertPEM, g.NatsCAPEM, g.NodeCert = string(h.ca.PEM()), string(h.ca.PEM()), string(cert)
	}
	if h.spoil != nil {
		h.spoil(&g)
	}
	_ = json.NewEncoder(w).Encode(g)
}

// next returns the next message of a kind.
// hear notes which life of the node is the present one.
func (h *hub) hear(heartbeat []byte) {
	h.t.Helper()
	var m bus.Heartbeat
	if err := json.Unmarshal(heartbeat, &m); err != nil {
		h.t.Fatal(err)
	}
	h.boot = m.Boot
}

func (h *hub) offer(leases []bus.Lease) {
	h.t.Helper()
	h.send(bus.KindLease, bus.LeaseBatch{Hub: "hub-1", Node: "paris-1", Boot: h.boot, IssuedMs: time.Now().UnixMilli(), Leases: leases})
}

func (h *hub) next(kind string) []byte {
	h.t.Helper()
	return h.nextWhile(kind, nil, nil)
}

// nextWhile returns the next message of a kind, and meanwhile does something at
// each tick.
func (h *hub) nextWhile(kind string, tick <-chan time.Time, do func()) []byte {
	h.t.Helper()
	limit := time.After(patience)
	for {
		select {
		case <-tick:
			do()
		case m := <-h.inbox:
			if m.Kind == bus.KindHeartbeat {
				h.hear(m.Data)
			}
			if m.Kind == kind && m.Node == "paris-1" {
				return m.Data
			}
		case <-limit:
			h.t.Fatalf("waited in vain for a %s", kind)
		}
	}
}

func (h *hub) send(kind string, v any) {
	h.t.Helper()
	data, err := json.Marshal(v)
	if err == nil && kind == bus.KindLease {
		var sealed identity.Sealed
		sealed, err = identity.Seal(bus.LeasePayloadType, data, h.key)
		data = sealed
	}
	if err == nil {
		err = h.link.Send("paris-1", kind, data, "")
	}
	if err != nil {
		h.t.Fatal(err)
	}
}

// upper is an engine without models.
type upper struct{}

func (upper) Name() string       { return "text" }
func (upper) Reproducible() bool { return true }
func (upper) Close() error       { return nil }
func (upper) Load(context.Context, engine.Model) (engine.Instance, error) {
	return upper{}.instance(), nil
}
func (upper) instance() engine.Instance { return upperInstance{} }

type upperInstance struct{}

func (upperInstance) Close(context.Context) error { return nil }
func (upperInstance) Run(_ context.Context, in engine.Input) (engine.Output, engine.Usage, error) {
	return engine.Output{Data: bytes.ToUpper(in.Data)}, engine.Usage{}, nil
}

func model() core.Digest { return core.DigestOf([]byte("upper")) }

func (h *hub) config(dir string) Config {
	return Config{
		Name: "paris-1", Dir: dir, HubURL: h.web.URL, Token: h.token, Country: "FR", Labels: map[string]string{"tier": "gold"}, Price: 30_000,
		Engines: []engine.Engine{upper{}}, Slots: 2, Version: "0.1.0", Log: quiet, NoSync: true,
		Machine: &measure.Machine{CPUMillis: 2000, Memory: 1 << 30, Arch: "amd64", OS: "linux"},
	}
}

// running is a node in Run.
func running(t *testing.T, cfg Config) (n *Node, end func() error) {
	t.Helper()
	n, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	var once sync.Once
	var result error
	end = func() error {
		once.Do(func() { cancel(); result = <-done })
		return result
	}
	t.Cleanup(func() {
		if err := end(); err != nil {
			t.Error(err)
		}
	})
	return n, end
}

func work(t *testing.T, h *hub, id core.LeaseID) {
	t.Helper()
	data := []byte("hello")
	leases := []bus.Lease{{
		ID: id, Task: 1, Account: "alice", Engine: "text", Model: model(), ModelSize: 5, Input: core.DigestOf(data), InputSize: 5, Data: data,
		Nonce: "n", Price: 30_000, ExecutionMs: 10_000, ExpiresMs: time.Now().Add(time.Minute).UnixMilli(), Residency: []string{"EU"},
	}}
	h.offer(leases)
	again := time.NewTicker(200 * time.Millisecond) // the node may not have subscribed yet
	defer again.Stop()
	var r bus.Report
	if err := json.Unmarshal(h.nextWhile(bus.KindReport, again.C, func() { h.offer(leases) }), &r); err != nil {
		t.Fatal(err)
	}
	e, err := receipt.ParseExecution(r.Envelope)
	if err != nil || len(r.Results) != 1 || string(r.Results[0].Data) != "HELLO" || e.Owner != "olga" || e.Node != "paris-1" || e.Leases[0].Lease != id {
		t.Fatalf("%+v, %+v, %v", r.Results, e, err)
	}
	h.send(bus.KindAck, bus.Ack{Leases: []core.LeaseID{id}})
}

func TestNodeWorks(t *testing.T) {
	t.Parallel()
	for name, secure := range map[string]bool{"loopback": false, "TLS": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHub(t, secure)
			h.busy = 2
			dir := filepath.Join(t.TempDir(), "node")
			n, _ := running(t, h.config(dir))
			var b bus.Heartbeat
			if err := json.Unmarshal(h.next(bus.KindHeartbeat), &b); err != nil || b.Offer.Price != 30_000 || b.Offer.Country != "FR" ||
				b.Offer.Slots != 2 || b.Offer.Queue != 64 || b.Offer.Memory != 1<<30 || b.Offer.Engines[0] != "text" {
				t.Fatalf("%+v, %v", b, err)
			}
			work(t, h, 1)
			if info, err := os.Stat(filepath.Join(dir, "grant.json")); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("grant: %v, %v", info, err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			if err := n.Drain(ctx); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// A second life needs no token; a second process over one directory is refused.
func TestNodeReusesItsGrant(t *testing.T) {
	t.Parallel()
	h := newHub(t, false)
	dir := t.TempDir()
	first, end := running(t, h.config(dir))
	h.next(bus.KindHeartbeat)
	if err := first.WaitConnected(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := New(h.config(dir)); !errors.Is(err, durable.ErrLocked) || !strings.Contains(err.Error(), "by node paris-1, process ") || !strings.Contains(err.Error(), "another --dir and --name") {
		t.Errorf("two nodes over one directory: %v", err)
	}
	if err := end(); err != nil {
		t.Fatal(err)
	}
	again := h.config(dir)
	again.Token = ""
	running(t, again)
	work(t, h, 2)
	if h.joins != 1 {
		t.Errorf("joined %d times", h.joins)
	}
}

func TestNodeIsNotLetIn(t *testing.T) {
	t.Parallel()
	stranger := newHub(t, true)
	for name, tt := range map[string]struct {
		change func(*hub, *Config)
		why    string
	}{
		"no token":   {func(_ *hub, c *Config) { c.Token = "" }, "needs a join token"},
		"refused":    {func(h *hub, _ *Config) { h.no = "has expired" }, "refuses this node: the join token has expired; ask for another"},
		"other node": {func(h *hub, _ *Config) { h.spoil = func(g *identity.JoinGrant) { g.Node = "rome-1" } }, "missing or wrong"},
		"no hub key": {func(h *hub, _ *Config) { h.spoil = func(g *identity.JoinGrant) { g.HubKeyPEM = "" } }, "public key"},
		"no API key": {func(h *hub, _ *Config) { h.spoil = func(g *identity.JoinGrant) { g.APIKey = "x" } }, "not a valid token"},
		"no CA":      {func(h *hub, _ *Config) { h.spoil = func(g *identity.JoinGrant) { g.CACertPEM = "x" } }, "CA"},
		"not that hub's CA": {func(_ *hub, c *Config) {
			c.HubURL = stranger.web.URL
			c.Token = identity.NewJoinToken(core.DigestOf(nil))
		}, "not of the hub that gave out this token"},
		"CA of nobody": {func(_ *hub, c *Config) {
			c.HubURL = stranger.web.URL
			c.Token = identity.NewJoinToken(core.Digest{})
		}, "--ca-cert"},
		"another's CA": {func(h *hub, c *Config) {
			c.HubURL, c.Token, c.CACert = stranger.web.URL, stranger.token, otherCA(h.t)
		}, "--ca-cert"},
		"no hub there": {func(h *hub, c *Config) {
			web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(http.StatusNotFound)
				_, _ = w.Write([]byte("\n<!DOCTYPE html><title>404</title>"))
			}))
			h.t.Cleanup(web.Close)
			c.HubURL = web.URL
		}, "refuses this node: 404 Not Found: a page for browsers, so this may not be a hub's address"},
		"no TLS there": {func(h *hub, c *Config) { c.HubURL = strings.Replace(h.web.URL, "http:", "https:", 1) }, "does not speak TLS"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHub(t, false)
			cfg := h.config(t.TempDir())
			tt.change(h, &cfg)
			n, err := New(cfg)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			if err := n.Run(ctx); err == nil || !strings.Contains(err.Error(), tt.why) {
				t.Errorf("%v, want %q", err, tt.why)
			}
			if err := n.WaitConnected(ctx); err == nil {
				t.Error("waited for a node that has ended")
			}
		})
	}
}

func TestNodeDrainsWhileJoining(t *testing.T) {
	t.Parallel()
	h := newHub(t, false)
	h.busy = 1 << 30
	n, end := running(t, h.config(t.TempDir()))
	if err := n.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := end(); err != nil {
		t.Errorf("drained: %v", err)
	}
}

func TestGrantOfAnother(t *testing.T) {
	t.Parallel()
	h := newHub(t, false)
	dir := t.TempDir()
	_, end := running(t, h.config(dir))
	h.next(bus.KindHeartbeat)
	if err := end(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "grant.json")
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		change func(*Config) error
		why    string
	}{
		"other name":  {func(c *Config) error { c.Name = "rome-1"; return nil }, "belongs to node paris-1, not rome-1"},
		"other hub":   {func(c *Config) error { c.HubURL, c.Token = "http://127.0.0.1:1", ""; return nil }, "has joined the hub at"},
		"open to all": {func(*Config) error { return os.Chmod(path, 0o644) }, "lets others in"},
		"damaged":     {func(*Config) error { return os.WriteFile(path, []byte("{"), 0o600) }, "join again with a token"},
		"huge":        {func(*Config) error { return os.WriteFile(path, make([]byte, maxGrant+1), 0o600) }, "larger than"},
	} {
		cfg := h.config(dir)
		if err := errors.Join(os.WriteFile(path, good, 0o600), os.Chmod(path, 0o600), tt.change(&cfg)); err != nil {
			t.Fatal(err)
		}
		n, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if err := n.Run(t.Context()); err == nil || !strings.Contains(err.Error(), tt.why) {
			t.Errorf("%s: %v, want %q", name, err, tt.why)
		}
	}
}

func TestBadConfig(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		change func(*Config)
		why    string
	}{
		"name":       {func(c *Config) { c.Name = "Paris 1" }, "node name"},
		"no dir":     {func(c *Config) { c.Dir = "" }, "directory"},
		"no engine":  {func(c *Config) { c.Engines = nil }, "engines"},
		"country":    {func(c *Config) { c.Country = "UK" }, `country "UK"`},
		"price":      {func(c *Config) { c.Price = -1 }, "price"},
		"negative":   {func(c *Config) { c.Memory = -1 }, "negative"},
		"plain HTTP": {func(c *Config) { c.HubURL = "http://hub.example:8420" }, "use https"},
		"no URL":     {func(c *Config) { c.HubURL = "hub:8420" }, "want https://host:port"},
		"a password": {func(c *Config) { c.HubURL = "https://u:p@hub" }, "want https://host:port"},
		"listen":     {func(c *Config) { c.Listen = "127.0.0.1:0" }, "metrics"},
		"peers":      {func(c *Config) { c.Peers = "none" }, "want host:port, or relay"},
		"all peers":  {func(c *Config) { c.Peers = ":8421" }, "--peers-at"},
		"nobody's":   {func(c *Config) { c.Peers, c.PeersAt = PeersRelayed, "node:8421" }, "where to listen"},
		"peers at":   {func(c *Config) { c.PeersAt = "node" }, "want host:port"},
	} {
		h := &hub{web: &httptest.Server{URL: "http://127.0.0.1:1"}}
		cfg := h.config(t.TempDir())
		tt.change(&cfg)
		if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), tt.why) {
			t.Errorf("%s: %v, want %q", name, err, tt.why)
		}
	}
}

// Other nodes reach a node at a port of loopback if the hub is there, else through the hub,
// unless its provider says where.
func TestWherePeersFind(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ hub, peers, want string }{
		{"http://127.0.0.1:8420", "", "127.0.0.1:0"},
		{"https://hub.example:8420", "", PeersRelayed},
		{"http://localhost:8420", PeersRelayed, PeersRelayed},
		{"https://hub.example:8420", "192.0.2.1:8421", "192.0.2.1:8421"},
	} {
		h := &hub{web: &httptest.Server{URL: tt.hub}}
		cfg := h.config(t.TempDir())
		cfg.Peers = tt.peers
		if err := cfg.complete(); err != nil || cfg.Peers != tt.want {
			t.Errorf("%q at %s: %q, %v, want %q", tt.peers, tt.hub, cfg.Peers, err, tt.want)
		}
	}
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	h := newHub(t, false)
	ln, err := net.Listen("tcp", "127.0.0.1:0") // finds a free port
	if err != nil {
		t.Fatal(err)
	}
	cfg := h.config(t.TempDir())
	cfg.Listen = ln.Addr().String()
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	reg := prometheus.NewRegistry()
	cfg.Metrics, cfg.Gather = reg, reg
	running(t, cfg)
	work(t, h, 1)
	for path, want := range map[string]string{"/metrics": `atoll_node_leases_total{outcome="accepted"} 1`, "/healthz": `"connected":true`} {
		res, err := http.Get((&url.URL{Scheme: "http", Host: cfg.Listen, Path: path}).String())
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(res.Body)
		if err = errors.Join(err, res.Body.Close()); err != nil || !strings.Contains(string(b), want) {
			t.Errorf("%s: %v, want %s in\n%s", path, err, want, b)
		}
	}
	open := h.config(t.TempDir())
	open.Listen, open.Gather = "0.0.0.0:0", reg
	n, err := New(open)
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "loopback") {
		t.Errorf("metrics for the whole network: %v", err)
	}
}

func TestRehearsalEnds(t *testing.T) {
	t.Parallel()
	h := newHub(t, false)
	cfg := h.config(t.TempDir())
	cfg.Faults = agent.Faults{CrashAfter: 1}
	n, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- n.Run(t.Context()) }()
	h.next(bus.KindHeartbeat)
	data := []byte("x")
	h.offer([]bus.Lease{{
		ID: 1, Task: 1, Account: "alice", Engine: "text", Model: model(), ModelSize: 5, Input: core.DigestOf(data), InputSize: 1, Data: data,
		Nonce: "n", Price: 30_000, ExecutionMs: 10_000, ExpiresMs: time.Now().Add(time.Minute).UnixMilli(),
	}})
	if err := <-done; !errors.Is(err, agent.ErrDied) {
		t.Errorf("%v", err)
	}
}

func FuzzGrant(f *testing.F) {
	key, err := identity.Generate()
	if err != nil {
		f.Fatal(err)
	}
	good, err := json.Marshal(identity.JoinGrant{Node: "paris-1", Owner: "olga", HubID: "hub-1", HubKeyPEM: key.Public().PEM(), UserJWT: "jwt", APIKey: identity.NewAPIKey()})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"node":"paris-1","ca_cert":"-----BEGIN CERTIFICATE-----"}`))
	f.Add([]byte(`{"detail":"no"}`))
	n := &Node{cfg: Config{Name: "paris-1", HubURL: "https://hub"}, key: key}
	f.Fuzz(func(t *testing.T, body []byte) {
		_ = problem("409 Conflict", body)
		g, err := n.parseGrant(body)
		if err == nil && (g.Node != "paris-1" || g.Owner == "" || g.APIKey.Kind() != identity.APIKey) {
			t.Errorf("%+v", g)
		}
	})
}
