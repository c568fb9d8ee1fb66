package relay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"

	"atoll/api"
	"atoll/internal/core"
)

const (
	// protocol is what a connection is upgraded to.
	protocol = "atoll-relay/1"
	// maxProblem bounds a refusal, in bytes.
	maxProblem = 16 << 10
)

// checkUpgrade refuses requests that do not ask for the protocol.
func checkUpgrade(r *http.Request) error {
	asked := slices.ContainsFunc(strings.Split(r.Header.Get("Connection"), ","), func(s string) bool { return strings.EqualFold(strings.TrimSpace(s), "Upgrade") })
	if !asked || r.Header.Get("Upgrade") != protocol || r.ProtoMajor != 1 || r.ProtoMinor != 1 {
		return core.Errorf(core.Invalid, "this is for nodes alone, whose connections are relayed").WithHint("send over HTTP/1.1: Connection: Upgrade, and Upgrade: " + protocol)
	}
	return nil
}

// upgrade ends HTTP on a request's connection, and returns it.
func upgrade(w http.ResponseWriter) (net.Conn, error) {
	w.Header().Set("Connection", "Upgrade")
	w.Header().Set("Upgrade", protocol)
	w.WriteHeader(http.StatusSwitchingProtocols)
	c, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil, fmt.Errorf("relay: %w", err)
	}
	early, err := buffered.Peek(buffered.Reader.Buffered())
	if err != nil {
		_ = c.Close() // the error says more
		return nil, fmt.Errorf("relay: %w", err)
	}
	return &upgraded{Conn: c, Reader: io.MultiReader(bytes.NewReader(bytes.Clone(early)), c), Writer: c, Closer: c}, nil
}

// upgraded is a connection that has ceased to speak HTTP. Whoever parsed that may have
// read more of it than was HTTP, which comes first.
type upgraded struct {
	net.Conn // deadlines and addresses
	io.Reader
	io.Writer
	io.Closer
}

func (u *upgraded) Read(b []byte) (int, error)  { return u.Reader.Read(b) }
func (u *upgraded) Write(b []byte) (int, error) { return u.Writer.Write(b) }
func (u *upgraded) Close() error                { return u.Closer.Close() }

// upgradeTo asks the hub for an upgraded connection. Its refusals are *api.Problem.
func (c *Client) upgradeTo(ctx context.Context, path string) (net.Conn, error) {
	var conn net.Conn
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) { conn = i.Conn }})
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+path, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+c.cfg.Key)
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", protocol)
	// Not by way of http.Client: nothing is to follow the key to another address.
	res, err := c.cfg.Transport.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	if rw, ok := res.Body.(io.ReadWriteCloser); ok && res.StatusCode == http.StatusSwitchingProtocols && res.Header.Get("Upgrade") == protocol {
		return &upgraded{Conn: conn, Reader: rw, Writer: rw, Closer: rw}, nil
	}
	defer res.Body.Close()
	return nil, refused(res)
}

// refused is the hub's own word of why not, if it is a hub.
func refused(res *http.Response) error {
	text, err := io.ReadAll(io.LimitReader(res.Body, maxProblem))
	if err != nil {
		return fmt.Errorf("the hub answered %s: %w", res.Status, err)
	}
	if res.StatusCode == http.StatusNotFound {
		return errors.New("this hub relays nothing: atoll hub --max-relayed 0, or an older version")
	}
	p := new(api.Problem)
	if json.Unmarshal(text, p) != nil || p.Detail == "" {
		return fmt.Errorf("the hub answered %s: %s", res.Status, core.Clip(strings.TrimSpace(string(text)), 300))
	}
	return p
}
