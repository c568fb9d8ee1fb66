package bus

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nkeys"

	"atoll/internal/core"
	"atoll/internal/identity"
)

// patience bounds every wait of these tests; none of them measures time.
const patience = 20 * time.Second

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

func startServer(t testing.TB, change func(*ServerConfig)) *Server {
	t.Helper()
	cfg := ServerConfig{Dir: t.TempDir(), Port: -1, Logger: quiet()}
	if change != nil {
		change(&cfg)
	}
	s, err := StartEmbedded(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func within(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

func connectHub(t testing.TB, s *Server) *HubConn {
	t.Helper()
	h, err := s.ConnectHub(within(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	return h
}

type issuer interface {
	IssueNode(core.NodeID, string) (string, error)
}

// credentials makes a node's nkey and JWT.
func credentials(t testing.TB, i issuer, node core.NodeID) (string, nkeys.KeyPair) {
	t.Helper()
	pair, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	userJWT, err := i.IssueNode(node, publicOf(t, pair))
	if err != nil {
		t.Fatal(err)
	}
	return userJWT, pair
}

func publicOf(t testing.TB, pair nkeys.KeyPair) string {
	t.Helper()
	public, err := pair.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return public
}

func overTCP(t testing.TB, s *Server, node core.NodeID) NodeConfig {
	userJWT, pair := credentials(t, s, node)
	return NodeConfig{Node: node, Logger: quiet(),
		Endpoint: Endpoint{URLs: []string{s.URL()}, UserJWT: userJWT, Nkey: pair}}
}

// connectNode returns a connected node whose messages go into the channel.
func connectNode(t testing.TB, cfg NodeConfig) (*NodeConn, <-chan Inbound) {
	t.Helper()
	ready := make(chan struct{}, 64)
	cfg.OnConnect = func() { ready <- struct{}{} }
	n, err := ConnectNode(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Close)
	in := make(chan Inbound, 1024)
	if err := n.Subscribe(func(m Inbound) { in <- m }); err != nil {
		t.Fatal(err)
	}
	receive(t, ready)
	return n, in
}

func subscribeHub(t testing.TB, h HubLink) <-chan Inbound {
	t.Helper()
	in := make(chan Inbound, 1024)
	if err := h.Subscribe(func(m Inbound) { in <- m }); err != nil {
		t.Fatal(err)
	}
	return in
}

func receive[T any](t testing.TB, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(patience):
		t.Fatal("nothing received")
		panic("unreachable")
	}
}

// exchange sends until a message comes through: the subscription of a hub that
// has just connected may be a moment behind.
func exchange(t testing.TB, send func() error, in <-chan Inbound) Inbound {
	t.Helper()
	deadline := time.After(patience)
	retry := time.NewTicker(20 * time.Millisecond)
	defer retry.Stop()
	for {
		if err := send(); err != nil && !errors.Is(err, ErrDisconnected) {
			t.Fatal(err)
		}
		select {
		case m := <-in:
			return m
		case <-retry.C:
		case <-deadline:
			t.Fatal("no message came through")
		}
	}
}

func TestBothWays(t *testing.T) {
	t.Parallel()
	const trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	tests := map[string]func(t *testing.T, s *Server) NodeConfig{
		"tcp": func(t *testing.T, s *Server) NodeConfig { return overTCP(t, s, "paris-1") },
		"in process": func(t *testing.T, s *Server) NodeConfig {
			cfg := overTCP(t, s, "paris-1")
			cfg.URLs, cfg.InProcess = nil, s
			return cfg
		},
	}
	for name, config := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startServer(t, func(c *ServerConfig) { c.InProcessOnly = name == "in process" })
			if got := s.URL() == ""; got != (name == "in process") {
				t.Fatalf("URL is %q", s.URL())
			}
			h := connectHub(t, s)
			atHub := subscribeHub(t, h)
			n, atNode := connectNode(t, config(t, s))
			if err := h.Send("paris-1", KindLease, []byte("do"), trace); err != nil {
				t.Fatal(err)
			}
			want := Inbound{Node: "paris-1", Kind: KindLease, Data: []byte("do"), Traceparent: trace}
			equal(t, receive(t, atNode), want)
			got := exchange(t, func() error { return n.Send(KindReport, []byte("done"), "") }, atHub)
			equal(t, got, Inbound{Node: "paris-1", Kind: KindReport, Data: []byte("done")})
			if st := n.Status(); !st.Connected || st.Connects != 1 || st.Err != nil {
				t.Errorf("status %+v", st)
			}
		})
	}
}

func equal(t testing.TB, got, want Inbound) {
	t.Helper()
	if got.Node != want.Node || got.Kind != want.Kind || string(got.Data) != string(want.Data) || got.Traceparent != want.Traceparent {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestOverTLS(t *testing.T) {
	t.Parallel()
	ca, err := identity.LoadOrCreateCA(t.TempDir(), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	serverTLS, err := ca.ServerTLS("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	s := startServer(t, func(c *ServerConfig) { c.TLS = serverTLS })
	h := connectHub(t, s) // in process, without TLS
	cfg := overTCP(t, s, "rome-1")
	if cfg.TLS, err = identity.ClientTLS(ca.PEM(), nil); err != nil {
		t.Fatal(err)
	}
	_, in := connectNode(t, cfg)
	if err := h.Send("rome-1", KindAck, nil, ""); err != nil {
		t.Fatal(err)
	}
	equal(t, receive(t, in), Inbound{Node: "rome-1", Kind: KindAck})

	other, err := identity.LoadOrCreateCA(t.TempDir(), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	if cfg.TLS, err = identity.ClientTLS(other.PEM(), nil); err != nil {
		t.Fatal(err)
	}
	refused(t, cfg)
}

// refused checks that a node gets no connection, and that its status says why.
func refused(t *testing.T, cfg NodeConfig) {
	t.Helper()
	n, err := ConnectNode(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	deadline := time.After(patience)
	for n.Status().Err == nil {
		select {
		case <-n.c.connected:
			t.Fatal("connected")
		case <-deadline:
			t.Fatal("neither connected nor refused")
		case <-time.After(time.Millisecond):
		}
	}
	if n.Status().Connected {
		t.Fatal("connected")
	}
	if err := n.Send(KindReport, nil, ""); !errors.Is(err, ErrDisconnected) {
		t.Errorf("send while refused: %v", err)
	}
}

func TestConfigIsRefused(t *testing.T) {
	t.Parallel()
	pair, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	good := Endpoint{URLs: []string{"nats://127.0.0.1:1"}, UserJWT: "x", Nkey: pair}
	tests := map[string]struct {
		change func(*NodeConfig)
		want   error
	}{
		"no key":         {func(c *NodeConfig) { c.Nkey = nil }, ErrCredentials},
		"no JWT":         {func(c *NodeConfig) { c.UserJWT = "" }, ErrCredentials},
		"plain network":  {func(c *NodeConfig) { c.URLs = []string{"nats://10.0.0.1:4222"} }, ErrPlaintext},
		"other scheme":   {func(c *NodeConfig) { c.URLs = []string{"ws://127.0.0.1:4222"} }, nil},
		"no address":     {func(c *NodeConfig) { c.URLs = nil }, nil},
		"no logger":      {func(c *NodeConfig) { c.Logger = nil }, nil},
		"node with dots": {func(c *NodeConfig) { c.Node = "a.b" }, nil},
		"wildcard node":  {func(c *NodeConfig) { c.Node = "*" }, nil},
	}
	for name, tt := range tests {
		cfg := NodeConfig{Node: "a", Endpoint: good, Logger: quiet()}
		tt.change(&cfg)
		n, err := ConnectNode(cfg)
		if err == nil {
			n.Close()
			t.Errorf("%s: accepted", name)
		}
		if tt.want != nil && !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
	}
	if _, err := StartEmbedded(ServerConfig{Dir: t.TempDir(), Host: "0.0.0.0", Logger: quiet()}); !errors.Is(err, ErrPlaintext) {
		t.Errorf("plain server on all addresses: %v", err)
	}
}

func TestSendIsRefused(t *testing.T) {
	t.Parallel()
	s := startServer(t, func(c *ServerConfig) { c.InProcessOnly = true })
	h := connectHub(t, s)
	for name, err := range map[string]error{
		"kind with dot":     h.Send("a", "lease.x", nil, ""),
		"wildcard kind":     h.Send("a", ">", nil, ""),
		"kind with newline": h.Send("a", "lease\r\nPUB", nil, ""),
		"wildcard node":     h.Send("*", KindLease, nil, ""),
		"node with newline": h.Send("a\r\n", KindLease, nil, ""),
		"too large":         h.Send("a", KindLease, make([]byte, MaxMessage), ""),
	} {
		if err == nil {
			t.Errorf("%s: sent", name)
		}
	}
	if err := h.Send("a", KindLease, make([]byte, MaxMessage-200), ""); err != nil {
		t.Error(err)
	}
	h.Close()
	if err := h.Send("a", KindLease, nil, ""); !errors.Is(err, ErrClosed) {
		t.Errorf("send after close: %v", err)
	}
}

func TestSubscribeOnce(t *testing.T) {
	t.Parallel()
	h := connectHub(t, startServer(t, func(c *ServerConfig) { c.InProcessOnly = true }))
	subscribeHub(t, h)
	if err := h.Subscribe(func(Inbound) {}); err == nil {
		t.Error("subscribed twice")
	}
}

// A slow handler loses messages, is told so, and does not stop the rest.
func TestSlowHandler(t *testing.T) {
	t.Parallel()
	s := startServer(t, nil)
	h := connectHub(t, s)
	cfg := overTCP(t, s, "slow")
	n, err := ConnectNode(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Close)
	n.c.cfg.queueMessages = 4 // the loop reads it only after Subscribe
	release, handled := make(chan struct{}), make(chan struct{}, 4096)
	var once sync.Once
	entered := make(chan struct{})
	if err := n.Subscribe(func(Inbound) {
		once.Do(func() { close(entered) })
		<-release
		handled <- struct{}{}
	}); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(patience)
	for n.Status().Slow == 0 {
		if time.Now().After(deadline) {
			t.Fatal("slow handler not noticed")
		}
		if err := h.Send("slow", KindLease, []byte("x"), ""); err != nil {
			t.Fatal(err)
		}
	}
	receive(t, entered)
	close(release)
	for range 3 {
		receive(t, handled)
	}
	if !n.Status().Connected {
		t.Error("a slow handler cost the connection")
	}
}

func TestSplitSubject(t *testing.T) {
	t.Parallel()
	good := map[string]Inbound{
		"node.a.out.report":     {Node: "a", Kind: "report"},
		"node.paris-1.out.x-9z": {Node: "paris-1", Kind: "x-9z"},
	}
	for subject, want := range good {
		node, kind, err := splitSubject(subject, outward)
		if err != nil || node != want.Node || kind != want.Kind {
			t.Errorf("%s: %s %s %v", subject, node, kind, err)
		}
	}
	for _, subject := range []string{"", "node.", "node.a.in.report", "node..out.report", "node.a.b.out.report",
		"node.a.out.", "node.a.out.b.c", "node.a.out.Report", "x.a.out.report", "node.a.out." + string(make([]byte, 40))} {
		if _, _, err := splitSubject(subject, outward); !errors.Is(err, ErrName) {
			t.Errorf("%q: %v", subject, err)
		}
	}
}

func FuzzSplitSubject(f *testing.F) {
	for _, s := range []string{"node.a.out.report", "node.a.in.lease", "node..out.", "node.a.out.out.x", "node.*.out.>"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, subject string) {
		node, kind, err := splitSubject(subject, outward)
		if err == nil && outSubject(string(node), kind) != subject {
			t.Errorf("%q became node %q kind %q", subject, node, kind)
		}
	})
}
