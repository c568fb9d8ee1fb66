package identity

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"atoll/internal/core"
)

// ServerTLS returns the configuration of a server that answers under the given
// host names and IP addresses. Its certificate lives three days and is renewed
// as handshakes need it. A client may show a certificate of this CA, and is
// refused if it shows another; who must show one is for the handler to say.
func (ca *CA) ServerTLS(hosts ...string) (*tls.Config, error) {
	if len(hosts) == 0 {
		return nil, fmt.Errorf("%w: none given", ErrHost)
	}
	for _, h := range hosts {
		bad := h == "" || len(h) > 253 || strings.ContainsAny(h, "/:@ \t\n") || strings.HasSuffix(h, nodeDomain)
		if net.ParseIP(h) == nil && bad {
			return nil, fmt.Errorf("%w: %.80q", ErrHost, h)
		}
	}
	key, err := Generate() // never leaves the process, so need not be kept
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	r := &renewer{ca: ca, hosts: hosts, key: key}
	if _, err := r.certificate(nil); err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion:     tls.VersionTLS13,
		GetCertificate: r.certificate,
		ClientAuth:     tls.VerifyClientCertIfGiven,
		ClientCAs:      pool,
		Time:           ca.now,
	}, nil
}

// renewer keeps one server certificate fresh.
type renewer struct {
	ca    *CA
	hosts []string
	key   *Key

	mu      sync.Mutex // guards what follows
	current *tls.Certificate
	renew   time.Time
}

func (r *renewer) certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.current != nil && r.ca.now().Before(r.renew) {
		return r.current, nil
	}
	chain, renew, err := r.ca.issueServer(r.hosts, r.key.Public())
	if err != nil {
		return nil, err
	}
	r.current = &tls.Certificate{Certificate: chain, PrivateKey: r.key.Signer()}
	r.renew = renew
	return r.current, nil
}

// ClientTLS returns the configuration of a client that trusts the hub's CA and
// nothing else. cert, if not nil, is shown to servers that ask (NodeCertificate).
func ClientTLS(caPEM []byte, cert *tls.Certificate) (*tls.Config, error) {
	ca, err := parseCert(caPEM)
	if err != nil {
		return nil, fmt.Errorf("hub CA: %w", err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(ca)
	cfg := &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: pool}
	if cert != nil {
		cfg.Certificates = []tls.Certificate{*cert}
	}
	return cfg, nil
}

// ClientTLSPinned returns the configuration of a client of one host that knows
// only the digest of the CA's public key, as a join token carries it. The server
// must send the CA's certificate along, as ServerTLS does.
func ClientTLSPinned(host string, pin core.Digest) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		ServerName: host,
		// The standard check wants the root beforehand; VerifyConnection does the
		// same check with the root that has the pinned key.
		InsecureSkipVerify: true, //nolint:gosec // see above
		VerifyConnection:   func(s tls.ConnectionState) error { return verifyPinned(s, host, pin) },
	}
}

// verifyPinned takes the host from its caller, because a connection state has
// none for an IP address.
func verifyPinned(s tls.ConnectionState, host string, pin core.Digest) error {
	if host == "" {
		return fmt.Errorf("%w: none given", ErrHost)
	}
	for _, c := range s.PeerCertificates[1:] {
		if !c.IsCA || core.DigestOf(c.RawSubjectPublicKeyInfo) != pin {
			continue
		}
		roots := x509.NewCertPool()
		roots.AddCert(c)
		_, err := s.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: roots, DNSName: host})
		if err != nil {
			return fmt.Errorf("%w: %w", ErrCertificate, err)
		}
		return nil
	}
	return fmt.Errorf("%w: the server is not of the hub that gave out this token", ErrCertificate)
}

// NodeCertificate joins what IssueNode returned with the node's key.
func NodeCertificate(certPEM []byte, key *Key) (*tls.Certificate, error) {
	cert, err := parseCert(certPEM)
	if err != nil {
		return nil, err
	}
	if !key.Public().ECDSA().Equal(cert.PublicKey) {
		return nil, fmt.Errorf("%w: made for another key", ErrCertificate)
	}
	return &tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key.Signer(), Leaf: cert}, nil
}
