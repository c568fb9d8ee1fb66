package peer

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"

	"atoll/internal/core"
	"atoll/internal/identity"
)

// alpn names the format of what is within TLS.
const alpn = "atoll-peer/1"

// serve is the accepting side's handshake.
func (e *Endpoint) serve(ctx context.Context, conn net.Conn) (*tls.Conn, Peer, error) {
	return handshake(ctx, tls.Server(conn, &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{alpn}, Time: e.cfg.Now,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return e.cfg.Certificate() },
		ClientAuth:     tls.RequireAndVerifyClientCert, ClientCAs: e.roots,
	}))
}

// dial is the dialling side's handshake with the node that is expected.
func (e *Endpoint) dial(ctx context.Context, conn net.Conn, want Peer) (*tls.Conn, error) {
	c, got, err := handshake(ctx, tls.Client(conn, &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{alpn}, Time: e.cfg.Now, RootCAs: e.roots, ServerName: identity.NodeHost(want.Node),
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return e.cfg.Certificate() },
	}))
	if err == nil && got != want {
		_ = c.Close() // nothing was sent yet
		return nil, fmt.Errorf("%w: %s has another key", ErrIdentity, want.Node)
	}
	return c, err
}

func handshake(ctx context.Context, c *tls.Conn) (*tls.Conn, Peer, error) {
	peer, err := Peer{}, c.HandshakeContext(ctx)
	if err == nil && c.ConnectionState().NegotiatedProtocol != alpn {
		err = ErrProtocol
	}
	if err == nil {
		peer, err = peerOf(c.ConnectionState().PeerCertificates[0])
	}
	if err != nil {
		_ = c.Close() // the handshake's error says more
		return nil, Peer{}, err
	}
	return c, peer, nil
}

// peerOf reads who a certificate, already verified, was issued to.
func peerOf(cert *x509.Certificate) (Peer, error) {
	node, err := identity.NodeOfCert(cert)
	if err != nil {
		return Peer{}, fmt.Errorf("%w: %w", ErrIdentity, err)
	}
	return Peer{Node: node, Key: core.DigestOf(cert.RawSubjectPublicKeyInfo)}, nil
}
