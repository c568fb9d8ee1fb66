package relay

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/hashicorp/yamux"

	"atoll/internal/core"
	"atoll/internal/peer"
)

const (
	attachTime = 10 * time.Second
	retryMin   = 200 * time.Millisecond
	retryMax   = 15 * time.Second
	// settled is an attachment that lasted so long: the next is tried at once.
	settled = time.Minute
)

// Listener takes connections of other nodes that the hub relays, for peer.Endpoint.Serve.
// It stays attached to the hub, again and again, until it is closed.
type Listener struct {
	client   *Client
	conns    chan net.Conn
	attached atomic.Bool
	ctx      context.Context
	cancel   context.CancelFunc
	wg       sync.WaitGroup
}

// Listen attaches the node to the relay, now or as soon as the hub answers.
func (c *Client) Listen() *Listener {
	l := &Listener{client: c, conns: make(chan net.Conn)}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	l.wg.Go(l.stay)
	return l
}

// Attached reports whether others can reach the node through the relay now.
func (l *Listener) Attached() bool { return l.attached.Load() }

// Accept returns the next connection. The address of its other end is the hub's word.
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.ctx.Done():
		return nil, net.ErrClosed
	}
}

// Close detaches the node. Connections that were accepted end.
func (l *Listener) Close() error {
	l.cancel()
	l.wg.Wait()
	return nil
}

// Addr is the relay's.
func (l *Listener) Addr() net.Addr { return address("") }

// stay keeps the node attached. Two processes of one node would push each other out: so
// the pauses between attachments grow, unless one has lasted.
func (l *Listener) stay() {
	pause := &backoff.ExponentialBackOff{InitialInterval: retryMin, MaxInterval: retryMax, Multiplier: 2, RandomizationFactor: 0.5}
	pause.Reset()
	log := l.client.cfg.Log
	for told := false; ; {
		began := time.Now()
		attached, err := l.attach()
		if l.ctx.Err() != nil {
			return
		}
		if attached {
			told = false
		}
		if !told { // once for each outage
			log.Warn("not attached to the hub's relay: nodes that cannot dial this one do not reach it; trying again", "error", err)
			told = true
		}
		if attached && time.Since(began) >= settled {
			pause.Reset()
		}
		select {
		case <-time.After(pause.NextBackOff()):
		case <-l.ctx.Done():
			return
		}
	}
}

// attach attaches the node, and hands on what is relayed to it, until the attachment
// ends.
func (l *Listener) attach() (attached bool, err error) {
	ctx, stop := context.WithTimeout(l.ctx, attachTime)
	conn, err := l.client.upgradeTo(ctx, "")
	stop()
	if err != nil {
		return false, err
	}
	session, err := yamux.Server(peer.JoinFrames(conn), muxConfig())
	if err != nil {
		_ = conn.Close() // the error says more
		return false, err
	}
	defer session.Close()
	defer context.AfterFunc(l.ctx, func() { _ = session.Close() })()
	l.attached.Store(true)
	defer l.attached.Store(false)
	log := l.client.cfg.Log
	log.Info("attached to the hub's relay")
	for {
		s, err := session.AcceptStream()
		if err != nil {
			return true, err
		}
		c, err := received(s)
		if err != nil {
			log.Warn("a relayed connection is refused", "error", err)
			_ = s.Close() // nothing was said on it
			continue
		}
		select {
		case l.conns <- c:
		case <-session.CloseChan(): // and c with it
		}
	}
}

// received reads who has asked for a connection. The hub says so together with opening
// it, so that others need not wait.
func received(s *yamux.Stream) (*relayed, error) {
	if err := s.SetReadDeadline(time.Now().Add(answerTime)); err != nil {
		return nil, err
	}
	name, err := readName(s)
	if err != nil {
		return nil, err
	}
	return &relayed{s, name}, s.SetReadDeadline(time.Time{})
}

// relayed is a connection that another node has asked for.
type relayed struct {
	*yamux.Stream
	from core.NodeID
}

func (r *relayed) RemoteAddr() net.Addr { return address(r.from) }
