package app

import (
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"

	"atoll/internal/bus"
	"atoll/internal/cli"
	"atoll/internal/identity"
)

// foreignNATS is a NATS that somebody else runs, in operator mode. Atoll has an
// account there, a user for its hub, and a signing key to let nodes in with.
type foreignNATS struct {
	options server.Options
	server  *server.Server
	config  cli.NATSConfig // what the operator hands to the hub
}

func startForeignNATS(t *testing.T, ca *identity.CA) *foreignNATS {
	t.Helper()
	operator, account := newNkey(t, nkeys.PrefixByteOperator), newNkey(t, nkeys.PrefixByteAccount)
	signing, user := newNkey(t, nkeys.PrefixByteAccount), newNkey(t, nkeys.PrefixByteUser)
	claims := jwt.NewAccountClaims(account.public)
	claims.SigningKeys.Add(signing.public)
	resolver := &server.MemAccResolver{}
	if err := resolver.Store(claims.Subject, signed(t, claims, operator)); err != nil {
		t.Fatal(err)
	}
	creds, err := jwt.FormatUserConfig(signed(t, jwt.NewUserClaims(user.public), account), user.seed)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	n := &foreignNATS{
		options: server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true, MaxPayload: bus.MaxMessage,
			TrustedKeys: []string{operator.public}, AccountResolver: resolver},
		config: cli.NATSConfig{Account: account.public, Creds: filepath.Join(dir, "hub.creds"), Seed: filepath.Join(dir, "nodes.nk")},
	}
	for path, data := range map[string][]byte{n.config.Creds: creds, n.config.Seed: append(signing.seed, '\n')} {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if ca != nil {
		if n.options.TLSConfig, err = ca.ServerTLS("127.0.0.1"); err != nil {
			t.Fatal(err)
		}
		n.options.TLS, n.config.CA = true, filepath.Join(dir, "nats.crt")
		if err := os.WriteFile(n.config.CA, ca.PEM(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	n.start(t)
	t.Cleanup(n.stop) // after hub and nodes, which come later
	n.config.URLs = []string{n.server.ClientURL()}
	n.options.Port = n.server.Addr().(*net.TCPAddr).Port
	return n
}

// start starts the server, at the port of the last time.
func (n *foreignNATS) start(t *testing.T) {
	t.Helper()
	opts := n.options // the server writes into it
	s, err := server.NewServer(&opts)
	if err != nil {
		t.Fatal(err)
	}
	n.server = s
	s.Start()
	if !s.ReadyForConnections(patience) {
		t.Fatal("no foreign NATS")
	}
}

func (n *foreignNATS) stop() {
	n.server.Shutdown()
	n.server.WaitForShutdown()
}

type nkey struct {
	pair   nkeys.KeyPair
	public string
	seed   []byte
}

func newNkey(t *testing.T, role nkeys.PrefixByte) (k nkey) {
	t.Helper()
	var err error
	if k.pair, err = nkeys.CreatePair(role); err != nil {
		t.Fatal(err)
	}
	if k.public, err = k.pair.PublicKey(); err != nil {
		t.Fatal(err)
	}
	if k.seed, err = k.pair.Seed(); err != nil {
		t.Fatal(err)
	}
	return k
}

func signed(t *testing.T, claims jwt.Claims, by nkey) string {
	t.Helper()
	text, err := claims.Encode(by.pair)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// Hub and node meet on a NATS that neither of them runs, lose it, and meet
// again: a task goes the whole way each time.
func TestOverForeignNATS(t *testing.T) {
	t.Parallel()
	foreign := startForeignNATS(t, nil)
	dir := t.TempDir()
	hub := startHub(t, cli.HubConfig{Dir: dir, NATS: &foreign.config})
	c := operator(t, hub)
	model := pushEcho(t, c)
	if _, err := startNode(t, cli.NodeConfig{Dir: filepath.Join(t.TempDir(), "node"), Name: "paris-1", Hub: hub.URL, Token: joinToken(t, c, "alice")}); err != nil {
		t.Fatal(err)
	}
	echo(t, c, model, "over somebody else's NATS")
	if n := foreign.server.NumClients(); n != 2 {
		t.Errorf("%d connections to the foreign NATS, want the hub's and the node's", n)
	}
	if own, err := filepath.Glob(filepath.Join(dir, "keys", "bus-*")); err != nil || len(own) > 0 {
		t.Errorf("the hub has made a NATS of its own: %v, %v", own, err)
	}
	foreign.stop()
	foreign.start(t)
	echo(t, c, model, "once it is back")
}

// TLS of the hub and TLS of a NATS that it does not run are two things, each
// with a CA of its own or without.
func TestForeignTLS(t *testing.T) {
	t.Parallel()
	ca, err := identity.LoadOrCreateCA(t.TempDir(), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		wide bool // the hub has TLS
		ca   *identity.CA
	}{"hub only": {true, nil}, "NATS only": {false, ca}, "both": {true, ca}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			foreign := startForeignNATS(t, c.ca)
			cfg := cli.HubConfig{NATS: &foreign.config}
			if c.wide {
				cfg = wide(t, cfg)
			}
			hub := startHub(t, cfg)
			c := operator(t, hub)
			model := pushEcho(t, c)
			if _, err := startNode(t, cli.NodeConfig{Dir: filepath.Join(t.TempDir(), "node"), Name: "paris-1", Hub: hub.URL, Token: joinToken(t, c, "alice")}); err != nil {
				t.Fatal(err)
			}
			echo(t, c, model, "over somebody else's NATS")
		})
	}
}
