package bus

import (
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// proxy stands between a node and a server and can be made to swallow bytes, as
// a broken path does, without closing anything.
type proxy struct {
	listener net.Listener
	target   string
	stalled  atomic.Bool
	wake     chan struct{}
	conns    sync.WaitGroup
	accepted atomic.Int32
}

func startProxy(t *testing.T, server string) *proxy {
	t.Helper()
	u, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: l, target: u.Host, wake: make(chan struct{})}
	p.conns.Go(p.serve)
	t.Cleanup(func() {
		l.Close()
		close(p.wake)
		p.conns.Wait()
	})
	return p
}

func (p *proxy) serve() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.accepted.Add(1)
		server, err := net.Dial("tcp", p.target)
		if err != nil {
			client.Close()
			continue
		}
		p.conns.Go(func() { p.pipe(server, client) })
		p.conns.Go(func() { p.pipe(client, server) })
	}
}

// pipe stops reading, for good, once it meets a stall.
func (p *proxy) pipe(to, from net.Conn) {
	defer to.Close()
	defer from.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if p.stalled.Load() {
			<-p.wake
			return
		}
		if err != nil {
			return
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

func (p *proxy) url() string { return "nats://" + p.listener.Addr().String() }

// A connection that is open but dead is given up and made anew, whether the node
// is silent or stuck in the middle of a write.
func TestStuckConnectionIsReplaced(t *testing.T) {
	t.Parallel()
	for name, busy := range map[string]bool{"silent": false, "writing": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startServer(t, nil)
			h := connectHub(t, s)
			p := startProxy(t, s.URL())
			cfg := overTCP(t, s, "far-1")
			cfg.URLs, cfg.StuckAfter = []string{p.url()}, 300*time.Millisecond
			n, in := connectNode(t, cfg)
			p.stalled.Store(true)
			if busy {
				big := make([]byte, 1<<20)
				for n.Send(KindReport, big, "") == nil { // until the path is full and given up
				}
			} else {
				deadline := time.After(patience)
				for n.Status().Err == nil {
					select {
					case <-deadline:
						t.Fatal("not noticed")
					case <-time.After(5 * time.Millisecond):
					}
				}
			}
			p.stalled.Store(false)
			exchange(t, func() error { return h.Send("far-1", KindLease, nil, "") }, in)
			if n.Status().Connects < 2 || p.accepted.Load() < 2 {
				t.Errorf("%+v after %d connections", n.Status(), p.accepted.Load())
			}
		})
	}
}

// A node outlives its hub's server, and says so each time it is back.
func TestServerRestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := startServer(t, func(c *ServerConfig) { c.Dir = dir })
	cfg := overTCP(t, s, "a")
	port := portOf(t, s.URL())
	back := make(chan struct{}, 64)
	cfg.OnConnect = func() { back <- struct{}{} }
	n, err := ConnectNode(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Close)
	in := make(chan Inbound, 64)
	if err := n.Subscribe(func(m Inbound) { in <- m }); err != nil {
		t.Fatal(err)
	}
	receive(t, back)
	s.Close()
	s = startServer(t, func(c *ServerConfig) { c.Dir, c.Port = dir, port })
	receive(t, back)
	h := connectHub(t, s)
	exchange(t, func() error { return h.Send("a", KindLease, nil, "") }, in)
	if st := n.Status(); st.Connects != 2 || !st.Connected {
		t.Errorf("status %+v", st)
	}
}

// A node may be started while its hub is away.
func TestNodeStartsFirst(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := startServer(t, func(c *ServerConfig) { c.Dir = dir })
	cfg := overTCP(t, s, "a")
	port := portOf(t, s.URL())
	s.Close()
	refused(t, cfg)
	n, err := ConnectNode(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Close)
	startServer(t, func(c *ServerConfig) { c.Dir, c.Port = dir, port })
	if err := n.WaitConnected(within(t)); err != nil {
		t.Fatal(err)
	}
}

// Close sends what was handed over before, and no handler runs after it.
func TestCloseFlushes(t *testing.T) {
	t.Parallel()
	s := startServer(t, nil)
	h := connectHub(t, s)
	in := subscribeHub(t, h)
	cfg := overTCP(t, s, "a")
	n, _ := connectNode(t, cfg)
	exchange(t, func() error { return n.Send(KindHeartbeat, nil, "") }, in)
	for range 100 {
		if err := n.Send(KindReport, make([]byte, 1000), ""); err != nil {
			t.Fatal(err)
		}
	}
	n.Close()
	for got := 0; got < 100; {
		if receive(t, in).Kind == KindReport {
			got++
		}
	}
}

func portOf(t *testing.T, server string) int {
	t.Helper()
	u, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	port, err := net.LookupPort("tcp", u.Port())
	if err != nil {
		t.Fatal(err)
	}
	return port
}
