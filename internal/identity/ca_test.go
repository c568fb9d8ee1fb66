package identity

import (
	"crypto/tls"
	"errors"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"atoll/internal/core"
)

func newCA(t testing.TB) *CA {
	t.Helper()
	ca, err := LoadOrCreateCA(t.TempDir(), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

// handshake runs both ends and returns the client's error, or else the server's,
// and the states.
func handshake(t *testing.T, server, client *tls.Config, name string) (s, c tls.ConnectionState, err error) {
	t.Helper()
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	client = client.Clone()
	if client.ServerName == "" {
		client.ServerName = name
	}
	srv, cli := tls.Server(a, server), tls.Client(b, client)
	served := make(chan error, 1)
	go func() {
		err := srv.Handshake()
		if err == nil {
			_, err = srv.Write([]byte{1})
		}
		if err != nil {
			a.Close()
		}
		served <- err
	}()
	if err = cli.Handshake(); err == nil {
		_, err = cli.Read(make([]byte, 1)) // in TLS 1.3 the server judges the client after it
	}
	b.Close()
	if serverErr := <-served; err != nil && serverErr != nil {
		return s, c, errors.Join(err, serverErr)
	}
	return srv.ConnectionState(), cli.ConnectionState(), err
}

func clientTLS(t *testing.T, ca *CA, cert *tls.Certificate) *tls.Config {
	t.Helper()
	cfg, err := ClientTLS(ca.PEM(), cert)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func serverTLS(t *testing.T, ca *CA, hosts ...string) *tls.Config {
	t.Helper()
	cfg, err := ca.ServerTLS(hosts...)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func nodeCert(t *testing.T, ca *CA, node core.NodeID) *tls.Certificate {
	t.Helper()
	key := newKey(t)
	text, err := ca.IssueNode(node, key.Public())
	if err != nil {
		t.Fatal(err)
	}
	cert, err := NodeCertificate(text, key)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func TestServerTLS(t *testing.T) {
	t.Parallel()
	ca, other := newCA(t), newCA(t)
	server := serverTLS(t, ca, "hub.example", "10.1.2.3")
	// A node may serve its peers, but never as the hub.
	posing := &tls.Config{Certificates: []tls.Certificate{*nodeCert(t, ca, "hub")}}
	posing.Certificates[0].Certificate = append(posing.Certificates[0].Certificate, ca.cert.Raw)
	tests := map[string]struct {
		server, client *tls.Config
		host           string
		good           bool
	}{
		"by name":               {server, clientTLS(t, ca, nil), "hub.example", true},
		"by address":            {server, clientTLS(t, ca, nil), "10.1.2.3", true},
		"other name":            {server, clientTLS(t, ca, nil), "evil.example", false},
		"other CA":              {server, clientTLS(t, other, nil), "hub.example", false},
		"pinned name":           {server, ClientTLSPinned("hub.example", ca.Pin()), "", true},
		"pinned address":        {server, ClientTLSPinned("10.1.2.3", ca.Pin()), "", true},
		"pinned, other name":    {server, ClientTLSPinned("evil.example", ca.Pin()), "", false},
		"pinned, other address": {server, ClientTLSPinned("10.1.2.4", ca.Pin()), "", false},
		"pinned, other CA":      {server, ClientTLSPinned("hub.example", other.Pin()), "", false},
		"pinned, no pin":        {server, ClientTLSPinned("hub.example", core.Digest{}), "", false},
		"node as hub":           {posing, clientTLS(t, ca, nil), "hub", false},
		"node as pinned hub":    {posing, ClientTLSPinned("hub", ca.Pin()), "", false},
		"node as pinned IP":     {posing, ClientTLSPinned("10.1.2.3", ca.Pin()), "", false},
		"node as itself":        {posing, clientTLS(t, ca, nil), NodeHost("hub"), true},
	}
	for name, tt := range tests {
		if _, _, err := handshake(t, tt.server, tt.client, tt.host); (err == nil) != tt.good {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestMutualTLS(t *testing.T) {
	t.Parallel()
	ca, other := newCA(t), newCA(t)
	server := serverTLS(t, ca, "hub")
	state, _, err := handshake(t, server, clientTLS(t, ca, nodeCert(t, ca, "paris-1")), "hub")
	if err != nil {
		t.Fatal(err)
	}
	if node, err := NodeOfCert(state.PeerCertificates[0]); err != nil || node != "paris-1" {
		t.Errorf("node %q, %v", node, err)
	}
	foreign := clientTLS(t, ca, nodeCert(t, other, "paris-1"))
	// Shown unasked: the library would hold back what the server does not want.
	foreign.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		return &foreign.Certificates[0], nil
	}
	if _, _, err := handshake(t, server, foreign, "hub"); err == nil {
		t.Error("a certificate of another CA was accepted")
	}
	state, client, err := handshake(t, server, clientTLS(t, ca, nil), "hub")
	if err != nil || len(state.PeerCertificates) != 0 {
		t.Errorf("without certificate: %v", err)
	}
	if _, err := NodeOfCert(client.PeerCertificates[0]); !errors.Is(err, ErrCertificate) {
		t.Errorf("hub's certificate taken for a node's: %v", err)
	}
}

func TestServerCertificateIsRenewed(t *testing.T) {
	t.Parallel()
	var hours atomic.Int64
	start := time.Now()
	clock := func() time.Time { return start.Add(time.Duration(hours.Load()) * time.Hour) }
	ca, err := LoadOrCreateCA(t.TempDir(), clock)
	if err != nil {
		t.Fatal(err)
	}
	server := serverTLS(t, ca, "hub")
	client := clientTLS(t, ca, nil)
	client.Time = clock
	serial := func() string {
		_, c, err := handshake(t, server, client, "hub")
		if err != nil {
			t.Fatal(err)
		}
		return c.PeerCertificates[0].SerialNumber.String()
	}
	first := serial()
	hours.Store(47)
	if serial() != first {
		t.Error("renewed early")
	}
	hours.Store(49)
	second := serial()
	if second == first {
		t.Error("not renewed in its last third")
	}
	hours.Store(500)
	if serial() == second {
		t.Error("expired certificate in use")
	}
}

func TestCAIsKept(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first, err := LoadOrCreateCA(dir, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	again, err := LoadOrCreateCA(dir, time.Now)
	if err != nil || string(again.PEM()) != string(first.PEM()) || again.Pin() != first.Pin() {
		t.Errorf("another authority the second time (%v)", err)
	}
	later := func() time.Time { return time.Now().Add(11 * 365 * 24 * time.Hour) }
	if _, err := LoadOrCreateCA(dir, later); !errors.Is(err, ErrCertificate) {
		t.Errorf("expired: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, caFile), newCA(t).PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadOrCreateCA(dir, time.Now); !errors.Is(err, ErrCertificate) {
		t.Errorf("certificate of another key: %v", err)
	}
}

func TestIssueIsRefused(t *testing.T) {
	t.Parallel()
	ca, key := newCA(t), newKey(t)
	if _, err := ca.IssueNode("a.b", key.Public()); err == nil {
		t.Error("node with a dot")
	}
	if _, err := ca.IssueNode("a", PublicKey{}); !errors.Is(err, ErrPublicKey) {
		t.Errorf("no key: %v", err)
	}
	text, err := ca.IssueNode("a", key.Public())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NodeCertificate(text, newKey(t)); !errors.Is(err, ErrCertificate) {
		t.Errorf("other key: %v", err)
	}
	for _, hosts := range [][]string{nil, {""}, {"a:1"}, {"https://a"}, {NodeHost("a")}} {
		if _, err := ca.ServerTLS(hosts...); !errors.Is(err, ErrHost) {
			t.Errorf("hosts %q: %v", hosts, err)
		}
	}
	if _, err := ClientTLS(append(ca.PEM(), ca.PEM()...), nil); !errors.Is(err, ErrCertificate) {
		t.Errorf("two certificates: %v", err)
	}
}

func FuzzParseCert(f *testing.F) {
	f.Add(newCA(f).PEM())
	f.Add([]byte("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		cert, err := parseCert(text)
		if (err == nil) == (cert == nil) {
			t.Errorf("certificate %v with error %v", cert, err)
		}
		if err != nil && !errors.Is(err, ErrCertificate) {
			t.Errorf("unclassed error %v", err)
		}
		if err == nil {
			_, _ = NodeOfCert(cert)
		}
	})
}
