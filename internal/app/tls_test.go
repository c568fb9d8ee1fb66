package app

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"atoll/api"
	"atoll/client"
	"atoll/internal/cli"
	"atoll/internal/identity"
	"atoll/internal/node"
)

// A hub that listens on a wildcard and is reached under another name, with a CA
// of its own: the API and the bus are both TLS, and a node needs no more than
// its join token to trust them.
func TestOverTLS(t *testing.T) {
	t.Parallel()
	hub := startHub(t, wide(t, cli.HubConfig{}))
	c := operator(t, hub)
	model := pushEcho(t, c)
	dir := filepath.Join(t.TempDir(), "node")
	stop, err := startNode(t, cli.NodeConfig{Dir: dir, Name: "paris-1", Hub: hub.URL, Token: joinToken(t, c, "alice")})
	if err != nil {
		t.Fatal(err)
	}
	echo(t, c, model, "over TLS")

	_, grant, err := node.Joined(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(grant.NatsURLs) != 1 || !strings.HasPrefix(grant.NatsURLs[0], "tls://127.0.0.1:") {
		t.Errorf("the node was told to find the bus at %v, want tls:// and the advertised host", grant.NatsURLs)
	}
	if grant.NodeCert == "" || grant.CACertPEM != hub.CACert {
		t.Error("the node was given no certificate, or another CA than the hub's")
	}

	renewsCertificate(t, hub, &grant)

	// A node that has joined needs neither token nor address again.
	stop()
	if _, err := startNode(t, cli.NodeConfig{Dir: dir}); err != nil {
		t.Fatal(err)
	}
	echo(t, c, model, "over TLS again")
	refusesPlaintext(t, hub, grant.NatsURLs[0])
}

// renewsCertificate asks, as a node does, for its next certificate: it is for the
// same node and key.
func renewsCertificate(t *testing.T, hub cli.Ready, grant *identity.JoinGrant) {
	t.Helper()
	trust, err := identity.ClientTLS([]byte(hub.CACert), nil)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, hub.URL+"/v1/node/certificate", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+string(grant.APIKey))
	web := &http.Client{Transport: &http.Transport{TLSClientConfig: trust}}
	defer web.CloseIdleConnections()
	res, err := web.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var answer api.NodeCertificate
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%s, %v", res.Status, err)
	}
	read := func(text string) *x509.Certificate {
		block, _ := pem.Decode([]byte(text))
		if block == nil {
			t.Fatalf("no PEM: %.80q", text)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		return cert
	}
	first, next := read(grant.NodeCert), read(answer.Certificate)
	name, err := identity.NodeOfCert(next)
	if err != nil || name != grant.Node || !bytes.Equal(first.RawSubjectPublicKeyInfo, next.RawSubjectPublicKeyInfo) || first.SerialNumber.Cmp(next.SerialNumber) == 0 {
		t.Errorf("the next certificate is of %s, %v, serial %s after %s", name, err, next.SerialNumber, first.SerialNumber)
	}
}

// refusesPlaintext knocks without TLS, and with it but without the hub's CA.
func refusesPlaintext(t *testing.T, hub cli.Ready, busURL string) {
	t.Helper()
	u, err := url.Parse(hub.URL)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+u.Host+"/v1/tasks", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if res, err := http.DefaultClient.Do(req); err == nil {
		if res.Body.Close(); res.StatusCode != http.StatusBadRequest {
			t.Errorf("HTTP without TLS is answered with %s", res.Status)
		}
	}
	stranger, err := client.New(client.Config{URL: hub.URL, Key: hub.AdminKey})
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	unknown := (*tls.CertificateVerificationError)(nil)
	if _, err := client.Collect(stranger.Nodes(t.Context())); !errors.As(err, &unknown) {
		t.Errorf("a client without the hub's CA: %v, want a refused certificate", err)
	}
	if nc, err := nats.Connect(strings.Replace(busURL, "tls://", "nats://", 1), nats.NoReconnect()); err == nil {
		nc.Close()
		t.Error("the bus lets in a stranger")
	}
	if nc, err := nats.Connect(busURL, nats.NoReconnect()); !errors.As(err, &unknown) {
		if err == nil {
			nc.Close()
		}
		t.Errorf("the bus to a stranger without the hub's CA: %v, want a refused certificate", err)
	}
}

// A node does not hand its token to a hub other than the one that made it.
func TestNodeRefusesOtherCA(t *testing.T) {
	t.Parallel()
	hub := startHub(t, wide(t, cli.HubConfig{}))
	c := operator(t, hub)
	other, err := identity.LoadOrCreateCA(t.TempDir(), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	for name, cfg := range map[string]cli.NodeConfig{
		"the token pins another CA":   {Token: string(identity.NewJoinToken(other.Pin()))},
		"another CA is given by hand": {Token: joinToken(t, c, "alice"), CACert: other.PEM()},
	} {
		t.Run(name, func(t *testing.T) {
			cfg.Dir, cfg.Name, cfg.Hub = filepath.Join(t.TempDir(), "node"), "paris-1", hub.URL
			if _, err := startNode(t, cfg); !errors.Is(err, node.ErrUntrusted) {
				t.Errorf("%v, want %v", err, node.ErrUntrusted)
			}
			if _, err := os.Stat(filepath.Join(cfg.Dir, "grant.json")); err == nil {
				t.Error("the node keeps a grant of a hub that it does not trust")
			}
		})
	}
	if nodes, err := client.Collect(c.Nodes(t.Context())); err != nil || len(nodes) != 0 {
		t.Errorf("the hub knows %d nodes, %v; want none", len(nodes), err)
	}
}

// wide makes a hub listen on all addresses: what turns TLS on.
func wide(t *testing.T, cfg cli.HubConfig) cli.HubConfig {
	t.Helper()
	port := freePort(t)
	cfg.Listen, cfg.Advertise = fmt.Sprintf("0.0.0.0:%d", port), fmt.Sprintf("https://127.0.0.1:%d", port)
	return cfg
}
