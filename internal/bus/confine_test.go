package bus

import (
	"context"
	"errors"
	"runtime"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"atoll/internal/core"
)

// rawConn is a node's connection in the hands of somebody who uses a NATS client
// of his own rather than this package.
func rawConn(t testing.TB, url, userJWT string, pair nkeys.KeyPair) (*nats.Conn, error) {
	t.Helper()
	nc, err := nats.Connect(url, nats.NoReconnect(),
		nats.UserJWT(func() (string, error) { return userJWT, nil }, pair.Sign),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if err == nil {
		t.Cleanup(nc.Close)
	}
	return nc, err
}

func mustRaw(t testing.TB, url string, i issuer, node core.NodeID) *nats.Conn {
	t.Helper()
	userJWT, pair := credentials(t, i, node)
	nc, err := rawConn(t, url, userJWT, pair)
	if err != nil {
		t.Fatal(err)
	}
	return nc
}

// mustViolate checks that the server has refused what was just tried: its
// complaint comes before the answer to the flush.
func mustViolate(t testing.TB, nc *nats.Conn, what string) {
	t.Helper()
	if err := nc.FlushTimeout(patience); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	if err := nc.LastError(); !errors.Is(err, nats.ErrPermissionViolation) {
		t.Errorf("%s: got %v, want a permissions violation", what, err)
	}
}

// world is a hub and a victim, on the embedded server or on a foreign one.
type world struct {
	url    string
	issuer issuer
	hub    *HubConn
}

func embeddedWorld(t *testing.T) world {
	s := startServer(t, nil)
	return world{url: s.URL(), issuer: s, hub: connectHub(t, s)}
}

// externalWorld is a NATS run by somebody else, with credentials and a plain
// account signing key handed to the hub.
func externalWorld(t *testing.T) world {
	t.Helper()
	pairs := make([]nkeys.KeyPair, 3)
	for i, role := range []nkeys.PrefixByte{nkeys.PrefixByteOperator, nkeys.PrefixByteAccount, nkeys.PrefixByteAccount} {
		pair, err := nkeys.CreatePair(role)
		if err != nil {
			t.Fatal(err)
		}
		pairs[i] = pair
	}
	operator, account, signing := pairs[0], pairs[1], pairs[2]
	claims := jwt.NewAccountClaims(publicOf(t, account))
	claims.SigningKeys.Add(publicOf(t, signing))
	text, err := claims.Encode(operator)
	if err != nil {
		t.Fatal(err)
	}
	resolver := &server.MemAccResolver{}
	if err := resolver.Store(claims.Subject, text); err != nil {
		t.Fatal(err)
	}
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true,
		TrustedKeys: []string{publicOf(t, operator)}, AccountResolver: resolver, MaxPayload: MaxMessage})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(s.Shutdown)
	if !s.ReadyForConnections(patience) {
		t.Fatal("no external NATS")
	}
	seed, err := signing.Seed()
	if err != nil {
		t.Fatal(err)
	}
	i, err := NewIssuer(claims.Subject, seed)
	if err != nil {
		t.Fatal(err)
	}
	keys := &authority{account: account}
	userJWT, nkey, err := keys.issueHub()
	if err != nil {
		t.Fatal(err)
	}
	h, err := ConnectHub(within(t), HubConfig{Logger: quiet(),
		Endpoint: Endpoint{URLs: []string{s.ClientURL()}, UserJWT: userJWT, Nkey: nkey}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	return world{url: s.ClientURL(), issuer: i, hub: h}
}

// Node A holds valid credentials and may use any client it likes. It can neither
// read nor write B's subjects, nor listen with wildcards, nor speak as the hub.
func TestNodeIsConfined(t *testing.T) {
	t.Parallel()
	for name, build := range map[string]func(*testing.T) world{"embedded": embeddedWorld, "external": externalWorld} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := build(t)
			atHub := subscribeHub(t, w.hub)
			userJWT, pair := credentials(t, w.issuer, "b")
			b, atB := connectNode(t, NodeConfig{Node: "b", Logger: quiet(),
				Endpoint: Endpoint{URLs: []string{w.url}, UserJWT: userJWT, Nkey: pair}})
			exchange(t, func() error { return b.Send(KindHeartbeat, nil, "") }, atHub)
			drain(atHub)

			overheard := forbiddenSubscriptions(t, w)
			forbiddenPublications(t, w)

			// What was forbidden has had time to arrive by when this has.
			if err := w.hub.Send("b", KindLease, []byte("for b"), ""); err != nil {
				t.Fatal(err)
			}
			equal(t, receive(t, atB), Inbound{Node: "b", Kind: KindLease, Data: []byte("for b")})
			if err := b.Send(KindReport, []byte("from b"), ""); err != nil {
				t.Fatal(err)
			}
			for m := receive(t, atHub); m.Kind != KindReport; m = receive(t, atHub) {
				if m.Node != "b" || m.Kind != KindHeartbeat {
					t.Errorf("a forged message reached the hub: %+v", m)
				}
			}
			select {
			case m := <-overheard:
				t.Errorf("overheard %s", m.Subject)
			case m := <-atB:
				t.Errorf("a forged message reached b: %+v", m)
			default:
			}
		})
	}
}

func drain(in <-chan Inbound) {
	for {
		select {
		case <-in:
		default:
			return
		}
	}
}

func forbiddenSubscriptions(t *testing.T, w world) <-chan *nats.Msg {
	t.Helper()
	overheard := make(chan *nats.Msg, 64)
	for _, subject := range []string{
		"node.b.in.>", "node.b.in.lease", "node.b.out.>", "node.*.in.>", "node.*.in.lease", "node.*.out.>",
		"node.>", "*.b.in.lease", ">", "*", "node.a.out.>", "node.a.>", "_INBOX.>", "$SYS.>", "$SYS.ACCOUNT.>",
	} {
		// A fresh connection each, so that one refusal cannot hide another.
		nc := mustRaw(t, w.url, w.issuer, "a")
		if _, err := nc.Subscribe(subject, func(m *nats.Msg) { overheard <- m }); err != nil {
			t.Fatal(err)
		}
		mustViolate(t, nc, "subscribe "+subject)
		nc = mustRaw(t, w.url, w.issuer, "a")
		if _, err := nc.QueueSubscribe(subject, "hubs", func(m *nats.Msg) { overheard <- m }); err != nil {
			t.Fatal(err)
		}
		mustViolate(t, nc, "queue subscribe "+subject)
	}
	return overheard
}

func forbiddenPublications(t *testing.T, w world) {
	t.Helper()
	for _, subject := range []string{
		"node.b.out.report", "node.b.in.lease", "node.a.in.lease", "node.a.in.cancel", "node.ab.out.report",
		"node.a", "node.out.report", "hub", "_INBOX.x", "$SYS.REQ.CLAIMS.UPDATE", "$SYS.REQ.SERVER.PING",
	} {
		nc := mustRaw(t, w.url, w.issuer, "a")
		// A reply subject gives no right to be answered there.
		if err := nc.PublishRequest(subject, "node.b.out.report", []byte("forged")); err != nil {
			t.Fatal(err)
		}
		mustViolate(t, nc, "publish "+subject)
	}
}

// Credentials that this hub did not issue, or that are not the bearer's.
func TestForgedCredentials(t *testing.T) {
	t.Parallel()
	s, other := startServer(t, nil), startServer(t, nil)
	mine, pair := credentials(t, s, "a")
	foreign, foreignPair := credentials(t, other, "a")
	_, thief := credentials(t, s, "b")
	account, err := nkeys.CreateAccount()
	if err != nil {
		t.Fatal(err)
	}
	claims := jwt.NewUserClaims(publicOf(t, pair))
	claims.Name, claims.IssuerAccount = "a", s.authority.accountPub
	selfMade, err := claims.Encode(account)
	if err != nil {
		t.Fatal(err)
	}
	claims.Pub.Allow.Add(">") // more rights than the template gives
	widened, err := claims.Encode(s.authority.nodes)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		userJWT string
		pair    nkeys.KeyPair
	}{
		"another hub's":             {foreign, foreignPair},
		"stolen JWT without nkey":   {mine, thief},
		"signed by oneself":         {selfMade, pair},
		"widened beyond the scope":  {widened, pair},
		"cut short":                 {mine[:len(mine)-2], pair},
		"nothing that can be a JWT": {"x", pair},
	} {
		if _, err := rawConn(t, s.URL(), c.userJWT, c.pair); err == nil {
			t.Errorf("%s: connected", name)
		}
	}
	if _, err := nats.Connect(s.URL()); err == nil {
		t.Error("connected without credentials")
	}
	if _, err := rawConn(t, s.URL(), mine, pair); err != nil {
		t.Errorf("the true one: %v", err)
	}
}

func TestIssueIsRefused(t *testing.T) {
	t.Parallel()
	s := startServer(t, func(c *ServerConfig) { c.InProcessOnly = true })
	_, pair := credentials(t, s, "a")
	for _, node := range []core.NodeID{"", "*", ">", "a.b", "A", "a b", "{{name()}}", "-a"} {
		if _, err := s.IssueNode(node, publicOf(t, pair)); !errors.Is(err, ErrCredentials) {
			t.Errorf("node %q: %v", node, err)
		}
	}
	if _, err := s.IssueNode("a", s.authority.accountPub); !errors.Is(err, ErrCredentials) {
		t.Errorf("an account's key: %v", err)
	}
	userSeed, err := pair.Seed()
	if err != nil {
		t.Fatal(err)
	}
	for name, seed := range map[string][]byte{"user seed": userSeed, "garbage": []byte("SA"), "empty": nil} {
		if _, err := NewIssuer(s.authority.accountPub, seed); !errors.Is(err, ErrCredentials) {
			t.Errorf("issuer with %s: %v", name, err)
		}
	}
}

func TestRevoke(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := startServer(t, func(c *ServerConfig) { c.Dir = dir })
	cfg := overTCP(t, s, "a")
	bystander := mustRaw(t, s.URL(), s, "b")
	nc, err := rawConn(t, s.URL(), cfg.UserJWT, cfg.Nkey)
	if err != nil {
		t.Fatal(err)
	}
	gone := make(chan struct{})
	nc.SetClosedHandler(func(*nats.Conn) { close(gone) })
	at := time.Now()
	if err := s.Revoke(publicOf(t, cfg.Nkey), at); err != nil {
		t.Fatal(err)
	}
	receive(t, gone)
	refused(t, cfg)
	if !bystander.IsConnected() {
		t.Error("another node lost its connection")
	}
	s.Close()

	// A restarted server keeps its keys, and knows who is out if it is told.
	again := startServer(t, func(c *ServerConfig) {
		c.Dir, c.Revoked = dir, map[string]time.Time{publicOf(t, cfg.Nkey): at}
	})
	cfg.URLs = []string{again.URL()}
	refused(t, cfg)
	lenient := startServer(t, func(c *ServerConfig) { c.Dir = dir })
	if _, err := rawConn(t, lenient.URL(), cfg.UserJWT, cfg.Nkey); err != nil {
		t.Errorf("credentials do not outlive a restart: %v", err)
	}
}

// A NATS with its stock max_payload of 1 MiB would swallow large reports without
// a word to anybody: it is refused at once.
func TestSmallMessagesAreRefused(t *testing.T) {
	t.Parallel()
	s := startServer(t, nil)
	stock := options(ServerConfig{Host: "127.0.0.1", Logger: quiet()}, s.authority, s.resolver)
	stock.MaxPayload = 1 << 20
	small, err := server.NewServer(stock)
	if err != nil {
		t.Fatal(err)
	}
	small.Start()
	t.Cleanup(small.Shutdown)
	if !small.ReadyForConnections(patience) {
		t.Fatal("no NATS")
	}
	userJWT, nkey, err := s.authority.issueHub()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	c, err := newConn(connConfig{Endpoint: Endpoint{URLs: []string{small.ClientURL()}, UserJWT: userJWT, Nkey: nkey}, name: "hub", subject: outSubject("*", "*"), log: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	for c.snapshot().Err == nil {
		runtime.Gosched()
	}
	cancel(nil)
	if err := c.wait(ctx); !errors.Is(err, ErrTooLarge) || c.snapshot().Connects != 0 {
		t.Errorf("%v after %d connections, want %v", err, c.snapshot().Connects, ErrTooLarge)
	}
}
