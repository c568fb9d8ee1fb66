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
	"sync"
	"time"

	"github.com/hashicorp/yamux"

	"atoll/internal/core"
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
	links    map[Peer]*link
	dialling map[Peer]chan struct{} // closed when it has ended
	accepted int
}

// New returns an endpoint that has no connections yet.
func New(cfg Config) (*Endpoint, error) {
	e := &Endpoint{cfg: cfg, roots: x509.NewCertPool(), links: map[Peer]*link{}, dialling: map[Peer]chan struct{}{}}
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
	for _, l := range e.links {
		_ = l.session.Close() // always succeeds
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
	session, err := yamux.Server(c, e.muxConfig())
	if err != nil {
		e.cfg.Log.Error("peer", "error", err)
		_ = c.Close()
		return
	}
	l := &link{peer: peer, session: session}
	e.keep(l)
	e.run(l)
}

// keep makes a link the one that streams to its peer are opened on.
func (e *Endpoint) keep(l *link) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ctx.Err() != nil {
		_ = l.session.Close()
		return
	}
	e.links[l.peer] = l
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
	e.mu.Lock()
	if e.links[l.peer] == l {
		delete(e.links, l.peer)
	}
	e.mu.Unlock()
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

// Open opens a stream to a peer, over the connection that there is or a new one.
func (e *Endpoint) Open(ctx context.Context, to Address, protocol string) (Stream, error) {
	if protocol == "" || len(protocol) > MaxName {
		return nil, core.Errorf(core.Invalid, "protocol %.80q: want 1 to %d bytes", protocol, MaxName)
	}
	for first := true; ; first = false {
		l, fresh, err := e.link(ctx, to)
		if err != nil {
			return nil, err
		}
		s, err := l.open(ctx, protocol)
		// A connection that had died may not have been noticed yet.
		if err != nil && !fresh && first && l.session.IsClosed() && ctx.Err() == nil {
			continue
		}
		return s, err
	}
}

// link returns the connection to a peer, and whether it was made just now.
func (e *Endpoint) link(ctx context.Context, to Address) (l *link, fresh bool, err error) {
	want := Peer{to.Node, to.Key}
	for {
		e.mu.Lock()
		if e.ctx.Err() != nil {
			e.mu.Unlock()
			return nil, false, ErrClosed
		}
		if l := e.links[want]; l != nil && !l.session.IsClosed() {
			e.mu.Unlock()
			return l, false, nil
		}
		wait := e.dialling[want]
		if wait == nil {
			done := make(chan struct{})
			e.dialling[want] = done
			e.wg.Add(1)
			e.mu.Unlock()
			l, err := e.connect(ctx, to)
			e.mu.Lock()
			delete(e.dialling, want)
			e.mu.Unlock()
			close(done)
			if err != nil {
				e.wg.Done()
				return nil, false, err
			}
			go func() {
				defer e.wg.Done()
				e.run(l)
			}()
			return l, true, nil
		}
		e.mu.Unlock()
		select {
		case <-wait:
		case <-ctx.Done():
			return nil, false, context.Cause(ctx)
		}
	}
}

// connect dials a peer's addresses in turn. Each is given an equal share of the time that
// is left: one that swallows what it is sent, as firewalls do, leaves some to the next.
func (e *Endpoint) connect(ctx context.Context, to Address) (*link, error) {
	if len(to.At) == 0 || e.cfg.Dial == nil {
		return nil, fmt.Errorf("%w: %s has not connected, and there is no address of it", ErrUnreachable, to.Node)
	}
	ctx, stop := context.WithTimeout(ctx, handshakeTime)
	defer stop()
	defer context.AfterFunc(e.ctx, stop)()
	var failures []error
	for i, at := range to.At {
		end, _ := ctx.Deadline() // set above
		share, stop := context.WithTimeout(ctx, time.Until(end)/time.Duration(len(to.At)-i))
		l, err := e.connectTo(share, to, at)
		stop()
		if err == nil {
			e.keep(l)
			return l, nil
		}
		failures = append(failures, fmt.Errorf("%s: %w", at, err))
	}
	return nil, fmt.Errorf("%w: %s: %w", ErrUnreachable, to.Node, errors.Join(failures...))
}

func (e *Endpoint) connectTo(ctx context.Context, to Address, at string) (*link, error) {
	conn, err := e.cfg.Dial(ctx, at)
	if err != nil {
		return nil, err
	}
	peer := Peer{to.Node, to.Key}
	c, err := e.dial(ctx, conn, peer)
	if err != nil {
		return nil, err
	}
	session, err := yamux.Client(c, e.muxConfig())
	if err != nil {
		_ = c.Close()
		return nil, err
	}
	return &link{peer: peer, session: session}, nil
}

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

// link is a connection to a peer.
type link struct {
	peer    Peer
	session *yamux.Session
}

func (l *link) open(ctx context.Context, protocol string) (Stream, error) {
	s, err := l.session.OpenStream()
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrUnreachable, l.peer.Node, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = s.SetDeadline(time.Now()) })
	err = name(s, protocol)
	if !stop() {
		err = errors.Join(err, context.Cause(ctx))
	}
	if err != nil {
		_ = s.Close()
		return nil, fmt.Errorf("stream %s to %s: %w", protocol, l.peer.Node, err)
	}
	return &stream{s, l.peer}, nil
}

// name begins a stream and reads the answer.
func name(s *yamux.Stream, protocol string) error {
	if err := s.SetDeadline(time.Now().Add(handshakeTime)); err != nil {
		return err
	}
	if err := writeName(s, protocol); err != nil {
		return err
	}
	var answer [1]byte
	if _, err := io.ReadFull(s, answer[:]); err != nil {
		return fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	if answer[0] != taken {
		return ErrProtocol
	}
	return s.SetDeadline(time.Time{})
}

type stream struct {
	*yamux.Stream
	peer Peer
}

func (s *stream) Peer() Peer { return s.peer }
