package identity

import (
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"net/url"
	"path/filepath"
	"time"

	"atoll/internal/core"
	"atoll/internal/durable"
)

// Errors of certificates.
var (
	ErrCertificate = errors.New("certificate refused")
	ErrHost        = errors.New("not a host name or address")
)

const (
	pemCertificate = "CERTIFICATE"
	caFile         = "ca.crt"
	caKey          = "ca"
	// nodeScheme begins the URI in a node's certificate: atoll-node:paris-1.
	nodeScheme = "atoll-node"
	// nodeDomain keeps a node from naming itself like the hub's host.
	nodeDomain = ".node.atoll.internal"
)

// NodeHost is the server name under which a node's certificate is good when
// its peers dial it.
func NodeHost(node core.NodeID) string { return string(node) + nodeDomain }

// CA is the hub's own certificate authority. It vouches for the hub's servers
// and for its nodes where they talk over a network, and for nothing else: it is
// in no system's trust store. It is immutable and safe for concurrent use.
type CA struct {
	key  *Key
	cert *x509.Certificate
	pem  []byte
	now  func() time.Time
}

// LoadOrCreateCA returns the authority kept in dir (ca.pem and ca.crt), making
// it the first time.
func LoadOrCreateCA(dir string, now func() time.Time) (*CA, error) {
	key, err := LoadOrCreate(dir, caKey)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, caFile)
	text, err := readPrivate(path)
	if errors.Is(err, fs.ErrNotExist) {
		if text, err = newCACert(key, now()); err != nil {
			return nil, err
		}
		if err = durable.Create(path, text, durable.Private); err != nil {
			return nil, fmt.Errorf("store CA certificate: %w", err)
		}
		text, err = readPrivate(path)
	}
	if err != nil {
		return nil, err
	}
	cert, err := parseCert(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if !key.Public().ECDSA().Equal(cert.PublicKey) {
		return nil, fmt.Errorf("%s: %w: not made for the key beside it", path, ErrCertificate)
	}
	if !cert.IsCA || now().After(cert.NotAfter) {
		return nil, fmt.Errorf("%s: %w: expired or not an authority", path, ErrCertificate)
	}
	return &CA{key: key, cert: cert, pem: text, now: now}, nil
}

func newCACert(key *Key, now time.Time) ([]byte, error) {
	t, err := template("Atoll hub CA "+key.Public().Digest().Short(), now, caLifetime)
	if err != nil {
		return nil, err
	}
	t.IsCA, t.BasicConstraintsValid, t.MaxPathLenZero = true, true, true
	t.KeyUsage = x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public().ECDSA(), key.Signer())
	if err != nil {
		return nil, fmt.Errorf("make CA certificate: %w", err)
	}
	return encodeCert(der), nil
}

// PEM returns the authority's certificate.
func (ca *CA) PEM() []byte { return append([]byte(nil), ca.pem...) }

// Pin names the authority's key; see NewJoinToken.
func (ca *CA) Pin() core.Digest { return ca.key.Public().Digest() }

// IssueNode returns a certificate in PEM, good for thirty days, by which a node
// shows its identity in mutual TLS. The caller has seen that the node holds the
// key (VerifyJoin).
func (ca *CA) IssueNode(node core.NodeID, public PublicKey) ([]byte, error) {
	if err := core.CheckName("node", string(node)); err != nil {
		return nil, err
	}
	t, err := template(string(node), ca.now(), nodeLifetime)
	if err != nil {
		return nil, err
	}
	t.DNSNames = []string{NodeHost(node)}
	t.URIs = []*url.URL{{Scheme: nodeScheme, Opaque: string(node)}}
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}
	der, err := ca.issue(t, public)
	if err != nil {
		return nil, err
	}
	return encodeCert(der), nil
}

// issueServer returns a chain for the given hosts and the moment to renew it.
func (ca *CA) issueServer(hosts []string, public PublicKey) (chain [][]byte, renew time.Time, err error) {
	now := ca.now()
	t, err := template("Atoll hub", now, serverLifetime)
	if err != nil {
		return nil, time.Time{}, err
	}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, h)
		}
	}
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	der, err := ca.issue(t, public)
	if err != nil {
		return nil, time.Time{}, err
	}
	// The root goes along, so that a client that has only its pin can check it.
	return [][]byte{der, ca.cert.Raw}, now.Add(serverLifetime * 2 / 3), nil
}

func (ca *CA) issue(t *x509.Certificate, public PublicKey) ([]byte, error) {
	if public.IsZero() {
		return nil, fmt.Errorf("issue certificate: %w: none given", ErrPublicKey)
	}
	t.KeyUsage = x509.KeyUsageDigitalSignature
	der, err := x509.CreateCertificate(rand.Reader, t, ca.cert, public.ECDSA(), ca.key.Signer())
	if err != nil {
		return nil, fmt.Errorf("issue certificate: %w", err)
	}
	return der, nil
}

// NodeOfCert returns the node that a certificate, already verified against the
// hub's CA, was issued to.
func NodeOfCert(cert *x509.Certificate) (core.NodeID, error) {
	if len(cert.URIs) != 1 || cert.URIs[0].Scheme != nodeScheme {
		return "", fmt.Errorf("%w: not issued to a node", ErrCertificate)
	}
	node := cert.URIs[0].Opaque
	if err := core.CheckName("node", node); err != nil {
		return "", fmt.Errorf("%w: %w", ErrCertificate, err)
	}
	return core.NodeID(node), nil
}

func template(name string, now time.Time, life time.Duration) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("certificate serial: %w", err)
	}
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    now.Add(-clockSkew),
		NotAfter:     now.Add(life),
	}, nil
}

func encodeCert(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: pemCertificate, Bytes: der})
}

// parseCert accepts exactly one certificate.
func parseCert(text []byte) (*x509.Certificate, error) {
	if len(text) > maxCertPEM {
		return nil, fmt.Errorf("%w: larger than %d bytes", ErrCertificate, maxCertPEM)
	}
	block, rest := pem.Decode(text)
	if block == nil || block.Type != pemCertificate || len(rest) != 0 {
		return nil, fmt.Errorf("%w: want one PEM block of type %s", ErrCertificate, pemCertificate)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCertificate, err)
	}
	return cert, nil
}
