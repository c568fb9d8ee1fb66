package node

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"atoll/internal/core"
	"atoll/internal/engine"
	"atoll/internal/identity"
	"atoll/internal/peer"
	"atoll/internal/peer/probe"
	"atoll/internal/peer/relay"
)

// PeersRelayed, as Config.Peers, has other nodes reach this one through the hub alone.
const PeersRelayed = "relay"

// peers is this node among the others: where they reach it, and how it reaches them.
type peers struct {
	end     *peer.Endpoint
	listen  net.Listener  // nil: it cannot be dialled
	relay   *relay.Client // to those that cannot
	relayed bool          // it is reached through the relay
	self    peer.Address
	log     *slog.Logger
}

// openPeers listens for other nodes. It returns nil where this node has no
// certificate that it could show them, as after it has joined a hub of an older
// version that has issued none, and cannot get one.
func (n *Node) openPeers(ctx context.Context, grant *identity.JoinGrant) (*peers, error) {
	if n.cert == nil || grant.PeerCAPEM == "" {
		n.cfg.Log.Warn("this node takes no part in models that several nodes hold: its hub has given it no certificate; join again to get one")
		return nil, nil
	}
	p := &peers{relayed: n.cfg.Peers == PeersRelayed || !n.cfg.hubIsHere(), self: peer.Address{Node: n.cfg.Name, Key: n.key.Public().Digest()}, log: n.cfg.Log}
	var err error
	if p.relay, err = relay.NewClient(relay.ClientConfig{Hub: n.cfg.HubURL, Key: string(grant.APIKey), Transport: n.web.Transport, Log: n.cfg.Log}); err != nil {
		return nil, err
	}
	if n.cfg.Peers == PeersRelayed {
		return p, nil
	}
	if p.listen, err = new(net.ListenConfig).Listen(ctx, "tcp", n.cfg.Peers); err != nil {
		return nil, fmt.Errorf("listen for other nodes (--peers %s): %w", n.cfg.Peers, err)
	}
	at := n.cfg.PeersAt
	if at == "" {
		at = p.listen.Addr().String()
	}
	p.self.At = []string{at}
	return p, nil
}

// open opens a stream to another node, once join has made the endpoint.
func (p *peers) open(ctx context.Context, to peer.Address, protocol string) (peer.Stream, error) {
	return p.end.Open(ctx, to, protocol)
}

// join makes the endpoint, which gives chunks of models to others, and puts the engines
// that compute together with others among their peers.
func (p *peers) join(n *Node, caPEM string, hub identity.PublicKey, sharers []engine.Sharer) error {
	near := engine.Neighbours{Self: p.self, Open: p.open, Seal: n.key.Seal, Hub: hub}
	near.Fetch = func(ctx context.Context, d core.Digest, size int64) (engine.ModelFile, error) {
		return n.models.Open(ctx, d, size)
	}
	handlers := n.models.Handlers()
	handlers[probe.Protocol] = seldom(rate.NewLimiter(rate.Every(time.Second), probeBurst), probe.Answer)
	for _, e := range sharers {
		for protocol, h := range e.Join(near) {
			if handlers[protocol] != nil {
				return fmt.Errorf("node: two engines speak %s", protocol)
			}
			handlers[protocol] = h
		}
	}
	var err error
	p.end, err = peer.New(peer.Config{
		Certificate: func() (*tls.Certificate, error) { return n.cert.current.Load(), nil }, CA: []byte(caPEM),
		Dial: p.relay.Dialler(func(ctx context.Context, at string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", at)
		}),
		Handlers: handlers, Log: n.cfg.Log,
	})
	return err
}

// probeBurst is how many may measure the way to this node at once; after that, one a
// second.
const probeBurst = 32

// seldom is a handler that leaves streams which are over a limit.
func seldom(l *rate.Limiter, h peer.Handler) peer.Handler {
	return func(ctx context.Context, s peer.Stream) {
		if l.Allow() {
			h(ctx, s)
		}
	}
}

// probe measures the way to each of these nodes, and leaves out those to which there is
// none.
func (p *peers) probe(ctx context.Context, to []peer.Address) (ways []probe.Way) {
	for _, a := range to { // one after another, so that none is in another's way
		w, err := probe.Measure(ctx, p.open, a)
		if err != nil {
			p.log.Info("the way to another node cannot be measured", "node", a.Node, "error", err)
			continue
		}
		ways = append(ways, w)
	}
	return ways
}

// serve takes other nodes' connections until close.
func (p *peers) serve(n *Node) {
	if p == nil {
		return
	}
	var serving sync.WaitGroup
	hear := func(l net.Listener) {
		if err := p.end.Serve(l); err != nil {
			n.cfg.Log.Error("other nodes are no longer heard", "at", l.Addr(), "error", err)
		}
	}
	if p.listen != nil {
		serving.Go(func() { hear(p.listen) })
	}
	if p.relayed {
		serving.Go(func() {
			l := p.relay.Listen()
			hear(l)
			_ = l.Close() // always succeeds
		})
	}
	serving.Wait()
}

func (p *peers) close() error {
	if p == nil {
		return nil
	}
	var errs []error
	if p.end != nil {
		errs = append(errs, p.end.Close())
	}
	if p.listen != nil {
		if err := p.listen.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// sharers are the engines that compute models together with other nodes'.
func sharers(all []engine.Engine) (out []engine.Sharer) {
	for _, e := range all {
		if s, ok := e.(engine.Sharer); ok {
			out = append(out, s)
		}
	}
	return out
}

// checkPeers refuses addresses that nobody could dial.
func checkPeers(listen, at string) error {
	if listen == PeersRelayed {
		if at != "" {
			return core.Errorf(core.Invalid, "--peers-at %.80q: say with --peers where to listen, too", at)
		}
		return nil
	}
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return core.Errorf(core.Invalid, "--peers %.80q: want host:port, or %s", listen, PeersRelayed)
	}
	if ip := net.ParseIP(host); at == "" && (host == "" || ip != nil && ip.IsUnspecified()) {
		return core.Errorf(core.Invalid, "--peers %s takes connections on all addresses: say with --peers-at HOST:PORT at which one other nodes reach it", listen)
	}
	if at == "" {
		return nil
	}
	if host, port, err := net.SplitHostPort(at); err != nil || host == "" || port == "" {
		return core.Errorf(core.Invalid, "--peers-at %.80q: want host:port", at)
	}
	return nil
}
