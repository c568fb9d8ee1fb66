package peer_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"atoll/internal/core"
	"atoll/internal/identity"
	"atoll/internal/peer"
)

// town is a hub's CA and the nodes that it has let in.
type town struct {
	t  testing.TB
	ca *identity.CA
}

func newTown(t testing.TB) *town {
	t.Helper()
	ca, err := identity.LoadOrCreateCA(t.TempDir(), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	return &town{t, ca}
}

// node is a node's endpoint, and what others know of it.
type node struct {
	*peer.Endpoint
	address peer.Address
	cert    *tls.Certificate
}

func (w *town) node(name core.NodeID, at string, edit func(*peer.Config)) *node {
	w.t.Helper()
	key, err := identity.Generate()
	if err != nil {
		w.t.Fatal(err)
	}
	text, err := w.ca.IssueNode(name, key.Public())
	if err != nil {
		w.t.Fatal(err)
	}
	cert, err := identity.NodeCertificate(text, key)
	if err != nil {
		w.t.Fatal(err)
	}
	return w.twin(&node{nil, peer.Address{Node: name, Key: key.Public().Digest(), At: []string{at}}, cert}, edit)
}

// twin is another endpoint of the same node.
func (w *town) twin(n *node, edit func(*peer.Config)) *node {
	w.t.Helper()
	cfg := peer.Config{Certificate: func() (*tls.Certificate, error) { return n.cert, nil }, CA: w.ca.PEM()}
	if edit != nil {
		edit(&cfg)
	}
	e, err := peer.New(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = e.Close() })
	return &node{e, n.address, n.cert}
}

// echo sends back what it reads, and who it came from first.
func echo(_ context.Context, s peer.Stream) {
	if _, err := io.WriteString(s, string(s.Peer().Node)+"\n"); err == nil {
		_, _ = io.Copy(s, s)
	}
}

func listening(t testing.TB, m *peer.Memory, at string, n *node) {
	t.Helper()
	l, err := m.Listen(at)
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = n.Serve(l) }()
}

// pair is two nodes of which the second listens at "b".
func pair(t testing.TB, m *peer.Memory, handlers map[string]peer.Handler) (a, b *node) {
	w := newTown(t)
	a = w.node("a", "a", func(c *peer.Config) { c.Dial = m.Dialler("a"); c.Handlers = handlers })
	b = w.node("b", "b", func(c *peer.Config) { c.Dial = m.Dialler("b"); c.Handlers = handlers })
	listening(t, m, "b", b)
	return a, b
}

// say has an echo repeat text, and tell that it came from a node.
func say(t testing.TB, s peer.Stream, from, text string) {
	t.Helper()
	if _, err := io.WriteString(s, text); err != nil {
		t.Fatal(err)
	}
	want := from + "\n" + text
	b := make([]byte, len(want))
	if _, err := io.ReadFull(s, b); err != nil || string(b) != want {
		t.Fatalf("%q, %v, want %q", b, err, want)
	}
}

// Streams go both ways over one connection, whoever has dialled.
func TestStreams(t *testing.T) {
	t.Parallel()
	m := peer.NewMemory()
	a, b := pair(t, m, map[string]peer.Handler{"echo": echo})
	s, err := a.Open(t.Context(), b.address, "echo")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	say(t, s, "a", "hello")
	if s.Peer() != (peer.Peer{Node: "b", Key: b.address.Key}) {
		t.Errorf("%+v", s.Peer())
	}
	back := a.address
	back.At = nil // a cannot be dialled
	r, err := b.Open(t.Context(), back, "echo")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	say(t, r, "b", "hi")
	if _, err := a.Open(t.Context(), b.address, "other"); !errors.Is(err, peer.ErrProtocol) {
		t.Errorf("an unknown protocol: %v", err)
	}
}

// Many streams are opened at once over one connection.
func TestManyStreams(t *testing.T) {
	t.Parallel()
	m := peer.NewMemory()
	a, b := pair(t, m, map[string]peer.Handler{"echo": echo})
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			s, err := a.Open(t.Context(), b.address, "echo")
			if err != nil {
				t.Error(err)
				return
			}
			defer s.Close()
			say(t, s, "a", "x")
		})
	}
	wg.Wait()
}

// Nobody stands in for another: neither a node of the hub with a certificate of its
// own, nor one of another hub, nor one without.
func TestIdentity(t *testing.T) {
	t.Parallel()
	m := peer.NewMemory()
	w, other := newTown(t), newTown(t)
	handlers := map[string]peer.Handler{"echo": echo}
	dial := func(c *peer.Config) { c.Dial = m.Dialler("x"); c.Handlers = handlers }
	a := w.node("a", "a", dial)
	mallory := w.node("mallory", "m", dial)
	foreign := other.node("b", "f", dial)
	listening(t, m, "m", mallory)
	listening(t, m, "f", foreign)
	b := w.node("b", "b", dial)
	listening(t, m, "b", b)

	wrong := b.address
	wrong.At = []string{"m"} // whoever carries the bytes leads them elsewhere
	if _, err := a.Open(t.Context(), wrong, "echo"); err == nil {
		t.Error("another node of the hub passed for b")
	}
	wrong.At = []string{"f"}
	if _, err := a.Open(t.Context(), wrong, "echo"); err == nil {
		t.Error("a node of another hub passed for b")
	}
	renamed := w.node("b", "r", dial) // the hub gave the name to another key
	listening(t, m, "r", renamed)
	wrong.At = []string{"r"}
	if _, err := a.Open(t.Context(), wrong, "echo"); !errors.Is(err, peer.ErrIdentity) {
		t.Errorf("another key under the same name: %v", err)
	}
	if _, err := foreign.Open(t.Context(), b.address, "echo"); err == nil {
		t.Error("b took a node of another hub")
	}
	wrong.At = []string{"nowhere", "m", "b"} // the right one is found at last
	s, err := a.Open(t.Context(), wrong, "echo")
	if err != nil {
		t.Fatal(err)
	}
	_ = s.Close()
}

// An address that swallows what it is sent, before or after it has taken a connection, holds
// up no other. The better one is taken if both answer.
func TestSilentAddresses(t *testing.T) {
	t.Parallel()
	m := peer.NewMemory()
	w := newTown(t)
	a := w.node("a", "a", func(c *peer.Config) { c.Dial = m.Dialler("a") })
	b := w.node("b", "b", func(c *peer.Config) { c.Handlers = map[string]peer.Handler{"echo": echo} })
	for _, at := range []string{"wall", "mute"} {
		l, err := m.Listen(at)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		if at == "mute" {
			go func() {
				if c, err := l.Accept(); err == nil {
					_, _ = io.Copy(io.Discard, c)
				}
			}()
		}
	}
	listening(t, m, "b", b)
	for _, at := range [][]string{{"wall", "mute", "b"}, {"b", "wall"}} {
		b.address.At = at
		s, err := a.Open(t.Context(), b.address, "echo")
		if err != nil {
			t.Fatal(err)
		}
		say(t, s, "a", "x")
		m.Cut("a", "b")
		_, _ = io.ReadAll(s) // ends
	}
}

// Of two connections between two nodes, one may end: the other serves on, and all end with
// the endpoint.
func TestTwoConnections(t *testing.T) {
	t.Parallel()
	m := peer.NewMemory()
	w := newTown(t)
	handlers := map[string]peer.Handler{"echo": echo}
	a := w.node("a", "a", func(c *peer.Config) { c.Dial = m.Dialler("a"); c.Handlers = handlers })
	b := w.node("b", "b", func(c *peer.Config) { c.Handlers = handlers })
	twin := w.twin(a, func(c *peer.Config) { c.Dial = m.Dialler("twin") }) // dials as a
	listening(t, m, "b", b)
	unreachable := a.address
	unreachable.At = nil
	for _, from := range []*node{a, twin} {
		s, err := from.Open(t.Context(), b.address, "echo")
		if err != nil {
			t.Fatal(err)
		}
		say(t, s, "a", "x")
	}
	_ = twin.Close()
	ctx, stop := context.WithTimeout(t.Context(), 10*time.Second)
	defer stop()
	s, err := b.Open(ctx, unreachable, "echo")
	for err != nil && ctx.Err() == nil { // the twin's connection is not known to have ended yet
		s, err = b.Open(ctx, unreachable, "echo")
	}
	if err != nil {
		t.Fatal("with one connection left: ", err)
	}
	say(t, s, "b", "y")
}

// After a connection has broken the next stream makes another.
func TestRedial(t *testing.T) {
	t.Parallel()
	m := peer.NewMemory()
	a, b := pair(t, m, map[string]peer.Handler{"echo": echo})
	for range 3 {
		s, err := a.Open(t.Context(), b.address, "echo")
		if err != nil {
			t.Fatal(err)
		}
		say(t, s, "a", "x")
		m.Cut("a", "b")
		if _, err := io.ReadAll(s); err != nil && !strings.Contains(err.Error(), "closed") && !strings.Contains(err.Error(), "reset") {
			t.Errorf("a cut connection: %v", err)
		}
		_ = s.Close()
	}
}

// A stream that nobody reads holds up no other, and no more than its window.
func TestBackPressure(t *testing.T) {
	t.Parallel()
	m := peer.NewMemory()
	stall := make(chan struct{})
	defer close(stall)
	a, b := pair(t, m, map[string]peer.Handler{"echo": echo, "stall": func(context.Context, peer.Stream) { <-stall }})
	s, err := a.Open(t.Context(), b.address, "stall")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.SetWriteDeadline(time.Now().Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	n, err := s.Write(make([]byte, 4*peer.MaxWindow))
	if err == nil || n > peer.MaxWindow {
		t.Errorf("%d bytes went to a peer that does not read: %v", n, err)
	}
	e, err := a.Open(t.Context(), b.address, "echo")
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	say(t, e, "a", "x")
}

// What a peer says before it is known, or in another format, ends its connection
// alone.
func TestGarbage(t *testing.T) {
	t.Parallel()
	m := peer.NewMemory()
	a, b := pair(t, m, map[string]peer.Handler{"echo": echo})
	for _, garbage := range []string{"GET / HTTP/1.1\r\n\r\n", strings.Repeat("\x00", 1000), "\x16\x03\x01\x00\x05"} {
		c, err := m.Dialler("g")(t.Context(), "b")
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(c, garbage)
		_ = c.Close()
	}
	raw, err := m.Dialler("a")(t.Context(), "b")
	if err != nil {
		t.Fatal(err)
	}
	roots := newTown(t).ca.PEM() // not b's hub: the handshake fails on this side already
	cfg, err := identity.ClientTLS(roots, a.cert)
	if err != nil {
		t.Fatal(err)
	}
	cfg.ServerName = identity.NodeHost("b")
	if err := tls.Client(raw, cfg).HandshakeContext(t.Context()); err == nil {
		t.Error("b has a certificate of every hub")
	}
	s, err := a.Open(t.Context(), b.address, "echo")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	say(t, s, "a", "x")
}

// The memory carrier keeps time: what is sent takes half the round trip and the
// line's own time, on whatever clock there is.
func TestMemoryKeepsTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := peer.NewMemory()
		m.Line("a", "b", peer.Conditions{RTT: 100 * time.Millisecond, Bandwidth: 8_000_000}) // a byte a microsecond
		l, err := m.Listen("b")
		if err != nil {
			t.Fatal(err)
		}
		const size = 1 << 20
		arrived := make(chan time.Duration)
		began := time.Now()
		go func() {
			c, err := l.Accept()
			if err != nil {
				return
			}
			defer c.Close()
			data, _ := io.ReadAll(io.LimitReader(c, size))
			if !bytes.Equal(data, make([]byte, size)) {
				t.Error("other bytes arrived")
			}
			arrived <- time.Since(began)
		}()
		c, err := m.Dialler("a")(t.Context(), "b")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := c.Write(make([]byte, size)); err != nil {
			t.Fatal(err)
		}
		if got, want := <-arrived, size*time.Microsecond+50*time.Millisecond; got < want || got > want+time.Millisecond {
			t.Errorf("a megabyte took %s, want %s", got, want)
		}
	})
}

// Peers that others may connect are bounded.
func TestTooManyPeers(t *testing.T) {
	t.Parallel()
	m := peer.NewMemory()
	w := newTown(t)
	b := w.node("b", "b", func(c *peer.Config) { c.Handlers = map[string]peer.Handler{"echo": echo}; c.Peers = 2 })
	listening(t, m, "b", b)
	var refused int
	for _, name := range []core.NodeID{"a-1", "a-2", "a-3"} {
		n := w.node(name, "", func(c *peer.Config) { c.Dial = m.Dialler(string(name)) })
		s, err := n.Open(t.Context(), b.address, "echo")
		if err != nil {
			refused++
			continue
		}
		say(t, s, string(name), "x")
	}
	if refused != 1 {
		t.Errorf("%d of three were refused, of which two may be", refused)
	}
}

// TLS over TCP on loopback: a small message there and back, and many bytes one way.
func BenchmarkPeer(b *testing.B) {
	w := newTown(b)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	drain := func(_ context.Context, s peer.Stream) { _, _ = io.Copy(io.Discard, s); _, _ = s.Write([]byte{1}) }
	far := w.node("far", l.Addr().String(), func(c *peer.Config) { c.Handlers = map[string]peer.Handler{"echo": echo, "drain": drain} })
	go func() { _ = far.Serve(l) }()
	near := w.node("near", "", func(c *peer.Config) {
		c.Dial = func(ctx context.Context, at string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", at)
		}
	})
	s, err := near.Open(b.Context(), far.address, "echo")
	if err != nil {
		b.Fatal(err)
	}
	say(b, s, "near", "x")
	b.Run("there and back", func(b *testing.B) {
		buf := make([]byte, 2304)
		for b.Loop() {
			if _, err := s.Write(buf); err != nil {
				b.Fatal(err)
			}
			if _, err := io.ReadFull(s, buf); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("one way", func(b *testing.B) {
		s, err := near.Open(b.Context(), far.address, "drain")
		if err != nil {
			b.Fatal(err)
		}
		buf := make([]byte, 64<<10)
		b.SetBytes(int64(len(buf)))
		for b.Loop() {
			if _, err := s.Write(buf); err != nil {
				b.Fatal(err)
			}
		}
	})
}
