package node

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"atoll/internal/bus"
	"atoll/internal/identity"
)

// ErrDisowned means that the hub does not know this node any more.
var ErrDisowned = errors.New("the hub does not know this node any more")

// How often the hub is asked whether it still knows this node: often while the
// bus does not let it in, and now and then where an external NATS still does.
const (
	askCutOff    = 2 * time.Second
	askConnected = time.Minute
	askTime      = 10 * time.Second
)

// untilDisowned returns ErrDisowned once the hub says that the node's key is
// void, or nil when ctx ends. A node that is merely cut off works on.
//
// The bus alone cannot tell: a refusal there may also be a server that has just
// been restarted with other accounts.
func (n *Node) untilDisowned(ctx context.Context, grant *identity.JoinGrant, conn *bus.NodeConn) error {
	ticks := time.NewTicker(askCutOff)
	defer ticks.Stop()
	var asked time.Time
	for {
		if now := time.Now(); !conn.Status().Connected || now.Sub(asked) >= askConnected {
			asked = now
			if n.disowned(ctx, grant) {
				return fmt.Errorf("%w: %s at %s was revoked by its owner or the operator, or has joined again from elsewhere; ask the operator, or join under another --name with another --dir and a new token", ErrDisowned, grant.Node, n.cfg.HubURL)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticks.C:
		}
	}
}

// disowned asks the hub. Whatever is not its clear no counts as not knowing.
func (n *Node) disowned(ctx context.Context, grant *identity.JoinGrant) bool {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimRight(n.cfg.HubURL, "/")+"/v1/node", nil)
	if err != nil {
		return false
	}
	req.Header.Set("Authorization", "Bearer "+string(grant.APIKey))
	res, err := n.web.Do(req)
	if err != nil {
		return false
	}
	_ = res.Body.Close() // nothing is read of it
	return res.StatusCode == http.StatusUnauthorized
}
