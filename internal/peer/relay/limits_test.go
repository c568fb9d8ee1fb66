package relay_test

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/yamux"

	"atoll/internal/auth"
	"atoll/internal/core"
	"atoll/internal/peer"
	"atoll/internal/peer/relay"
)

// Who may not, or asks for what there is not, is told so.
func TestRefusals(t *testing.T) {
	t.Parallel()
	h := newHub(t, func(c *relay.Config) { c.Circuits, c.PerNode = 3, 2 })
	h.client("a")
	const proto = "atoll-relay/1"
	for _, c := range []struct {
		name, path, key, connection, upgrade string
		status                               int
		words                                string
	}{
		{"no key", "/v1/node/relay", "nobody", "Upgrade", proto, 401, "not known"},
		{"no node", "/v1/node/relay", adminKey, "Upgrade", proto, 403, "scope node"},
		{"no node", "/v1/node/relay/b", adminKey, "Upgrade", proto, 403, "scope node"},
		{"no upgrade", "/v1/node/relay", key("a"), "Upgrade", "", 400, "Upgrade: atoll-relay/1"},
		{"another upgrade", "/v1/node/relay/b", key("a"), "Upgrade", "websocket", 400, "Upgrade: atoll-relay/1"},
		{"an upgrade that proxies drop", "/v1/node/relay/b", key("a"), "keep-alive", proto, 400, "Connection: Upgrade"},
		{"itself", "/v1/node/relay/a", key("a"), "Upgrade", proto, 400, "to itself"},
		{"not attached", "/v1/node/relay/b", key("a"), "Upgrade", proto, 503, "node b is not attached"},
	} {
		if status, text := h.get(c.path, c.key, c.connection, c.upgrade); status != c.status || !strings.Contains(text, c.words) {
			t.Errorf("%s: %d %s, want %d and %q", c.name, status, text, c.status, c.words)
		}
	}
	a := h.node("a", echoes)
	if _, err := a.Open(t.Context(), peer.Address{Node: "b", At: []string{relay.Address("b")}}, "echo"); !errors.Is(err, peer.ErrUnreachable) || !strings.Contains(err.Error(), "node b is not attached") {
		t.Errorf("a node that is not attached: %v", err)
	}
	if _, err := a.Open(t.Context(), peer.Address{Node: "b", At: []string{"relay/../b"}}, "echo"); err == nil || !strings.Contains(err.Error(), "node name") {
		t.Errorf("an address that is none: %v", err)
	}
}

// A hub without a relay is told from one to which the node is not attached.
func TestHubWithoutRelay(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	c, err := relay.NewClient(relay.ClientConfig{Hub: server.URL, Key: "key", Transport: server.Client().Transport, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Dialler(undiallable)(t.Context(), relay.Address("b")); err == nil || !strings.Contains(err.Error(), "relays nothing") {
		t.Error(err)
	}
	l := c.Listen() // goes on asking, until
	if err := l.Close(); err != nil || l.Attached() {
		t.Error(err)
	}
}

// Connections are bounded for each node, each owner and in all, and their places come back.
func TestLimits(t *testing.T) {
	t.Parallel()
	h := newHub(t, func(c *relay.Config) { c.Circuits, c.PerNode = 5, 2 })
	var at [3]*relay.Listener
	for i, name := range []core.NodeID{"b", "c", "d"} {
		at[i] = h.client(name).Listen()
		defer at[i].Close()
		until(t, "not attached", func() bool { return h.attached(name) })
	}
	dial := func(from, to core.NodeID) (net.Conn, error) {
		c, err := h.client(from).Dialler(undiallable)(t.Context(), relay.Address(to))
		if err == nil {
			t.Cleanup(func() { _ = c.Close() })
		}
		return c, err
	}
	for _, step := range []struct{ from, to, words string }{
		{"a", "b", ""}, {"a", "c", ""},
		{"a", "d", "node a has 2"},
		{"a-2", "d", ""},
		{"a-3", "d", "nodes of a have asked for 3"},
		{"x", "b", ""},
		{"y", "d", ""},
		{"z", "c", "this hub relays 5"},
	} {
		if _, err := dial(core.NodeID(step.from), core.NodeID(step.to)); (err == nil) != (step.words == "") || err != nil && !strings.Contains(err.Error(), step.words) {
			t.Errorf("%s to %s: %v, want %q", step.from, step.to, err, step.words)
		}
	}
	if err := at[1].Close(); err != nil { // and a's circuit to c with it
		t.Fatal(err)
	}
	until(t, "places do not come back", func() bool { return h.metric("atoll_relay_circuits") == 4 })
	if _, err := dial("y", "b"); err == nil || !strings.Contains(err.Error(), "node b has 2") {
		t.Errorf("y to b: %v", err)
	}
	if err := at[2].Close(); err != nil {
		t.Fatal(err)
	}
	until(t, "places do not come back", func() bool { return h.metric("atoll_relay_circuits") == 2 })
	d := h.client("d").Listen()
	defer d.Close()
	until(t, "not attached", func() bool { return d.Attached() && h.attached("d") })
	for _, from := range []core.NodeID{"a", "a-3"} {
		if _, err := dial(from, "d"); err != nil {
			t.Errorf("%s to d once there is a place: %v", from, err)
		}
	}
}

// An account that asks without end is told to wait.
func TestRate(t *testing.T) {
	t.Parallel()
	h := newHub(t, func(c *relay.Config) { c.Rate = auth.Rate{PerSecond: 0.001, Burst: 2} })
	h.client("a")
	h.client("a-2") // of the same owner
	for i, from := range []core.NodeID{"a", "a-2", "a"} {
		status, _ := h.get("/v1/node/relay/b", key(from), "Upgrade", "atoll-relay/1")
		if want := map[bool]int{false: 503, true: 429}[i == 2]; status != want {
			t.Errorf("ask %d: %d, want %d", i, status, want)
		}
	}
}

// The newest attachment of a node is the one that counts.
func TestNewestAttachment(t *testing.T) {
	t.Parallel()
	h := newHub(t, nil)
	old := h.client("b").Listen()
	defer old.Close()
	until(t, "not attached", old.Attached)
	young := h.client("b").Listen()
	defer young.Close()
	until(t, "the old attachment lives", func() bool { return young.Attached() && !old.Attached() })
}

// A node that is revoked is cut off at once: what it has asked for, and what leads to it.
func TestRevoked(t *testing.T) {
	t.Parallel()
	h := newHub(t, nil)
	a, b := h.node("a", echoes), h.node("b", echoes)
	out, in := open(t, a, b, "echo"), open(t, h.node("c", echoes), a, "echo")
	say(t, out, "a", []byte("x"))
	say(t, in, "c", []byte("x"))
	req, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, h.url()+"/v1/nodes/a", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+adminKey)
	res, err := h.transport().RoundTrip(req)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatal(res, err)
	}
	_ = res.Body.Close()
	for _, s := range []peer.Stream{out, in} {
		_, _ = io.ReadAll(s) // ends
	}
	until(t, "a is still attached", func() bool { return !h.attached("a") })
	if status, _ := h.get("/v1/node/relay", key("a"), "Upgrade", "atoll-relay/1"); status != http.StatusUnauthorized {
		t.Errorf("a revoked node is answered %d", status)
	}
}

// A key that becomes void while its node asks is found out, though Cut came too early.
func TestRevokedMeanwhile(t *testing.T) {
	t.Parallel()
	h, err := relay.NewHub(relay.Config{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	var void atomic.Bool
	valid := func() error {
		if void.Load() {
			return core.Errorf(core.Unauthorized, "the API key is not known")
		}
		return nil
	}
	answered := make(chan error, 1)
	mux := http.NewServeMux()
	mux.HandleFunc("/v1/node/relay", func(w http.ResponseWriter, r *http.Request) {
		answered <- h.Attach(w, r, &auth.Principal{Node: "b"}, valid)
	})
	mux.HandleFunc("/v1/node/relay/b", func(w http.ResponseWriter, r *http.Request) {
		answered <- h.Connect(w, r, &auth.Principal{Node: "a"}, "b", valid)
	})
	server := httptest.NewServer(mux)
	defer server.Close()
	ask := func(path string) net.Conn {
		t.Helper()
		c, err := net.Dial("tcp", server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		if _, err := io.WriteString(c, "GET /v1/node/relay"+path+" HTTP/1.1\r\nHost: hub\r\nConnection: Upgrade\r\nUpgrade: atoll-relay/1\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		return c
	}
	ask("")
	until(t, "b is not attached", func() bool { _, ok := h.Attached("b"); return ok })
	void.Store(true)
	ask("/b")
	if err := <-answered; core.KindOf(err) != core.Unauthorized {
		t.Errorf("a connects with a void key: %v", err)
	}
	c := ask("") // takes the place of b's attachment, and ends
	if _, err := io.ReadAll(c); err != nil {
		t.Error(err)
	}
	for range 2 {
		if err := <-answered; err != nil {
			t.Error(err)
		}
	}
	if _, ok := h.Attached("b"); ok {
		t.Error("b is attached with a void key")
	}
}

// What is said before the hub has answered is not lost, and a node that opens streams to
// the hub is refused.
func TestEarlyBytes(t *testing.T) {
	t.Parallel()
	h := startHub(t, true, nil)
	h.client("a")
	l := h.client("b").Listen()
	defer l.Close()
	until(t, "b is not attached", func() bool { return h.attached("b") })
	c, err := net.Dial("tcp", h.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, "GET /v1/node/relay/b HTTP/1.1\r\nHost: hub\r\nAuthorization: Bearer "+key("a")+"\r\nConnection: keep-alive, upgrade\r\nUpgrade: atoll-relay/1\r\n\r\nhello"); err != nil {
		t.Fatal(err)
	}
	far, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	got := make([]byte, 5)
	if _, err := io.ReadFull(far, got); err != nil || string(got) != "hello" {
		t.Errorf("%q, %v", got, err)
	}
	if s, err := far.(interface{ Session() *yamux.Session }).Session().OpenStream(); err == nil {
		t.Errorf("a node opened stream %d to the hub", s.StreamID())
	}
}

// A connection on which nothing is said is given up.
func TestSilence(t *testing.T) {
	t.Parallel()
	h := newHub(t, func(c *relay.Config) { c.Silence = 20 * time.Millisecond })
	l := h.client("b").Listen()
	defer l.Close()
	until(t, "b is not attached", func() bool { return h.attached("b") })
	c, err := h.client("a").Dialler(undiallable)(t.Context(), relay.Address("b"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	far, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	for _, end := range []net.Conn{c, far} {
		if n, err := end.Read(make([]byte, 1)); n > 0 || err == nil {
			t.Errorf("%d bytes, %v", n, err)
		}
	}
}
