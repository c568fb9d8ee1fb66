package app

import (
	"context"
	"errors"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"

	"atoll/internal/bus"
)

// goodbye is how long open requests may take once the hub ends.
const goodbye = 5 * time.Second

// Run serves until ctx ends or something fails for good.
func (h *Hub) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return h.Control.Run(ctx) })
	// In the group, so that a failure here ends the control loop, too.
	g.Go(func() error { return h.begin(ctx, g) })
	return g.Wait()
}

// begin goes on with what the last run left, and then opens the doors: first to
// the nodes, then to clients.
func (h *Hub) begin(ctx context.Context, g *errgroup.Group) error {
	if err := h.Control.Resume(ctx); err != nil {
		return err
	}
	key, err := h.ensureAdmin(ctx)
	if err != nil {
		return err
	}
	h.AdminKey = key
	if err := h.hear(ctx, g); err != nil {
		return err
	}
	g.Go(func() error {
		h.dispatcher.Run(ctx)
		return nil
	})
	g.Go(func() error {
		h.federations.Run(ctx)
		return nil
	})
	g.Go(h.serve)
	g.Go(func() error {
		<-ctx.Done()
		h.hangUp(ctx)
		return nil
	})
	close(h.ready) // the listener has been queueing connections since NewHub
	return nil
}

// hear takes what nodes send.
func (h *Hub) hear(ctx context.Context, g *errgroup.Group) error {
	in := newInbox(func(m bus.Inbound) { h.Control.Inbound(m.Node, m.Kind, m.Data) })
	in.work(ctx, g)
	return h.link.Subscribe(func(m bus.Inbound) { in.put(ctx, m) })
}

// serve answers HTTP requests until hangUp.
func (h *Hub) serve() error {
	var err error
	if h.server.TLSConfig != nil {
		err = h.server.ServeTLS(h.ln, "", "")
	} else {
		err = h.server.Serve(h.ln)
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// hangUp lets open requests finish for a moment.
func (h *Hub) hangUp(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), goodbye)
	defer cancel()
	if h.relay != nil {
		h.relay.Close() // its connections are no requests any more
	}
	if h.server.Shutdown(ctx) != nil {
		h.server.Close() // event streams and waiting submits
	}
}
