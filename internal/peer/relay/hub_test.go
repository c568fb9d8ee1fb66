package relay_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"atoll/api"
	"atoll/internal/auth"
	"atoll/internal/core"
	"atoll/internal/httpapi/atoll"
	"atoll/internal/identity"
	"atoll/internal/peer"
	"atoll/internal/peer/relay"
)

// registry is what the API needs to know of a hub: whose the keys are.
type registry struct {
	atoll.Hub // nothing else is asked

	mu   sync.Mutex
	keys map[string]auth.Principal
}

func (r *registry) Authenticate(_ context.Context, key string) (atoll.Principal, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p, ok := r.keys[key]
	if !ok {
		return p, core.Errorf(core.Unauthorized, "the API key is not known")
	}
	return p, nil
}

func (r *registry) Nodes(context.Context) ([]api.Node, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var rows []api.Node
	for _, p := range r.keys {
		rows = append(rows, api.Node{ID: p.Node, Owner: p.Account})
	}
	return rows, nil
}

func (r *registry) Revoke(_ context.Context, id core.NodeID) (api.Node, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.keys, key(id))
	return api.Node{ID: id}, nil
}

// key is a node's API key in these tests.
func key(node core.NodeID) string { return "key-of-" + string(node) }

const adminKey = "key-of-the-operator"

// hub is a real API with a relay at an address that stays the same when it starts again.
type hub struct {
	t       testing.TB
	ca      *identity.CA
	keys    *registry
	metrics *prometheus.Registry
	plain   bool // without TLS, as on loopback
	addr    string
	server  *http.Server
	relay   *relay.Hub
	edit    func(*relay.Config)
}

func newHub(t testing.TB, edit func(*relay.Config)) *hub {
	t.Helper()
	return startHub(t, false, edit)
}

func startHub(t testing.TB, plain bool, edit func(*relay.Config)) *hub {
	t.Helper()
	ca, err := identity.LoadOrCreateCA(t.TempDir(), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	h := &hub{t: t, ca: ca, plain: plain, addr: "127.0.0.1:0", edit: edit,
		keys: &registry{keys: map[string]auth.Principal{adminKey: {Account: "operator", Scopes: []string{auth.Admin}, KeyID: adminKey}}}}
	h.start()
	t.Cleanup(h.stop)
	return h
}

func (h *hub) start() {
	h.t.Helper()
	cfg := relay.Config{Metrics: prometheus.NewRegistry(), Log: slog.New(slog.DiscardHandler)}
	if h.edit != nil {
		h.edit(&cfg)
	}
	h.metrics = cfg.Metrics.(*prometheus.Registry)
	var err error
	if h.relay, err = relay.NewHub(cfg); err != nil {
		h.t.Fatal(err)
	}
	handler, err := atoll.New(atoll.Config{Hub: h.keys, Log: cfg.Log, Relay: h.relay})
	if err != nil {
		h.t.Fatal(err)
	}
	ln, err := net.Listen("tcp", h.addr)
	if err != nil {
		h.t.Fatal(err)
	}
	h.addr = ln.Addr().String()
	h.server = &http.Server{Handler: handler, ReadHeaderTimeout: time.Minute, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
	if h.plain {
		go func() { _ = h.server.Serve(ln) }()
		return
	}
	if h.server.TLSConfig, err = h.ca.ServerTLS("127.0.0.1"); err != nil {
		h.t.Fatal(err)
	}
	go func() { _ = h.server.ServeTLS(ln, "", "") }()
}

func (h *hub) stop() {
	h.relay.Close()
	_ = h.server.Close()
}

func (h *hub) attached(name core.NodeID) bool {
	_, ok := h.relay.Attached(name)
	return ok
}

func (h *hub) url() string {
	if h.plain {
		return "http://" + h.addr
	}
	return "https://" + h.addr
}

// transport speaks with the hub as nodes do.
func (h *hub) transport() *http.Transport {
	cfg, err := identity.ClientTLS(h.ca.PEM(), nil)
	if err != nil {
		h.t.Fatal(err)
	}
	t := &http.Transport{TLSClientConfig: cfg}
	h.t.Cleanup(t.CloseIdleConnections)
	return t
}

// client is that of a node whose owner's name is the first letter of its own.
func (h *hub) client(name core.NodeID) *relay.Client {
	h.t.Helper()
	h.keys.mu.Lock()
	h.keys.keys[key(name)] = auth.Principal{Account: core.AccountID(name[:1]), Node: name, Scopes: []string{auth.Node}, KeyID: key(name)}
	h.keys.mu.Unlock()
	c, err := relay.NewClient(relay.ClientConfig{Hub: h.url(), Key: key(name), Transport: h.transport(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		h.t.Fatal(err)
	}
	return c
}

// get asks the hub for an upgrade, and returns the status and the problem's words.
func (h *hub) get(path, key, connection, upgrade string) (int, string) {
	h.t.Helper()
	req, err := http.NewRequestWithContext(h.t.Context(), http.MethodGet, h.url()+path, nil)
	if err != nil {
		h.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+key)
	req.Header.Set("Connection", connection)
	req.Header.Set("Upgrade", upgrade)
	res, err := h.transport().RoundTrip(req)
	if err != nil {
		h.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, 1<<10))
	if err != nil {
		h.t.Fatal(err)
	}
	return res.StatusCode, string(text)
}

// until waits for what happens on its own, in its time.
func until(t testing.TB, what string, done func() bool) {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	for ticks := time.NewTicker(time.Millisecond); !done(); {
		select {
		case <-ticks.C:
		case <-ctx.Done():
			t.Fatal(what)
		}
	}
}

// node is a node that nobody can dial.
type node struct {
	*peer.Endpoint
	address  peer.Address
	listener *relay.Listener
}

func undiallable(ctx context.Context, at string) (net.Conn, error) {
	return nil, errors.New("nobody answers at " + at)
}

func (h *hub) node(name core.NodeID, handlers map[string]peer.Handler) *node {
	h.t.Helper()
	return h.nodeAt(h.client(name), name, handlers)
}

// nodeAt is a node with a new key that reaches the hub with a client.
func (h *hub) nodeAt(c *relay.Client, name core.NodeID, handlers map[string]peer.Handler) *node {
	h.t.Helper()
	n := h.endpoint(name, peer.Config{Handlers: handlers, Dial: c.Dialler(undiallable)})
	n.address.At = []string{"198.51.100.7:8421", relay.Address(name)}
	n.listener = c.Listen()
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = n.Serve(n.listener)
	}()
	h.t.Cleanup(func() { _ = n.Close(); <-served })
	until(h.t, "the node is not attached", func() bool { return n.listener.Attached() && h.attached(name) })
	return n
}

// endpoint is a node with a new key, certified by the hub.
func (h *hub) endpoint(name core.NodeID, cfg peer.Config) *node {
	h.t.Helper()
	k, err := identity.Generate()
	if err != nil {
		h.t.Fatal(err)
	}
	text, err := h.ca.IssueNode(name, k.Public())
	if err != nil {
		h.t.Fatal(err)
	}
	cert, err := identity.NodeCertificate(text, k)
	if err != nil {
		h.t.Fatal(err)
	}
	cfg.Certificate, cfg.CA = func() (*tls.Certificate, error) { return cert, nil }, h.ca.PEM()
	e, err := peer.New(cfg)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = e.Close() })
	return &node{Endpoint: e, address: peer.Address{Node: name, Key: k.Public().Digest()}}
}

// echo sends back what it reads, and who it came from first.
func echo(_ context.Context, s peer.Stream) {
	if _, err := io.WriteString(s, string(s.Peer().Node)+"\n"); err == nil {
		_, _ = io.Copy(s, s)
	}
}

var echoes = map[string]peer.Handler{"echo": echo}

// say has an echo repeat what is said, and tell that it came from a node.
func say(t testing.TB, s peer.Stream, from string, data []byte) {
	t.Helper()
	sent := make(chan error, 1)
	go func() {
		_, err := s.Write(data)
		sent <- err
	}()
	want := append([]byte(from+"\n"), data...)
	got := make([]byte, len(want))
	if _, err := io.ReadFull(s, got); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("%d bytes came back changed, or %v", len(got), err)
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
}

func open(t testing.TB, from, to *node, protocol string) peer.Stream {
	t.Helper()
	s, err := from.Open(t.Context(), to.address, protocol)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func random(size int) []byte {
	b := make([]byte, size)
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(b) // never fails
	return b
}
