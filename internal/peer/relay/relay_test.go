package relay_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"atoll/internal/core"
	"atoll/internal/peer"
	"atoll/internal/peer/relay"
)

// Two nodes that cannot dial one another talk, in both directions, each sure of the
// other; over one circuit, whoever has asked for it.
func TestRelay(t *testing.T) {
	t.Parallel()
	t.Run("over TLS", func(t *testing.T) { t.Parallel(); testRelay(t, newHub(t, nil)) })
	t.Run("plain", func(t *testing.T) { t.Parallel(); testRelay(t, startHub(t, true, nil)) })
}

func testRelay(t *testing.T, h *hub) {
	a, b := h.node("a", echoes), h.node("b", echoes)
	s := open(t, a, b, "echo")
	if s.Peer() != (peer.Peer{Node: "b", Key: b.address.Key}) {
		t.Errorf("%+v", s.Peer())
	}
	until(t, "the way to b is not measured", func() bool { rtt, _ := h.relay.Attached("b"); return rtt > 0 })
	data := random(8 << 20)
	say(t, s, "a", data)
	say(t, open(t, b, a, "echo"), "b", data)
	if n := h.metric("atoll_relay_circuits"); n != 1 {
		t.Errorf("%g circuits for both directions", n)
	}
	if n := h.metric("atoll_relay_bytes_total"); n < 4*float64(len(data)) {
		t.Errorf("%g bytes were counted, of four times %d", n, len(data))
	}
}

// metric is the value of one of the hub's.
func (h *hub) metric(name string) float64 {
	h.t.Helper()
	families, err := h.metrics.Gather()
	if err != nil {
		h.t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			m := f.GetMetric()[0]
			return m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	h.t.Fatalf("no metric %s", name)
	return 0
}

// Nodes that get out by an HTTP proxy alone get to the relay, too.
func TestThroughProxy(t *testing.T) {
	t.Parallel()
	h := newHub(t, nil)
	var passed atomic.Int64
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		out, err := net.Dial("tcp", r.Host)
		if r.Method != http.MethodConnect || err != nil {
			http.Error(w, "no way", http.StatusBadGateway)
			return
		}
		defer out.Close()
		w.WriteHeader(http.StatusOK)
		in, early, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer in.Close()
		passed.Add(1)
		go func() {
			_, _ = io.Copy(out, early)
			_ = out.Close()
		}()
		_, _ = io.Copy(in, out)
	}))
	defer proxy.Close()
	by, err := url.Parse(proxy.URL)
	if err != nil {
		t.Fatal(err)
	}
	behind := func(name core.NodeID) *node {
		c := h.transport()
		c.Proxy = http.ProxyURL(by)
		h.client(name) // makes its key known
		client, err := relay.NewClient(relay.ClientConfig{Hub: h.url(), Key: key(name), Transport: c, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		return h.nodeAt(client, name, echoes)
	}
	say(t, open(t, behind("a"), behind("b"), "echo"), "a", random(1<<20))
	if passed.Load() != 3 { // two attachments, and a's circuit
		t.Errorf("%d connections went through the proxy", passed.Load())
	}
}

// Nobody stands in for another: neither a node that has attached under its name, nor a
// hub that lets a key of its own answer, and has certified it.
func TestRelayIdentity(t *testing.T) {
	t.Parallel()
	h := newHub(t, nil)
	a, b := h.node("a", echoes), h.node("b", echoes)
	_ = b.Close()
	h.nodeAt(h.client("b"), "b", echoes) // b's name and a certificate for it, but another key
	if _, err := a.Open(t.Context(), b.address, "echo"); !errors.Is(err, peer.ErrIdentity) {
		t.Errorf("another key passed for b's: %v", err)
	}
	c := h.node("c", echoes)
	elsewhere := b.address
	elsewhere.At = []string{relay.Address("c")} // the hub leads a to c
	if _, err := a.Open(t.Context(), elsewhere, "echo"); err == nil {
		t.Error("c passed for b")
	}
	say(t, open(t, a, c, "echo"), "a", []byte("x"))
}

// meddler is what a hub can do to the bytes of an attachment.
type meddler struct {
	http.RoundTripper
	meddle func(io.ReadWriteCloser) io.ReadWriteCloser
}

func (m meddler) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := m.RoundTripper.RoundTrip(r)
	if err == nil && res.StatusCode == http.StatusSwitchingProtocols {
		res.Body = m.meddle(res.Body.(io.ReadWriteCloser))
	}
	return res, err
}

// tap keeps what passes, and turns a bit of it, from a byte on.
type tap struct {
	io.ReadWriteCloser
	mu   sync.Mutex
	seen bytes.Buffer
	flip bool
}

func (p *tap) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen.Write(b)
	if p.flip {
		b = bytes.Clone(b)
		b[len(b)-1] ^= 1
		p.flip = false
	}
	return p.ReadWriteCloser.Write(b)
}

// Whoever carries the bytes can neither read nor change them.
func TestHubInTheMiddle(t *testing.T) {
	t.Parallel()
	h := newHub(t, nil)
	b := h.node("b", echoes)
	h.client("a") // makes its key known
	var middle *tap
	c, err := relay.NewClient(relay.ClientConfig{Hub: h.url(), Key: key("a"), Log: slog.New(slog.DiscardHandler), Transport: meddler{h.transport(), func(c io.ReadWriteCloser) io.ReadWriteCloser {
		middle = &tap{ReadWriteCloser: c}
		return middle
	}}})
	if err != nil {
		t.Fatal(err)
	}
	a := h.endpoint("a", peer.Config{Dial: c.Dialler(undiallable)})
	s := open(t, a, b, "echo")
	secret := []byte("nobody on the way may know of the lagoon")
	say(t, s, "a", secret)
	middle.mu.Lock()
	if bytes.Contains(middle.seen.Bytes(), secret[:16]) {
		t.Error("the hub can read what nodes say")
	}
	middle.flip = true
	middle.mu.Unlock()
	_, _ = s.Write(secret) // fails now or later
	if got, err := io.ReadAll(s); len(got) > 0 {
		t.Errorf("%q came back after a bit was turned, then %v", got, err)
	}
}

// A hub that starts again has its nodes back, and they talk on.
func TestHubRestart(t *testing.T) {
	t.Parallel()
	h := newHub(t, nil)
	a, b := h.node("a", echoes), h.node("b", echoes)
	s := open(t, a, b, "echo")
	say(t, s, "a", []byte("x"))
	h.stop()
	_, _ = io.ReadAll(s) // ends, one way or the other
	h.start()
	until(t, "the nodes are not attached again", func() bool { return h.attached("a") && h.attached("b") })
	say(t, open(t, a, b, "echo"), "a", []byte("y"))
}

// A node that does not read what one peer sends it is reached by others all the same, and
// the hub takes no more for it than the windows on the way.
func TestSlowReader(t *testing.T) {
	t.Parallel()
	h := newHub(t, nil)
	stall := make(chan struct{})
	defer close(stall)
	b := h.node("b", map[string]peer.Handler{"echo": echo, "stall": func(context.Context, peer.Stream) { <-stall }})
	a, c := h.node("a", nil), h.node("c", nil)
	s := open(t, a, b, "stall")
	if err := s.SetWriteDeadline(time.Now().Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	if n, err := s.Write(make([]byte, 4*peer.MaxWindow)); err == nil || n > peer.MaxWindow {
		t.Errorf("%d bytes went to a peer that does not read: %v", n, err)
	}
	say(t, open(t, c, b, "echo"), "c", random(1<<20))
	say(t, open(t, a, b, "echo"), "a", random(1<<20)) // on the very circuit
}

// A connection of which one end takes nothing, but goes on talking, fills its windows, and
// holds up no other of the same attachment. Then it is given up.
func TestStalledCircuit(t *testing.T) {
	t.Parallel()
	h := newHub(t, func(c *relay.Config) { c.Silence = 3 * time.Second })
	l := h.client("b").Listen()
	defer l.Close()
	until(t, "b is not attached", func() bool { return h.attached("b") })
	dial := func(from core.NodeID) (mine, theirs net.Conn) {
		t.Helper()
		mine, err := h.client(from).Dialler(undiallable)(t.Context(), relay.Address("b"))
		if err != nil {
			t.Fatal(err)
		}
		if theirs, err = l.Accept(); err != nil {
			t.Fatal(err)
		}
		if got := theirs.RemoteAddr().String(); got != relay.Address(from) {
			t.Errorf("a connection from %s, want %s", got, from)
		}
		return mine, theirs
	}
	mine, theirs := dial("a")
	defer theirs.Close()
	go func() { _, _ = io.Copy(io.Discard, mine) }()
	go func() {
		for range time.Tick(50 * time.Millisecond) {
			if _, err := theirs.Write([]byte("still here")); err != nil {
				return
			}
		}
	}()
	stalled := make(chan int, 1)
	go func() {
		n := 0
		for {
			m, err := mine.Write(make([]byte, 64<<10))
			if n += m; err != nil {
				stalled <- n
				return
			}
		}
	}()
	other, echoed := dial("c")
	defer other.Close()
	go func() { _, _ = io.Copy(echoed, echoed) }()
	data := random(4 << 20)
	go func() { _, _ = other.Write(data) }()
	got := make([]byte, len(data))
	if _, err := io.ReadFull(other, got); err != nil || !bytes.Equal(got, data) {
		t.Errorf("the circuit beside one that stalls: %v", err)
	}
	if n := <-stalled; n > 32<<20 {
		t.Errorf("%d bytes went to one who takes none", n)
	}
	_ = mine.Close()
}
