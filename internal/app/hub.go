// Package app wires the parts into the two long-running roles, hub and node,
// and into "up", which is both in one process. It is the only package that
// imports everything; it decides nothing.
//
// Files: run (the program and its roles), hub (what a hub consists of, in the
// order in which it is opened), listen (the API's address and its TLS), bus
// (embedded or external NATS), loops (what a hub does until it ends), admin (the
// operator's key), callbacks, models, node, network (hub and nodes in one
// process).
package app

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/otel/trace"

	"atoll/internal/blob"
	"atoll/internal/bus"
	"atoll/internal/control"
	"atoll/internal/durable"
	"atoll/internal/fed/server"
	"atoll/internal/fetch"
	"atoll/internal/httpapi/atoll"
	"atoll/internal/httpapi/conns"
	"atoll/internal/httpapi/openai"
	"atoll/internal/identity"
	"atoll/internal/peer/relay"
	"atoll/internal/webhook"
)

// Version of this build.
const Version = "0.1.0"

// HubConfig is what an operator chooses for a hub.
type HubConfig struct {
	Dir       string // keys, database, blobs, log
	Listen    string // of the HTTP API
	Advertise string // URL under which nodes and clients reach it; default: the address it listens on
	NATSPort  int    // of the embedded NATS, on the API's host; 0: a free one; negative: none, only nodes of this process
	NATS      *ExternalNATS
	Conns     conns.Config // limits of the API's connections
	Relayed   int          // connections between nodes that are relayed at once; 0: none
	// Private lets data pointers and callbacks go to private and loopback addresses.
	Private   bool
	Reserve   int64         // bytes of the disk that stay free; 0: none
	Retention time.Duration // of ended tasks' data and unused uploads; 0: for ever
	Quota     int64         // bytes kept for an account; 0: control.DefaultQuota
	Log       *slog.Logger
	Tracer    trace.Tracer
	Traced    bool // spans go somewhere
	NoSync    bool // for tests
}

// ExternalNATS is a NATS that somebody else runs.
type ExternalNATS struct {
	URLs    []string
	Creds   string // path of the hub user's credentials file
	Account string // public key of the account
	Seed    string // path of a plain signing key of the account
	CA      string // path of its CA's certificate; empty: one that systems trust, or none on loopback
}

// Hub is a running hub.
type Hub struct {
	URL      string
	AdminKey string
	Control  *control.Control
	Bus      *bus.Server // nil over an external NATS

	cfg         HubConfig
	link        *bus.HubConn
	admit       control.Admitter
	ca          *identity.CA
	secure      bool // away from loopback: API and bus speak TLS
	key         *identity.Key
	ln          net.Listener
	relay       *relay.Hub // nil: nothing is relayed
	server      *http.Server
	outbox      *callbacks
	federations *server.Server
	unlock      func() error
	close       []func() error // in the order of opening

	dispatcher *webhook.Dispatcher
	ready      chan struct{}
}

// Ready is closed once Run answers requests.
func (h *Hub) Ready() <-chan struct{} { return h.ready }

// NewHub opens a hub's directory, listens, and restores what was going on. Run
// must follow.
func NewHub(ctx context.Context, cfg HubConfig) (_ *Hub, err error) {
	h := &Hub{cfg: cfg, ready: make(chan struct{})}
	defer func() {
		if err != nil {
			err = errors.Join(err, h.Close())
		}
	}()
	if h.unlock, err = durable.Lock(cfg.Dir, "a hub"); err != nil {
		return nil, err
	}
	if err := h.listen(ctx); err != nil {
		return nil, err
	}
	if h.key, err = identity.LoadOrCreate(h.path("keys"), "hub"); err != nil {
		return nil, err
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if err := h.openControl(ctx, registry); err != nil {
		return nil, err
	}
	if err := h.openAPI(registry); err != nil {
		return nil, err
	}
	return h, nil
}

// path is of a file or folder in the hub's directory.
func (h *Hub) path(name string) string { return filepath.Join(h.cfg.Dir, name) }

// openControl opens what the hub keeps: log, blobs, the bus, the database.
func (h *Hub) openControl(ctx context.Context, registry *prometheus.Registry) error {
	logKey, err := identity.LoadOrCreateEd25519(h.path("keys"), "log")
	if err != nil {
		return err
	}
	id := "hub-" + h.key.Public().Digest().Hex()[:12]
	log, err := control.NewLog(control.LogConfig{Dir: h.path("log"), Origin: id + ".atoll.internal", Key: logKey, Logger: h.cfg.Log})
	if err != nil {
		return err
	}
	blobs, err := blob.Open(h.path("blobs"), blob.Options{Reserve: h.cfg.Reserve, Log: h.cfg.Log})
	if err != nil {
		return err
	}
	fetcher, err := fetch.New(fetch.Config{AllowPrivate: h.cfg.Private, Log: h.cfg.Log})
	if err != nil {
		return err
	}
	grant := identity.JoinGrant{HubID: id, HubKeyPEM: h.key.Public().PEM(), LogVKey: log.Key().VKey(), CACertPEM: h.CACert(), PeerCAPEM: string(h.ca.PEM())}
	if err := h.startBus(ctx, &grant); err != nil {
		return err
	}
	cc := control.Config{
		HubID: id, Path: h.path("atoll.db"), Key: h.key, Log: log, Blobs: blobs, Quota: h.cfg.Quota, Retention: h.cfg.Retention, Fetch: fetcher, Send: h.link, Admit: h.admit, Grant: grant,
		Models: inspectModel, Pieces: pieces, IssueTLS: h.ca.IssueNode, Tracer: h.cfg.Tracer, Traced: h.cfg.Traced, Logger: h.cfg.Log, NoSync: h.cfg.NoSync, Metrics: control.NewMetrics(registry),
	}
	if h.secure {
		cc.CAPin = h.ca.Pin()
	}
	if h.cfg.Relayed > 0 {
		if h.relay, err = relay.NewHub(relay.Config{Circuits: h.cfg.Relayed, Metrics: registry, Log: h.cfg.Log}); err != nil {
			return err
		}
		h.close = append(h.close, func() error { h.relay.Close(); return nil })
		cc.Relayed = h.relay.Attached
	}
	if err := h.openCallbacks(&cc, fetcher); err != nil {
		return err
	}
	if h.Control, err = control.New(ctx, cc); err != nil {
		return err
	}
	h.outbox.control = h.Control
	if h.federations, err = server.New(ctx, server.Config{Hub: h.Control, Store: h.Control.Store(), Blobs: blobs, Log: h.cfg.Log}); err != nil {
		return errors.Join(err, h.Control.Close())
	}
	h.close = append(h.close, h.Control.Close)
	h.Control.Register(registry)
	return nil
}

// maxHeader bounds a request's header, of which slow callers could fill one for
// each connection.
const maxHeader = 64 << 10

// openAPI makes the HTTP server; it answers once Run serves.
func (h *Hub) openAPI(registry *prometheus.Registry) error {
	logHandler, err := h.Control.LogHandler()
	if err != nil {
		return err
	}
	mounts, err := openai.Mounts(openai.Config{Hub: h.Control, Log: h.cfg.Log})
	if err != nil {
		return err
	}
	handler, err := atoll.New(atoll.Config{
		Mounts: mounts, Federations: h.federations, Relay: h.relay, Hub: h.Control, Log: h.cfg.Log, Tracer: h.cfg.Tracer, Version: Version, LogHandler: logHandler,
		MetricsHandler: promhttp.HandlerFor(registry, promhttp.HandlerOpts{}),
	})
	if err != nil {
		return err
	}
	h.server = &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: maxHeader, ErrorLog: slog.NewLogLogger(h.cfg.Log.Handler(), slog.LevelDebug)}
	if h.secure {
		h.server.TLSConfig, err = h.ca.ServerTLS(h.hosts()...)
	}
	return err
}

// Close gives everything back. It follows Run, or a NewHub that failed.
func (h *Hub) Close() error {
	var errs []error
	for i := len(h.close) - 1; i >= 0; i-- {
		errs = append(errs, h.close[i]())
	}
	h.close = nil
	if h.unlock != nil {
		errs = append(errs, h.unlock())
		h.unlock = nil
	}
	return errors.Join(errs...)
}
