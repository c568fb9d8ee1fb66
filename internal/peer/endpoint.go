package peer

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/yamux"
)

// Config for New. Certificate and CA are required, and so is Dial unless the node
// only listens.
type Config struct {
	// Certificate returns what the node shows of itself, as it is now: it is renewed.
	Certificate func() (*tls.Certificate, error)
	CA          []byte // of the hub, in PEM
	Dial        Dial
	Handlers    map[string]Handler // by protocol
	Peers       int                // connections that others may have made, at most; default 256
	Streams     int                // that one of them may have open, at most; default 256
	Now         func() time.Time   // for certificates; default time.Now
	Log         *slog.Logger       // default: none
}

const (
	// MaxWindow is how much of a stream is on its way, or waits to be read.
	MaxWindow = 4 << 20
	// handshakeTime bounds TLS and the naming of a stream.
	handshakeTime = 10 * time.Second
	// silence after which a connection is dead is twice this.
	keepAlive = 5 * time.Second
)

// Endpoint is one node among its peers. It is safe for concurrent use.
type Endpoint struct {
	cfg   Config
	roots *x509.CertPool

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu       sync.Mutex
	links    map[Peer][]*link       // that live, the newest last
	dialling map[Peer]chan struct{} // closed when it has ended
	accepted int
}

// New returns an endpoint that has no connections yet.
func New(cfg Config) (*Endpoint, error) {
	e := &Endpoint{cfg: cfg, roots: x509.NewCertPool(), links: map[Peer][]*link{}, dialling: map[Peer]chan struct{}{}}
	if cfg.Certificate == nil || !e.roots.AppendCertsFromPEM(cfg.CA) {
		return nil, errors.New("peer: a certificate and the hub's CA are required")
	}
	for name := range cfg.Handlers {
		if name == "" || len(name) > MaxName {
			return nil, fmt.Errorf("peer: protocol %.80q: want 1 to %d bytes", name, MaxName)
		}
	}
	if cfg.Peers == 0 {
		e.cfg.Peers = 256
	}
	if cfg.Streams == 0 {
		e.cfg.Streams = 256
	}
	if cfg.Now == nil {
		e.cfg.Now = time.Now
	}
	if cfg.Log == nil {
		e.cfg.Log = slog.New(slog.DiscardHandler)
	}
	e.ctx, e.cancel = context.WithCancel(context.Background())
	return e, nil
}

// Close ends all streams and waits for their handlers.
func (e *Endpoint) Close() error {
	e.mu.Lock()
	e.cancel()
	for _, links := range e.links {
		for _, l := range links {
			_ = l.session.Close() // always succeeds
		}
	}
	e.mu.Unlock()
	e.wg.Wait()
	return nil
}

// Serve takes connections of peers until the listener is closed or the endpoint is,
// which closes the listener.
func (e *Endpoint) Serve(l net.Listener) error {
	stop := context.AfterFunc(e.ctx, func() { _ = l.Close() })
	defer stop()
	for {
		conn, err := l.Accept()
		if err != nil {
			if e.ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return nil
			}
			return err
		}
		if !e.enter() {
			e.cfg.Log.Warn("a peer's connection is refused: there are too many", "from", conn.RemoteAddr())
			_ = conn.Close()
			continue
		}
		go func() {
			defer e.leave()
			e.accept(conn)
		}()
	}
}

// enter counts a connection that somebody else has made.
func (e *Endpoint) enter() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.accepted >= e.cfg.Peers || e.ctx.Err() != nil {
		return false
	}
	e.accepted++
	e.wg.Add(1)
	return true
}

func (e *Endpoint) leave() {
	e.mu.Lock()
	e.accepted--
	e.mu.Unlock()
	e.wg.Done()
}

// accept serves a connection to its end.
func (e *Endpoint) accept(conn net.Conn) {
	ctx, stop := context.WithTimeout(e.ctx, handshakeTime)
	c, peer, err := e.serve(ctx, conn)
	stop()
	if err != nil {
		e.cfg.Log.Warn("a peer's connection is refused", "from", conn.RemoteAddr(), "error", err)
		return
	}
	session, err := yamux.Server(JoinFrames(c), e.muxConfig())
	if err != nil {
		e.cfg.Log.Error("peer", "error", err)
		_ = c.Close()
		return
	}
	l := &link{peer: peer, session: session}
	e.keep(l)
	e.run(l)
}

// keep makes a link the one that streams to its peer are opened on, while it lives. Two
// nodes that dial one another at once have two for a while.
func (e *Endpoint) keep(l *link) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ctx.Err() != nil {
		_ = l.session.Close()
		return
	}
	e.links[l.peer] = append(e.links[l.peer], l)
}

// newest returns the last connection to a peer that lives, or nil; mu is held.
func (e *Endpoint) newest(p Peer) *link {
	for _, l := range slices.Backward(e.links[p]) {
		if !l.session.IsClosed() {
			return l
		}
	}
	return nil
}

func (e *Endpoint) forget(l *link) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.links[l.peer] = slices.DeleteFunc(e.links[l.peer], func(other *link) bool { return other == l })
	if len(e.links[l.peer]) == 0 {
		delete(e.links, l.peer)
	}
}

// run serves the streams that the peer opens, until the connection ends.
func (e *Endpoint) run(l *link) {
	slots := make(chan struct{}, e.cfg.Streams)
	var wg sync.WaitGroup
	for {
		s, err := l.session.AcceptStream()
		if err != nil {
			break
		}
		select {
		case slots <- struct{}{}:
			wg.Go(func() {
				defer func() { <-slots }()
				e.handle(l, s)
			})
		default:
			_ = s.Close()
		}
	}
	e.forget(l)
	_ = l.session.Close()
	wg.Wait()
}

// handle serves one stream.
func (e *Endpoint) handle(l *link, s *yamux.Stream) {
	defer s.Close()
	_ = s.SetDeadline(e.deadline()) // fails on closed streams alone, as reading does
	name, err := readName(s)
	if err != nil {
		return
	}
	h := e.cfg.Handlers[name]
	answer := byte(taken)
	if h == nil {
		answer = unknown
	}
	if _, err := s.Write([]byte{answer}); err != nil || h == nil {
		return
	}
	_ = s.SetDeadline(time.Time{})
	h(e.ctx, &stream{s, l.peer})
}

// deadline of a handshake. Connections know the real clock alone.
func (e *Endpoint) deadline() time.Time { return time.Now().Add(handshakeTime) }

func (e *Endpoint) muxConfig() *yamux.Config {
	c := yamux.DefaultConfig()
	c.MaxStreamWindowSize = MaxWindow
	c.AcceptBacklog = e.cfg.Streams
	c.KeepAliveInterval = keepAlive
	c.ConnectionWriteTimeout = keepAlive
	c.StreamOpenTimeout = handshakeTime
	c.LogOutput = io.Discard // what matters comes as errors
	return c
}
