package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"

	"atoll/internal/core"
	"atoll/internal/peer"
)

// ClientConfig for NewClient. All are required.
type ClientConfig struct {
	Hub       string            // its URL
	Key       string            // the node's API key
	Transport http.RoundTripper // speaks HTTP/1.1 with the hub
	Log       *slog.Logger
}

// Client is a node's part of the relay. It is safe for concurrent use.
type Client struct {
	cfg  ClientConfig
	base string
}

// NewClient returns a client that has not spoken with the hub yet.
func NewClient(cfg ClientConfig) (*Client, error) {
	u, err := url.Parse(cfg.Hub)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("relay: hub URL %.120q: want http://host:port or https://host:port", cfg.Hub)
	}
	if cfg.Key == "" || cfg.Transport == nil || cfg.Log == nil {
		return nil, errors.New("relay: key, transport or log are missing")
	}
	return &Client{cfg, strings.TrimRight(cfg.Hub, "/") + "/v1/node/relay"}, nil
}

// scheme begins an address that leads through the relay. No host and port do.
const scheme = "relay/"

// Address of a node that is attached to the relay, for peer.Address.At.
func Address(node core.NodeID) string { return scheme + string(node) }

// Relayed reports whether an address was made by Address.
func Relayed(at string) bool { return strings.HasPrefix(at, scheme) }

// Dialler dials addresses made by Address through the relay, and all others directly.
func (c *Client) Dialler(direct peer.Dial) peer.Dial {
	return func(ctx context.Context, at string) (net.Conn, error) {
		if node, relayed := strings.CutPrefix(at, scheme); relayed {
			return c.connect(ctx, node)
		}
		return direct(ctx, at)
	}
}

// connect asks the hub for a connection with another node.
func (c *Client) connect(ctx context.Context, node string) (net.Conn, error) {
	if err := core.CheckName("node", node); err != nil {
		return nil, err
	}
	conn, err := c.upgradeTo(ctx, "/"+node)
	if err != nil {
		return nil, fmt.Errorf("through the hub's relay: %w", err)
	}
	return conn, nil
}

// address is a node's, as seen through the relay.
type address core.NodeID

func (address) Network() string  { return "relay" }
func (a address) String() string { return Address(core.NodeID(a)) }
