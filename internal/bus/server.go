package bus

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"

	"atoll/internal/core"
)

// Errors of the embedded server.
var (
	ErrPlaintext = errors.New("TLS is required away from loopback")
	ErrStart     = errors.New("embedded NATS did not start")
)

// ServerConfig configures an embedded server.
type ServerConfig struct {
	Dir  string // where the operator's and accounts' keys are kept
	Host string // address to listen on; default 127.0.0.1
	Port int    // 0 or -1: a free one
	// InProcessOnly opens no port: nodes of this process alone connect.
	InProcessOnly bool
	TLS           *tls.Config // required where Host is not loopback
	// Revoked are the nkeys that were shut out, and when; see Revoke.
	Revoked map[string]time.Time
	Logger  *slog.Logger
}

// Server is a NATS server inside this process, with the keys to let nodes in and
// shut them out. It keeps no messages.
type Server struct {
	nats      *server.Server
	resolver  *server.MemAccResolver
	authority *authority
	issuer    *Issuer
	log       *slog.Logger

	mu     sync.Mutex // guards claims and their publication
	claims *jwt.AccountClaims
}

// StartEmbedded starts a server and returns when it takes connections.
func StartEmbedded(cfg ServerConfig) (*Server, error) {
	if cfg.Host == "" {
		cfg.Host = "127.0.0.1"
	}
	if cfg.Logger == nil {
		return nil, fmt.Errorf("%w: no logger given", ErrStart)
	}
	if !cfg.InProcessOnly && cfg.TLS == nil && !isLoopback(cfg.Host) {
		return nil, fmt.Errorf("%w: NATS on %s", ErrPlaintext, cfg.Host)
	}
	keys, err := loadAuthority(cfg.Dir)
	if err != nil {
		return nil, err
	}
	s := &Server{
		resolver:  &server.MemAccResolver{},
		authority: keys,
		issuer:    &Issuer{account: keys.accountPub, signer: keys.nodes, scoped: true},
		log:       cfg.Logger,
		claims:    keys.accountClaims(),
	}
	for nkey, at := range cfg.Revoked {
		s.claims.RevokeAt(nkey, at)
	}
	if err := s.storeAccounts(); err != nil {
		return nil, err
	}
	if s.nats, err = server.NewServer(options(cfg, keys, s.resolver)); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrStart, err)
	}
	s.nats.SetLogger(natsLog{cfg.Logger}, false, false)
	s.nats.Start()
	if !s.nats.ReadyForConnections(startWithin) {
		s.Close()
		return nil, fmt.Errorf("%w on %s port %d within %s; is the port taken?", ErrStart, cfg.Host, cfg.Port, startWithin)
	}
	return s, nil
}

func options(cfg ServerConfig, keys *authority, resolver server.AccountResolver) *server.Options {
	port := cfg.Port
	if port == 0 {
		port = server.RANDOM_PORT
	}
	return &server.Options{
		ServerName:      "atoll",
		Host:            cfg.Host,
		Port:            port,
		DontListen:      cfg.InProcessOnly,
		TLS:             cfg.TLS != nil,
		TLSConfig:       cfg.TLS,
		TLSTimeout:      5,
		TrustedKeys:     []string{keys.operatorPub},
		SystemAccount:   keys.systemPub,
		AccountResolver: resolver,
		MaxPayload:      MaxMessage,
		MaxPending:      serverMaxPending,
		NoSigs:          true, // signals belong to the process, not to a part of it
	}
}

func (s *Server) storeAccounts() error {
	system := jwt.NewAccountClaims(s.authority.systemPub)
	system.Name = "system"
	for _, c := range []*jwt.AccountClaims{system, s.claims} {
		text, err := c.Encode(s.authority.operator)
		if err != nil {
			return fmt.Errorf("bus account %s: %w", c.Name, err)
		}
		if err := s.resolver.Store(c.Subject, text); err != nil {
			return fmt.Errorf("bus account %s: %w", c.Name, err)
		}
	}
	return nil
}

// URL is where nodes connect, or "" if the server opened no port.
func (s *Server) URL() string {
	if s.nats.Addr() == nil {
		return ""
	}
	return s.nats.ClientURL()
}

// IssueNode returns a node's credentials; see Issuer.
func (s *Server) IssueNode(node core.NodeID, nkeyPublic string) (string, error) {
	return s.issuer.IssueNode(node, nkeyPublic)
}

// Revoke shuts out an nkey: its connections are closed and every JWT issued for
// it up to the given moment is worthless, to the second. The caller remembers
// both and passes them to the next StartEmbedded. A JWT issued later works again.
func (s *Server) Revoke(nkeyPublic string, at time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.claims.RevokeAt(nkeyPublic, at)
	if err := s.storeAccounts(); err != nil {
		return err
	}
	account, err := s.nats.LookupAccount(s.authority.accountPub)
	if err != nil {
		return fmt.Errorf("revoke: %w", err)
	}
	s.nats.UpdateAccountClaims(account, s.claims)
	return nil
}

// ConnectHub connects the hub of this process.
func (s *Server) ConnectHub(ctx context.Context) (*HubConn, error) {
	userJWT, nkey, err := s.authority.issueHub()
	if err != nil {
		return nil, err
	}
	return ConnectHub(ctx, HubConfig{
		Endpoint: Endpoint{InProcess: s, UserJWT: userJWT, Nkey: nkey},
		Logger:   s.log,
	})
}

// Close stops the server and closes its connections.
func (s *Server) Close() {
	s.nats.Shutdown()
	s.nats.WaitForShutdown()
}

func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// natsLog hands the server's log on. Its notices are chatter, and what it calls
// errors are mostly its clients'.
type natsLog struct{ log *slog.Logger }

func (l natsLog) at(level slog.Level, format string, v []any) {
	if ctx := context.Background(); l.log.Enabled(ctx, level) {
		l.log.Log(ctx, level, "nats: "+fmt.Sprintf(format, v...))
	}
}

func (l natsLog) Tracef(format string, v ...any)  { l.at(slog.LevelDebug, format, v) }
func (l natsLog) Debugf(format string, v ...any)  { l.at(slog.LevelDebug, format, v) }
func (l natsLog) Noticef(format string, v ...any) { l.at(slog.LevelDebug, format, v) }
func (l natsLog) Warnf(format string, v ...any)   { l.at(slog.LevelWarn, format, v) }
func (l natsLog) Errorf(format string, v ...any)  { l.at(slog.LevelWarn, format, v) }
func (l natsLog) Fatalf(format string, v ...any)  { l.at(slog.LevelError, format, v) }
