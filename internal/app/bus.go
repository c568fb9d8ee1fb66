package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"atoll/internal/bus"
	"atoll/internal/control"
	"atoll/internal/durable"
	"atoll/internal/identity"
	"atoll/internal/store"
)

// startBus starts the embedded NATS or connects to the operator's own.
func (h *Hub) startBus(ctx context.Context, grant *identity.JoinGrant) (err error) {
	if x := h.cfg.NATS; x != nil {
		return h.joinNATS(ctx, x, grant)
	}
	host, _, err := net.SplitHostPort(h.ln.Addr().String())
	if err != nil {
		return err
	}
	sc := bus.ServerConfig{Dir: h.path("keys"), Host: host, Port: h.natsPort(), InProcessOnly: h.cfg.NATSPort < 0, Logger: h.cfg.Log}
	if h.secure {
		if sc.TLS, err = h.ca.ServerTLS(h.hosts()...); err != nil {
			return err
		}
		grant.NatsCAPEM = h.CACert()
	}
	if sc.Revoked, err = h.revoked(ctx); err != nil {
		return err
	}
	if h.Bus, err = bus.StartEmbedded(sc); err != nil {
		return err
	}
	h.close = append(h.close, func() error { h.Bus.Close(); return nil })
	if u := h.Bus.URL(); u != "" {
		grant.NatsURLs = []string{reachable(u, h.URL)}
		if err := h.keepNATSPort(u); err != nil {
			return err
		}
	}
	h.admit = h.Bus
	if h.link, err = h.Bus.ConnectHub(ctx); err != nil {
		return err
	}
	h.close = append(h.close, func() error { h.link.Close(); return nil })
	return nil
}

// reachable is the address of a bus for those elsewhere: where it listens on all
// addresses, the host is the one under which the hub is known.
func reachable(busURL, hubURL string) string {
	u, err := url.Parse(busURL)
	hub, err2 := url.Parse(hubURL)
	if err != nil || err2 != nil {
		return busURL
	}
	if ip := net.ParseIP(u.Hostname()); ip != nil && ip.IsUnspecified() {
		u.Host = net.JoinHostPort(hub.Hostname(), u.Port())
	}
	return u.String()
}

// natsPort is the port asked for, or the one of the last start: nodes that have
// joined know the bus by it.
func (h *Hub) natsPort() int {
	if h.cfg.NATSPort == 0 {
		if b, err := os.ReadFile(h.path("nats.port")); err == nil {
			if port, err := strconv.Atoi(strings.TrimSpace(string(b))); err == nil {
				return port
			}
		}
	}
	return max(h.cfg.NATSPort, 0)
}

func (h *Hub) keepNATSPort(busURL string) error {
	u, err := url.Parse(busURL)
	if err != nil {
		return err
	}
	return durable.WriteFile(h.path("nats.port"), []byte(u.Port()+"\n"), durable.Private)
}

// revoked reads, before the store is opened for writing, which bus keys are
// shut out.
func (h *Hub) revoked(ctx context.Context) (map[string]time.Time, error) {
	if _, err := os.Stat(h.path("atoll.db")); errors.Is(err, fs.ErrNotExist) {
		return nil, nil // a new hub
	}
	s, err := store.Open(store.Config{Path: h.path("atoll.db"), Log: h.cfg.Log})
	if err != nil {
		return nil, err
	}
	out, err := control.RevokedNkeys(ctx, s)
	return out, errors.Join(err, s.Close())
}

func (h *Hub) joinNATS(ctx context.Context, x *ExternalNATS, grant *identity.JoinGrant) error {
	seed, err := os.ReadFile(x.Seed)
	if err != nil {
		return err
	}
	issuer, err := bus.NewIssuer(x.Account, []byte(strings.TrimSpace(string(seed))))
	if err != nil {
		return err
	}
	userJWT, nkey, err := bus.LoadCreds(x.Creds)
	if err != nil {
		return err
	}
	h.admit = externalAdmit{issuer, h.cfg.Log}
	grant.NatsURLs = x.URLs
	at := bus.Endpoint{URLs: x.URLs, UserJWT: userJWT, Nkey: nkey}
	if x.CA != "" {
		pem, err := os.ReadFile(x.CA)
		if err != nil {
			return err
		}
		if at.TLS, err = identity.ClientTLS(pem, nil); err != nil {
			return fmt.Errorf("--nats-ca %s: %w", x.CA, err)
		}
		grant.NatsCAPEM = string(pem)
	}
	if h.link, err = bus.ConnectHub(ctx, bus.HubConfig{Endpoint: at, Logger: h.cfg.Log}); err != nil {
		return err
	}
	h.close = append(h.close, func() error { h.link.Close(); return nil })
	return nil
}

// externalAdmit issues credentials for a NATS that this hub does not run. It
// cannot take them back there; the hub itself stops listening to the node.
type externalAdmit struct {
	*bus.Issuer
	log *slog.Logger
}

func (e externalAdmit) Revoke(nkey string, _ time.Time) error {
	e.log.Warn("the node's bus user must also be revoked in the external NATS", "nkey", nkey)
	return nil
}
