package bus

import (
	"context"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"

	"atoll/internal/core"
)

// HubConfig configures a hub's connection.
type HubConfig struct {
	Endpoint
	StuckAfter time.Duration // default DefaultStuckAfter
	Logger     *slog.Logger
}

// HubConn is the hub's end of the bus.
type HubConn struct{ c *conn }

var _ HubLink = (*HubConn)(nil)

// ConnectHub connects a hub and returns once it is connected, or when ctx ends.
// Afterwards the connection is kept up until Close.
func ConnectHub(ctx context.Context, cfg HubConfig) (*HubConn, error) {
	c, err := newConn(connConfig{
		Endpoint:      cfg.Endpoint,
		name:          "hub",
		subject:       outSubject("*", "*"),
		queueMessages: hubQueueMessages,
		queueBytes:    hubQueueBytes,
		stuckAfter:    cfg.StuckAfter,
		log:           cfg.Logger,
	})
	if err != nil {
		return nil, err
	}
	if err := c.wait(ctx); err != nil {
		c.close()
		return nil, err
	}
	return &HubConn{c: c}, nil
}

// Send hands a message for a node to the network and does not wait for it. It
// may block for StuckAfter if the network does not take it.
func (h *HubConn) Send(node core.NodeID, kind string, data []byte, traceparent string) error {
	if err := core.CheckName("node", string(node)); err != nil {
		return err
	}
	if err := checkKind(kind); err != nil {
		return err
	}
	return h.c.send(inSubject(string(node), kind), data, traceparent)
}

// Subscribe sets the handler of what nodes send; it may be called once. The
// handler is called for one message at a time.
func (h *HubConn) Subscribe(handler func(Inbound)) error { return h.c.subscribeTo(outward, handler) }

// Status reports on the connection.
func (h *HubConn) Status() ConnStatus { return h.c.snapshot() }

// Close sends what is buffered and returns after the last call of the handler,
// from within which it must not be called.
func (h *HubConn) Close() { h.c.close() }

// subscribeTo turns messages of one direction into Inbounds. Malformed ones can
// only come from a foreign client of an external NATS, and are left out.
func (c *conn) subscribeTo(direction string, handler func(Inbound)) error {
	return c.setHandler(func(m *nats.Msg) {
		node, kind, err := splitSubject(m.Subject, direction)
		if err != nil {
			c.cfg.log.Warn("bus: message ignored", "error", err)
			return
		}
		in := Inbound{Node: node, Kind: kind, Data: m.Data}
		if tp := HeaderCarrier(m.Header).Get(traceparentKey); len(tp) <= maxTraceparent {
			in.Traceparent = tp
		}
		handler(in)
	})
}
