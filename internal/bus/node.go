package bus

import (
	"context"
	"log/slog"
	"time"

	"atoll/internal/core"
)

// NodeConfig configures a node's connection.
type NodeConfig struct {
	Endpoint
	Node core.NodeID
	// OnConnect is called each time the connection is up and the handler in
	// place, so that the node can send again what has not been acknowledged. It
	// is called from the loop that keeps the connection and should not linger.
	OnConnect  func()
	StuckAfter time.Duration // default DefaultStuckAfter
	Logger     *slog.Logger
}

// NodeConn is a node's end of the bus.
type NodeConn struct {
	c   *conn
	out string // prefix of the node's subjects
}

var _ NodeLink = (*NodeConn)(nil)

// ConnectNode starts to connect a node and keeps at it until Close. It does not
// wait: a node works on while cut off.
func ConnectNode(cfg NodeConfig) (*NodeConn, error) {
	if err := core.CheckName("node", string(cfg.Node)); err != nil {
		return nil, err
	}
	c, err := newConn(connConfig{
		Endpoint:      cfg.Endpoint,
		name:          string(cfg.Node),
		subject:       inSubject(string(cfg.Node), "*"),
		queueMessages: nodeQueueMessages,
		queueBytes:    nodeQueueBytes,
		stuckAfter:    cfg.StuckAfter,
		onConnect:     cfg.OnConnect,
		log:           cfg.Logger,
	})
	if err != nil {
		return nil, err
	}
	return &NodeConn{c: c, out: outSubject(string(cfg.Node), "")}, nil
}

// WaitConnected returns once a first connection was made, or when ctx ends.
func (n *NodeConn) WaitConnected(ctx context.Context) error { return n.c.wait(ctx) }

// Send hands a message for the hub to the network and does not wait for it. It
// fails with ErrDisconnected while cut off: nothing is buffered, because by the
// time the connection is back the node knows better what to send. It may block
// for StuckAfter if the network does not take it.
func (n *NodeConn) Send(kind string, data []byte, traceparent string) error {
	if err := checkKind(kind); err != nil {
		return err
	}
	return n.c.send(n.out+kind, data, traceparent)
}

// Subscribe sets the handler of what the hub sends; it may be called once. The
// handler is called for one message at a time.
func (n *NodeConn) Subscribe(handler func(Inbound)) error { return n.c.subscribeTo(inward, handler) }

// Status reports on the connection.
func (n *NodeConn) Status() ConnStatus { return n.c.snapshot() }

// Close sends what is buffered and returns after the last call of the handler,
// from within which it must not be called.
func (n *NodeConn) Close() { n.c.close() }
