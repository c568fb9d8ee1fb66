// Package app wires the parts into the two long-running roles, hub and node,
// and into "up", which is both in one process. It is the only package that
// imports everything; it decides nothing.
package app

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/otel/trace"
	"golang.org/x/sync/errgroup"

	"atoll/internal/blob"
	"atoll/internal/bus"
	"atoll/internal/control"
	"atoll/internal/core"
	"atoll/internal/fetch"
	"atoll/internal/httpapi/atoll"
	"atoll/internal/identity"
	"atoll/internal/store"
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
	// Private lets data pointers and callbacks go to private and loopback addresses.
	Private bool
	Log     *slog.Logger
	Tracer  trace.Tracer
	Traced  bool // spans go somewhere
	NoSync  bool // for tests
}

// ExternalNATS is a NATS that somebody else runs.
type ExternalNATS struct {
	URLs    []string
	Creds   string // path of the hub user's credentials file
	Account string // public key of the account
	Seed    string // path of a plain signing key of the account
}

// Hub is a running hub.
type Hub struct {
	URL      string
	AdminKey string
	Control  *control.Control
	Bus      *bus.Server // nil over an external NATS

	cfg    HubConfig
	link   *bus.HubConn
	admit  control.Admitter
	ca     *identity.CA
	key    *identity.Key
	ln     net.Listener
	server *http.Server
	outbox *callbacks
	unlock func()
	close  []func() error

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
	if h.unlock, err = lockDir(cfg.Dir); err != nil {
		return nil, err
	}
	if err := h.listen(ctx); err != nil {
		return nil, err
	}
	if h.key, err = identity.LoadOrCreate(h.path("keys"), "hub"); err != nil {
		return nil, err
	}
	if err := h.openControl(ctx); err != nil {
		return nil, err
	}
	return h, nil
}

func (h *Hub) path(name string) string { return filepath.Join(h.cfg.Dir, name) }

// listen takes the API's address, with the hub's own CA away from loopback.
func (h *Hub) listen(ctx context.Context) (err error) {
	host, _, err := net.SplitHostPort(h.cfg.Listen)
	if err != nil {
		return fmt.Errorf("--listen %s: want host:port", h.cfg.Listen)
	}
	if h.ln, err = new(net.ListenConfig).Listen(ctx, "tcp", h.cfg.Listen); err != nil {
		return fmt.Errorf("%w; is another hub running? choose another --listen", err)
	}
	h.close = append(h.close, func() error { h.ln.Close(); return nil })
	h.URL = "http://" + h.ln.Addr().String()
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		if h.ca, err = identity.LoadOrCreateCA(h.path("keys"), time.Now); err != nil {
			return err
		}
		h.URL = "https://" + h.ln.Addr().String()
	}
	if h.cfg.Advertise != "" {
		h.URL = strings.TrimSuffix(h.cfg.Advertise, "/")
	}
	return nil
}

// hosts are the names under which the hub's servers answer.
func (h *Hub) hosts() []string {
	var hosts []string
	for _, a := range []string{h.ln.Addr().String(), strings.TrimPrefix(h.URL, "https://")} {
		if host, _, err := net.SplitHostPort(a); err == nil {
			a = host
		}
		if ip := net.ParseIP(a); ip == nil || !ip.IsUnspecified() {
			hosts = append(hosts, a)
		}
	}
	return hosts
}

func (h *Hub) openControl(ctx context.Context) error {
	logKey, err := identity.LoadOrCreateEd25519(h.path("keys"), "log")
	if err != nil {
		return err
	}
	id := "hub-" + h.key.Public().Digest().Hex()[:12]
	log, err := control.NewLog(control.LogConfig{Dir: h.path("log"), Origin: id + ".atoll.internal", Key: logKey, Logger: h.cfg.Log})
	if err != nil {
		return err
	}
	blobs, err := blob.Open(h.path("blobs"), blob.Options{Log: h.cfg.Log})
	if err != nil {
		return err
	}
	fetcher, err := fetch.New(fetch.Config{AllowPrivate: h.cfg.Private, Log: h.cfg.Log})
	if err != nil {
		return err
	}
	grant := identity.JoinGrant{HubID: id, HubKeyPEM: h.key.Public().PEM(), LogVKey: log.Key().VKey()}
	if err := h.startBus(ctx, &grant); err != nil {
		return err
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	cc := control.Config{
		HubID: id, Path: h.path("atoll.db"), Key: h.key, Log: log, Blobs: blobs, Fetch: fetcher, Send: h.link, Admit: h.admit, Grant: grant,
		Models: inspectModel, Tracer: h.cfg.Tracer, Traced: h.cfg.Traced, Logger: h.cfg.Log, NoSync: h.cfg.NoSync, Metrics: control.NewMetrics(registry),
	}
	if h.ca != nil {
		cc.CAPin, cc.IssueTLS = h.ca.Pin(), h.ca.IssueNode
	}
	if err := h.openCallbacks(&cc, fetcher); err != nil {
		return err
	}
	if h.Control, err = control.New(ctx, cc); err != nil {
		return err
	}
	h.outbox.control = h.Control
	h.close = append(h.close, h.Control.Close)
	h.Control.Register(registry)
	logHandler, err := h.Control.LogHandler()
	if err != nil {
		return err
	}
	handler, err := atoll.New(atoll.Config{
		Hub: h.Control, Log: h.cfg.Log, Tracer: h.cfg.Tracer, Version: Version, LogHandler: logHandler,
		MetricsHandler: promhttp.HandlerFor(registry, promhttp.HandlerOpts{}),
	})
	if err != nil {
		return err
	}
	h.server = &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, ErrorLog: slog.NewLogLogger(h.cfg.Log.Handler(), slog.LevelDebug)}
	if h.ca != nil {
		if h.server.TLSConfig, err = h.ca.ServerTLS(h.hosts()...); err != nil {
			return err
		}
	}
	return nil
}

// openCallbacks makes what delivers callbacks; it begins with Run.
func (h *Hub) openCallbacks(cc *control.Config, fetcher *fetch.Client) error {
	private, err := identity.LoadOrCreateEd25519(h.path("keys"), "webhook")
	if err != nil {
		return err
	}
	sender, err := webhook.NewSender(webhook.SenderConfig{Client: fetcher, Key: private})
	if err != nil {
		return err
	}
	h.outbox = &callbacks{private: private}
	h.dispatcher, err = webhook.NewDispatcher(webhook.DispatcherConfig{Outbox: h.outbox, Send: sender.Send, Log: h.cfg.Log})
	if err != nil {
		return err
	}
	cc.WakeCallbacks = h.dispatcher.Wake
	cc.WebhookKeys = func(account core.AccountID) (secret, public string, err error) {
		s, err := accountSecret(private, account)
		return s.Reveal(), webhook.FormatPublicKey(private.Public().(ed25519.PublicKey)), err
	}
	return nil
}

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
	if h.ca != nil {
		if sc.TLS, err = h.ca.ServerTLS(h.hosts()...); err != nil {
			return err
		}
		grant.CACertPEM = string(h.ca.PEM())
	}
	if sc.Revoked, err = h.revoked(ctx); err != nil {
		return err
	}
	if h.Bus, err = bus.StartEmbedded(sc); err != nil {
		return err
	}
	h.close = append(h.close, func() error { h.Bus.Close(); return nil })
	if u := h.Bus.URL(); u != "" {
		grant.NatsURLs = []string{u}
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
	return writeFile(h.path("nats.port"), []byte(u.Port()+"\n"))
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
	if h.link, err = bus.ConnectHub(ctx, bus.HubConfig{Endpoint: bus.Endpoint{URLs: x.URLs, UserJWT: userJWT, Nkey: nkey}, Logger: h.cfg.Log}); err != nil {
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

// inboundWorkers check nodes' signatures beside the one writer.
const inboundWorkers = 4

// Run serves until ctx ends or something fails for good.
func (h *Hub) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return h.Control.Run(ctx) })
	if err := h.Control.Resume(ctx); err != nil {
		return errors.Join(err, g.Wait())
	}
	key, err := h.ensureAdmin(ctx)
	if err != nil {
		return errors.Join(err, g.Wait())
	}
	h.AdminKey = key
	inbox := make(chan bus.Inbound, 1024)
	for range inboundWorkers {
		g.Go(func() error {
			for {
				select {
				case <-ctx.Done():
					return nil
				case m := <-inbox:
					h.Control.Inbound(m.Node, m.Kind, m.Data)
				}
			}
		})
	}
	err = h.link.Subscribe(func(m bus.Inbound) {
		select {
		case inbox <- m:
		case <-ctx.Done():
		}
	})
	if err != nil {
		return errors.Join(err, g.Wait())
	}
	close(h.ready) // the listener has been queueing connections since NewHub
	g.Go(func() error {
		h.dispatcher.Run(ctx)
		return nil
	})
	g.Go(func() error {
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
	})
	g.Go(func() error {
		<-ctx.Done()
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		if h.server.Shutdown(stop) != nil {
			h.server.Close() // event streams and waiting submits
		}
		return nil
	})
	return g.Wait()
}

// ensureAdmin returns the operator's key, made at the first start and kept in a
// file that only the operator can read.
func (h *Hub) ensureAdmin(ctx context.Context) (string, error) {
	path := h.path("admin.key")
	if b, err := os.ReadFile(path); err == nil {
		return strings.TrimSpace(string(b)), nil
	} else if !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	if _, err := h.Control.CreateAccount(ctx, "admin", 0, ""); err != nil && core.KindOf(err) != core.Conflict {
		return "", err
	}
	k, err := h.Control.CreateKey(ctx, "admin", []string{"admin", "requester", "read"})
	if err != nil {
		return "", err
	}
	return k.Secret, writeFile(path, []byte(k.Secret+"\n"))
}

// CACert is the hub's own certificate authority in PEM, empty on loopback.
func (h *Hub) CACert() string {
	if h.ca == nil {
		return ""
	}
	return string(h.ca.PEM())
}

// fund gives a laptop's operator credits to try things with, once.
func (h *Hub) fund(ctx context.Context) error {
	_, err := h.Control.Credit(ctx, "admin", 1000*core.Credit, "laptop", "to try things with")
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
		h.unlock()
		h.unlock = nil
	}
	return errors.Join(errs...)
}

// ready is the content of --ready-file.
type ready struct {
	URL      string        `json:"url"`
	AdminKey string        `json:"admin_key"`
	Nodes    []core.NodeID `json:"nodes"`
}

func writeReady(path string, r ready) error {
	if path == "" {
		return nil
	}
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return writeFile(path, append(b, '\n'))
}
