package bus

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
)

// Endpoint says which NATS to connect to, and as whom.
type Endpoint struct {
	URLs      []string    // nats://host:port or tls://host:port
	InProcess *Server     // a server of this process, in place of URLs
	TLS       *tls.Config // required away from loopback, unless a URL says tls://
	UserJWT   string
	Nkey      nkeys.KeyPair // stays here: it signs the server's nonce
}

func (e Endpoint) check() error {
	if e.UserJWT == "" || e.Nkey == nil {
		return fmt.Errorf("%w: user JWT or nkey is missing", ErrCredentials)
	}
	if e.InProcess != nil {
		return nil
	}
	if len(e.URLs) == 0 {
		return errors.New("bus: no address to connect to")
	}
	for _, text := range e.URLs {
		u, err := url.Parse(text)
		if err != nil || u.Hostname() == "" || (u.Scheme != "nats" && u.Scheme != "tls") {
			return fmt.Errorf("bus address %.120q: want nats://host:port or tls://host:port", text)
		}
		if e.TLS == nil && u.Scheme != "tls" && !isLoopback(u.Hostname()) {
			return fmt.Errorf("%w: %s", ErrPlaintext, u.Host)
		}
	}
	return nil
}

// ConnStatus is the state of a connection at one moment.
type ConnStatus struct {
	Connected bool
	Since     time.Time // when Connected last changed
	Connects  int       // connections made so far
	Slow      int       // times that messages were dropped because the handler was too slow
	Err       error     // why it is not connected, as last seen
}

// conn keeps one subscription alive over whatever connection there is. Each
// connection is a fresh one with no reconnecting of its own: a single loop (run)
// decides, nothing is buffered while cut off, and a connection that has gone
// silent, by unanswered pings or a write that does not end, is dropped with all
// its state.
type conn struct {
	cfg connConfig

	current atomic.Pointer[nats.Conn] // nil while cut off

	mu      sync.Mutex // guards what follows, up to the blank line
	handler nats.MsgHandler
	status  ConnStatus

	subscribed chan struct{} // closed once handler is set
	connected  chan struct{} // closed at the first connection
	cancel     context.CancelFunc
	done       chan struct{} // closed when run has returned
}

type connConfig struct {
	Endpoint
	name          string
	subject       string // what to subscribe to
	queueMessages int
	queueBytes    int
	stuckAfter    time.Duration
	onConnect     func()
	log           *slog.Logger
}

func newConn(cfg connConfig) (*conn, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	if cfg.log == nil {
		return nil, errors.New("bus: no logger given")
	}
	if cfg.stuckAfter == 0 {
		cfg.stuckAfter = DefaultStuckAfter
	}
	ctx, cancel := context.WithCancel(context.Background())
	c := &conn{
		cfg:        cfg,
		status:     ConnStatus{Since: time.Now()},
		subscribed: make(chan struct{}),
		connected:  make(chan struct{}),
		cancel:     cancel,
		done:       make(chan struct{}),
	}
	go c.run(ctx)
	return c, nil
}

// run makes one connection after another until ctx ends.
func (c *conn) run(ctx context.Context) {
	defer close(c.done)
	pause := &backoff.ExponentialBackOff{InitialInterval: retryMin, MaxInterval: retryMax,
		Multiplier: 2, RandomizationFactor: 0.5}
	pause.Reset()
	for ctx.Err() == nil {
		began := time.Now()
		err := c.session(ctx)
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > steadyAfter {
			pause.Reset()
		}
		c.down(err)
		timer := time.NewTimer(pause.NextBackOff())
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
	}
}

// session is the life of one connection, from dialling to its last handler
// call. It returns why the connection ended.
func (c *conn) session(ctx context.Context) error {
	closed := make(chan struct{})
	nc, err := nats.Connect(strings.Join(c.cfg.URLs, ","), c.options(func(*nats.Conn) { close(closed) })...)
	if err != nil {
		return err
	}
	defer func() {
		c.current.Store(nil)
		nc.Close()
		<-closed
	}()
	if most := nc.MaxPayload(); most < MaxMessage {
		return fmt.Errorf("%w: the NATS at %s takes %d bytes in a message, Atoll needs %d: raise its max_payload", ErrTooLarge, nc.ConnectedUrlRedacted(), most, MaxMessage)
	}
	c.up(nc)
	select {
	case <-c.subscribed:
	case <-closed:
		return lastError(nc)
	case <-ctx.Done():
		return ctx.Err()
	}
	gate := &gate{handler: c.handlerSet()}
	defer gate.shut()
	if err := c.subscribe(nc, gate.pass); err != nil {
		return err
	}
	if c.cfg.onConnect != nil {
		c.cfg.onConnect()
	}
	select {
	case <-closed:
		return lastError(nc)
	case <-ctx.Done():
		c.current.Store(nil)
		return nc.FlushTimeout(closeTimeout)
	}
}

func lastError(nc *nats.Conn) error {
	if err := nc.LastError(); err != nil {
		return err
	}
	return nats.ErrConnectionClosed
}

// gate lets messages of one connection through to the handler until it is shut.
// The library goes on delivering for a moment after a connection is closed; with
// the gate, handler calls of two connections never overlap, nor outlive Close.
type gate struct {
	mu      sync.Mutex // held during a call
	closed  bool
	handler nats.MsgHandler
}

func (g *gate) pass(m *nats.Msg) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.closed {
		g.handler(m)
	}
}

func (g *gate) shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
}

func (c *conn) options(closed nats.ConnHandler) []nats.Option {
	opts := []nats.Option{
		nats.Name(c.cfg.name),
		nats.NoEcho(),
		nats.NoReconnect(),
		nats.Timeout(dialTimeout),
		// Two pings unanswered at the third tick: stuck.
		nats.PingInterval(c.cfg.stuckAfter / 3),
		nats.MaxPingsOutstanding(2),
		// A blocked write holds the connection's lock; this bounds it.
		nats.FlusherTimeout(c.cfg.stuckAfter),
		nats.ClosedHandler(closed),
		nats.ErrorHandler(c.asyncError),
		nats.UserJWT(func() (string, error) { return c.cfg.UserJWT, nil }, c.cfg.Nkey.Sign),
	}
	if c.cfg.InProcess != nil {
		return append(opts, nats.InProcessServer(c.cfg.InProcess.nats))
	}
	if c.cfg.TLS != nil {
		opts = append(opts, nats.Secure(c.cfg.TLS.Clone()))
	}
	return opts
}

// subscribe installs the handler and waits until the server has it.
func (c *conn) subscribe(nc *nats.Conn, handler nats.MsgHandler) error {
	sub, err := nc.Subscribe(c.cfg.subject, handler)
	if err != nil {
		return err
	}
	if err := sub.SetPendingLimits(c.cfg.queueMessages, c.cfg.queueBytes); err != nil {
		return err
	}
	return nc.FlushTimeout(c.cfg.stuckAfter)
}

func (c *conn) setHandler(h nats.MsgHandler) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.handler != nil {
		return errors.New("bus: already subscribed")
	}
	c.handler = h
	close(c.subscribed)
	return nil
}

func (c *conn) handlerSet() nats.MsgHandler {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.handler
}

// asyncError sees what the server or the library reports between calls.
func (c *conn) asyncError(_ *nats.Conn, _ *nats.Subscription, err error) {
	if errors.Is(err, nats.ErrSlowConsumer) {
		c.mu.Lock()
		c.status.Slow++
		c.mu.Unlock()
	}
	c.cfg.log.Warn("bus", "name", c.cfg.name, "error", err)
}

func (c *conn) up(nc *nats.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.status.Connected, c.status.Since, c.status.Err = true, time.Now(), nil
	c.status.Connects++
	if c.status.Connects == 1 {
		close(c.connected)
	}
	c.current.Store(nc)
	server := nc.ConnectedUrlRedacted()
	if c.cfg.InProcess != nil {
		server = "in this process" // the library makes up an address
	}
	c.cfg.log.Info("bus connected", "name", c.cfg.name, "server", server)
}

// down logs a reason once, not at every attempt.
func (c *conn) down(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	news := c.status.Connected || c.status.Err == nil || c.status.Err.Error() != err.Error()
	if c.status.Connected {
		c.status.Connected, c.status.Since = false, time.Now()
	}
	c.status.Err = err
	if news {
		c.cfg.log.Warn("bus not connected, retrying", "name", c.cfg.name, "error", err)
	}
}

func (c *conn) wait(ctx context.Context) error {
	select {
	case <-c.connected:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrDisconnected, errors.Join(context.Cause(ctx), c.snapshot().Err))
	}
}

func (c *conn) snapshot() ConnStatus {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.status
}

// send hands a message to the connection's buffer. It blocks while the buffer is
// full, for stuckAfter at most.
func (c *conn) send(subject string, data []byte, traceparent string) error {
	if len(data)+len(traceparentKey)+maxTraceparent > MaxMessage {
		return fmt.Errorf("%w: %d bytes to %s, at most %d", ErrTooLarge, len(data), subject, MaxMessage)
	}
	nc := c.current.Load()
	if nc == nil {
		select {
		case <-c.done:
			return ErrClosed
		default:
			return ErrDisconnected
		}
	}
	var err error
	if traceparent == "" {
		err = nc.Publish(subject, data)
	} else {
		m := &nats.Msg{Subject: subject, Data: data, Header: nats.Header{}}
		HeaderCarrier(m.Header).Set(traceparentKey, traceparent)
		err = nc.PublishMsg(m)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDisconnected, err)
	}
	return nil
}

func (c *conn) close() {
	c.cancel()
	<-c.done
}
