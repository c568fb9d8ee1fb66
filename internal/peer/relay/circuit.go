package relay

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"atoll/internal/auth"
	"atoll/internal/core"
)

// piece is how much is carried at once, in bytes: what one circuit may have others wait
// for on the same attachment.
const piece = 32 << 10

// circuit is a connection of one node that was joined to another's attachment.
type circuit struct {
	from *auth.Principal
	to   *attachment
	end  context.CancelFunc
	done <-chan struct{} // closed by end
}

// Connect joins a node's request to the attachment of another node, and carries what
// both say until one of them ends it, or Cut does. See Attach for valid, and errors.
func (h *Hub) Connect(w http.ResponseWriter, r *http.Request, from *auth.Principal, to core.NodeID, valid func() error) error {
	if to == from.Node {
		return core.Errorf(core.Invalid, "node %s asks to be connected to itself", to)
	}
	if err := h.enter(w, r, from); err != nil {
		return err
	}
	defer h.wg.Done()
	c, err := h.open(from, to)
	if err != nil {
		return err
	}
	defer h.drop(c)
	if err := valid(); err != nil {
		return err
	}
	far, err := c.to.stream(from.Node)
	if err != nil {
		return core.Errorf(core.Unavailable, "node %s has just gone: %w", to, err)
	}
	near, err := upgrade(w)
	if err != nil {
		_ = far.Close() // nothing was said on it
		return err
	}
	h.carry(c, near, far)
	return nil
}

// open counts a circuit, if there may be another.
func (h *Hub) open(from *auth.Principal, node core.NodeID) (*circuit, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	to := h.attached[node]
	if to == nil {
		h.metrics.refused("not-attached")
		return nil, core.Errorf(core.Unavailable, "node %.80s is not attached to the hub's relay", node).WithHint("it is while it runs and reaches the hub; ask again")
	}
	if len(h.circuits) >= h.cfg.Circuits {
		h.metrics.refused("hub-full")
		return nil, core.Errorf(core.Unavailable, "this hub relays %d connections, as many as it may", h.cfg.Circuits).WithHint("try again later; the operator can allow more: atoll hub --max-relayed")
	}
	if most := (h.cfg.Circuits + 1) / 2; h.asked[from.Account] >= most {
		h.metrics.refused("account-full")
		return nil, core.Errorf(core.Unavailable, "nodes of %s have asked for %d relayed connections, as many as those of one account may", from.Account, most)
	}
	for _, end := range []core.NodeID{from.Node, node} {
		if h.ends[end] >= h.cfg.PerNode {
			h.metrics.refused("node-full")
			return nil, core.Errorf(core.Unavailable, "node %s has %d relayed connections, as many as a node may", end, h.cfg.PerNode)
		}
	}
	ctx, end := context.WithCancel(h.ctx)
	c := &circuit{from: from, to: to, end: end, done: ctx.Done()}
	h.circuits[c] = struct{}{}
	h.asked[from.Account]++
	h.ends[from.Node]++
	h.ends[node]++
	return c, nil
}

// drop ends a circuit and counts it out.
func (h *Hub) drop(c *circuit) {
	c.end()
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.circuits, c)
	if h.asked[c.from.Account]--; h.asked[c.from.Account] == 0 {
		delete(h.asked, c.from.Account)
	}
	for _, end := range []core.NodeID{c.from.Node, c.to.who.Node} {
		if h.ends[end]--; h.ends[end] == 0 {
			delete(h.ends, end)
		}
	}
}

// stream opens one to the attached node, for what another says.
func (a *attachment) stream(from core.NodeID) (net.Conn, error) {
	s, err := a.session.OpenStream()
	if err != nil {
		return nil, err
	}
	if err := writeName(s, from); err != nil {
		_ = s.Close() // the error says more
		return nil, fmt.Errorf("begin a stream: %w", err)
	}
	return s, nil
}

// carry moves bytes both ways until one side ends, or the circuit does.
func (h *Hub) carry(c *circuit, near, far net.Conn) {
	var wg sync.WaitGroup
	for _, way := range [][2]net.Conn{{near, far}, {far, near}} {
		wg.Go(func() {
			defer c.end()
			h.pump(way[0], way[1])
		})
	}
	<-c.done
	_ = near.Close() // what was written before is on its way, and nobody wants the rest
	_ = far.Close()
	wg.Wait()
}

// pump moves bytes one way. One who sends nothing, or takes nothing, is given up.
func (h *Hub) pump(from, to net.Conn) {
	b := make([]byte, piece)
	for {
		if from.SetReadDeadline(time.Now().Add(h.cfg.Silence)) != nil {
			return
		}
		n, err := from.Read(b)
		if n > 0 {
			if to.SetWriteDeadline(time.Now().Add(h.cfg.Silence)) != nil {
				return
			}
			if _, err := to.Write(b[:n]); err != nil {
				return
			}
			h.metrics.bytes.Add(float64(n))
		}
		if err != nil {
			return
		}
	}
}
