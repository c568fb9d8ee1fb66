package peer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/hashicorp/yamux"

	"atoll/internal/core"
)

// headStart of an address over the one behind it: enough for two round trips half way
// around the world and back.
const headStart = time.Second

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
		if l := e.newest(want); l != nil {
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

// connect dials a peer's addresses, best first. Each has a head start over the next, which
// need not wait for one that swallows what it is sent, as firewalls do. The first at which
// the peer answers is taken.
func (e *Endpoint) connect(ctx context.Context, to Address) (*link, error) {
	if len(to.At) == 0 || e.cfg.Dial == nil {
		return nil, fmt.Errorf("%w: %s has not connected, and there is no address of it", ErrUnreachable, to.Node)
	}
	ctx, stop := context.WithTimeout(ctx, handshakeTime)
	defer stop()
	defer context.AfterFunc(e.ctx, stop)()
	var failures []error
	tries := make(chan try, len(to.At))
	next, pending := 0, 0
	for start := time.NewTimer(0); next < len(to.At) || pending > 0; {
		select {
		case <-start.C:
			at := to.At[next]
			go func() {
				l, err := e.connectTo(ctx, to, at)
				tries <- try{at, l, err}
			}()
			pending++
			if next++; next < len(to.At) {
				start.Reset(headStart)
			}
		case t := <-tries:
			pending--
			if t.err == nil {
				stop()
				for range pending {
					(<-tries).drop()
				}
				e.keep(t.link)
				return t.link, nil
			}
			failures = append(failures, fmt.Errorf("%s: %w", t.at, t.err))
			if next < len(to.At) {
				start.Reset(0)
			}
		}
	}
	return nil, fmt.Errorf("%w: %s: %w", ErrUnreachable, to.Node, errors.Join(failures...))
}

// try is what came of dialling an address.
type try struct {
	at   string
	link *link
	err  error
}

// drop ends what another address was quicker than.
func (t try) drop() {
	if t.err == nil {
		_ = t.link.session.Close() // always succeeds
	}
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
	session, err := yamux.Client(JoinFrames(c), e.muxConfig())
	if err != nil {
		_ = c.Close()
		return nil, err
	}
	return &link{peer: peer, session: session}, nil
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
