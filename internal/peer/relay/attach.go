package relay

import (
	"context"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/hashicorp/yamux"

	"atoll/internal/auth"
	"atoll/internal/peer"
)

// attachment is a node's connection to the hub, on which others reach it.
type attachment struct {
	who     *auth.Principal
	session *yamux.Session
	rtt     atomic.Int64 // ns, the least that was measured; 0: not yet
	end     context.CancelFunc
}

// Attach serves a node that wants to be reached, until it goes, another attachment of
// its takes this one's place, or Cut ends it. valid says whether the node's key is still
// good. It is asked once Cut knows of the attachment: a key that becomes void while the
// node attaches is noticed by one of the two. If Attach fails, nothing was answered.
func (h *Hub) Attach(w http.ResponseWriter, r *http.Request, who *auth.Principal, valid func() error) error {
	if err := h.enter(w, r, who); err != nil {
		return err
	}
	defer h.wg.Done()
	conn, err := upgrade(w)
	if err != nil {
		return err
	}
	mux := muxConfig()
	mux.EnableKeepAlive = false // ping does that
	session, err := yamux.Client(peer.JoinFrames(conn), mux)
	if err != nil {
		_ = conn.Close() // the error says more
		return err
	}
	ctx, end := context.WithCancel(h.ctx)
	defer end()
	a := &attachment{who: who, session: session, end: end}
	h.attach(a)
	defer h.detach(a)
	if err := valid(); err != nil {
		h.cfg.Log.Warn("a node whose key has become void is not attached", "node", who.Node, "error", err)
		return nil
	}
	if session.GoAway() != nil { // it is gone itself
		return nil
	}
	h.cfg.Log.Info("a node is attached to the relay", "node", who.Node, "from", r.RemoteAddr)
	a.ping(ctx)
	h.cfg.Log.Info("a node is no longer attached to the relay", "node", who.Node, "from", r.RemoteAddr)
	return nil
}

// ping measures the way to the node until it does not answer, has gone, or ctx ends.
func (a *attachment) ping(ctx context.Context) {
	defer context.AfterFunc(ctx, func() { _ = a.session.Close() })()
	for {
		rtt, err := a.session.Ping()
		if err != nil {
			return
		}
		if least := a.rtt.Load(); least == 0 || int64(rtt) < least {
			a.rtt.Store(int64(rtt))
		}
		select {
		case <-time.After(keepAlive):
		case <-a.session.CloseChan():
			return
		}
	}
}

// attach makes a the attachment of its node, and ends the one before.
func (h *Hub) attach(a *attachment) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if old := h.attached[a.who.Node]; old != nil {
		old.end()
	}
	h.attached[a.who.Node] = a
}

// detach ends a, and all that is relayed to it.
func (h *Hub) detach(a *attachment) {
	h.mu.Lock()
	if h.attached[a.who.Node] == a {
		delete(h.attached, a.who.Node)
	}
	h.mu.Unlock()
	_ = a.session.Close() // always succeeds
}
