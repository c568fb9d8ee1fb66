package app

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"atoll/internal/core"
	"atoll/internal/httpapi/conns"
	"atoll/internal/identity"
)

// listen takes the API's address. Away from loopback it speaks TLS, with the hub's
// own CA; nodes show one another that CA's certificates everywhere.
func (h *Hub) listen(ctx context.Context) (err error) {
	host, _, err := net.SplitHostPort(h.cfg.Listen)
	if err != nil {
		return fmt.Errorf("--listen %s: want host:port", h.cfg.Listen)
	}
	if h.ln, err = new(net.ListenConfig).Listen(ctx, "tcp", h.cfg.Listen); err != nil {
		return fmt.Errorf("%w; is another hub running? choose another --listen", err)
	}
	h.close = append(h.close, func() error { h.ln.Close(); return nil })
	scheme := "http"
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		scheme, h.secure = "https", true
	}
	if h.ca, err = identity.LoadOrCreateCA(h.path("keys"), time.Now); err != nil {
		return err
	}
	limits := h.cfg.Conns
	limits.Plain = !h.secure
	if h.ln, err = conns.Limit(h.ln, limits); err != nil {
		return err
	}
	h.URL, err = advertised(h.cfg.Advertise, scheme, h.ln.Addr().String())
	return err
}

// advertised is the URL under which a hub is reached that listens on an address:
// what the operator says, or that very address.
func advertised(text, scheme, addr string) (string, error) {
	if text == "" {
		u := url.URL{Scheme: scheme, Host: addr}
		if ip := net.ParseIP(u.Hostname()); ip != nil && ip.IsUnspecified() {
			return "", core.Errorf(core.Invalid, "--listen %s takes connections on all addresses: say with --advertise https://HOST:%s under which one nodes and clients reach it", addr, u.Port())
		}
		return u.String(), nil
	}
	u, err := url.Parse(text)
	switch {
	case err != nil, u.Hostname() == "", u.User != nil, strings.Trim(u.Path, "/") != "", u.RawQuery != "", u.Fragment != "", u.Scheme != "https" && u.Scheme != "http":
		return "", core.Errorf(core.Invalid, "--advertise %.120q: want https://host:port", text)
	case scheme == "https" && u.Scheme != scheme:
		return "", core.Errorf(core.Invalid, "--advertise %.120q: away from loopback the hub speaks TLS; say https://", text)
	}
	return u.Scheme + "://" + u.Host, nil
}

// hosts are the names under which the hub's servers answer.
func (h *Hub) hosts() (hosts []string) {
	known, _ := url.Parse(h.URL) // checked in advertised
	for _, u := range []*url.URL{{Host: h.ln.Addr().String()}, known} {
		host := u.Hostname()
		if ip := net.ParseIP(host); (ip == nil || !ip.IsUnspecified()) && !slices.Contains(hosts, host) {
			hosts = append(hosts, host)
		}
	}
	return hosts
}

// CACert is the certificate authority of the hub's API in PEM, empty on loopback.
func (h *Hub) CACert() string {
	if !h.secure {
		return ""
	}
	return string(h.ca.PEM())
}
