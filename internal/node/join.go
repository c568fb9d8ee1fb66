package node

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"

	"atoll/internal/core"
	"atoll/internal/durable"
	"atoll/internal/identity"
)

// ErrJoin means that the hub does not let this node in.
var ErrJoin = errors.New("the hub refuses this node")

// ErrUntrusted means that what answers at the hub's address has a certificate
// that this node does not trust.
var ErrUntrusted = errors.New("the hub's certificate is not trusted")

const (
	maxGrant     = 64 << 10 // bytes
	joinTime     = 10 * time.Second
	joinRetryMin = 200 * time.Millisecond
	joinRetryMax = 10 * time.Second
)

// stored is grant.json.
type stored struct {
	HubURL string             `json:"hub_url"`
	Grant  identity.JoinGrant `json:"grant"`
}

// grant returns the stored grant, or joins.
func (n *Node) grant(ctx context.Context) (*identity.JoinGrant, error) {
	path := n.path("grant.json")
	s, err := readGrant(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return n.join(ctx, path)
	case err != nil:
		return nil, err
	case s.Grant.Node != n.cfg.Name:
		return nil, fmt.Errorf("%s belongs to node %s, not %s; choose another --dir", n.cfg.Dir, s.Grant.Node, n.cfg.Name)
	case s.HubURL != n.cfg.HubURL && n.cfg.Token != "":
		return n.join(ctx, path) // the hub has moved: a token says that it means this node
	case s.HubURL != n.cfg.HubURL:
		return nil, fmt.Errorf("%s has joined the hub at %s, not %s; choose another --dir", n.cfg.Dir, s.HubURL, n.cfg.HubURL)
	}
	return &s.Grant, nil
}

// join asks the hub until it answers, and keeps what it grants.
func (n *Node) join(ctx context.Context, path string) (*identity.JoinGrant, error) {
	token, err := identity.ParseToken(identity.JoinToken, string(n.cfg.Token))
	if err != nil {
		return nil, core.Errorf(core.Invalid, "this node has not joined the hub at %s yet and needs a join token (--token): %w", n.cfg.HubURL, err)
	}
	nkey, err := n.nkey.PublicKey()
	if err != nil {
		return nil, fmt.Errorf("messaging key: %w", err)
	}
	request, err := identity.SignJoin(identity.JoinRequest{
		Token: token, Node: n.cfg.Name, NkeyPublic: nkey, Version: n.cfg.Version, Country: n.cfg.Country, Labels: n.cfg.Labels,
	}, n.key)
	if err != nil {
		return nil, err
	}
	body, err := json.Marshal(request)
	if err != nil {
		return nil, fmt.Errorf("encode join request: %w", err)
	}
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment}
	defer transport.CloseIdleConnections()
	if transport.TLSClientConfig, err = n.joinTLS(token); err != nil {
		return nil, err
	}
	client := &http.Client{Transport: transport, Timeout: joinTime,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	grant, err := n.ask(ctx, client, body)
	if err != nil {
		return nil, err
	}
	if grant.CACertPEM == "" {
		grant.CACertPEM = string(n.cfg.CACert) // for the next start
	}
	if err := writeGrant(path, stored{n.cfg.HubURL, *grant}); err != nil {
		return nil, fmt.Errorf("keep the hub's grant: %w", err)
	}
	n.cfg.Log.Info("joined", "grant", *grant)
	return grant, nil
}

// joinTLS trusts the certificate given, else the CA that the token pins, else
// what the system trusts.
func (n *Node) joinTLS(token identity.Token) (*tls.Config, error) {
	u, err := url.Parse(n.cfg.HubURL)
	if err != nil {
		return nil, err
	}
	switch pin := token.Pin(); {
	case u.Scheme != "https":
		return nil, nil
	case len(n.cfg.CACert) > 0:
		return identity.ClientTLS(n.cfg.CACert, nil)
	case !pin.IsZero():
		return identity.ClientTLSPinned(u.Hostname(), pin), nil
	}
	return nil, nil
}

func (n *Node) ask(ctx context.Context, client *http.Client, body []byte) (*identity.JoinGrant, error) {
	pause := &backoff.ExponentialBackOff{InitialInterval: joinRetryMin, MaxInterval: joinRetryMax, Multiplier: 2, RandomizationFactor: 0.5}
	return backoff.Retry(ctx, func() (*identity.JoinGrant, error) {
		grant, err := n.askOnce(ctx, client, body)
		if _, final := errors.AsType[*backoff.PermanentError](err); err != nil && !final && ctx.Err() == nil {
			n.cfg.Log.Warn("the hub does not answer yet, trying again", "hub", n.cfg.HubURL, "error", err)
		}
		return grant, err
	}, backoff.WithBackOff(pause), backoff.WithMaxElapsedTime(0))
}

func (n *Node) askOnce(ctx context.Context, client *http.Client, body []byte) (*identity.JoinGrant, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimRight(n.cfg.HubURL, "/")+"/v1/nodes/join", bytes.NewReader(body))
	if err != nil {
		return nil, backoff.Permanent(err)
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := client.Do(req)
	if err != nil {
		return nil, n.unanswered(err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(res.Body, maxGrant+1))
	if err != nil {
		return nil, err
	}
	if res.StatusCode/100 == 2 {
		grant, err := n.parseGrant(answer)
		if err != nil {
			return nil, backoff.Permanent(fmt.Errorf("%w: its answer is no grant: %w", ErrJoin, err))
		}
		return grant, nil
	}
	said := problem(res.Status, answer)
	if c := res.StatusCode; c/100 == 5 || c == http.StatusTooManyRequests {
		return nil, fmt.Errorf("the hub cannot take it now: %s", said)
	}
	return nil, backoff.Permanent(fmt.Errorf("%w: %s", ErrJoin, said))
}

// unanswered marks failures that waiting will not mend.
func (n *Node) unanswered(err error) error {
	_, unknown := errors.AsType[*tls.CertificateVerificationError](err)
	switch {
	case errors.Is(err, identity.ErrCertificate): // somebody else's hub
		return backoff.Permanent(fmt.Errorf("%w: %w", ErrUntrusted, err))
	case unknown:
		return backoff.Permanent(fmt.Errorf("%w: %w; if the hub has a CA of its own, give its certificate with --ca-cert FILE, or a join token made by that hub, which pins it", ErrUntrusted, err))
	case errors.Is(err, http.ErrSchemeMismatch):
		return backoff.Permanent(fmt.Errorf("%s does not speak TLS: use http:// for a hub on this machine", n.cfg.HubURL))
	}
	return err
}

// problem takes the words for people out of a problem document. What is none did
// not come from a hub, and is told as it is, with its status.
func problem(status string, body []byte) string {
	var p struct{ Title, Detail, Hint string }
	if json.Unmarshal(body, &p) != nil || p.Title+p.Detail == "" {
		text := strings.ToValidUTF8(string(body[:min(len(body), 300)]), "?")
		if strings.HasPrefix(strings.TrimSpace(text), "<") {
			text = "a page for browsers, so this may not be a hub's address"
		}
		return status + ": " + text
	}
	text := p.Title
	if p.Detail != "" {
		text = p.Detail
	}
	if p.Hint != "" {
		text += "; " + p.Hint
	}
	return text
}

// parseGrant refuses a grant that the node could not work with.
func (n *Node) parseGrant(body []byte) (*identity.JoinGrant, error) {
	if len(body) > maxGrant {
		return nil, fmt.Errorf("more than %d bytes", maxGrant)
	}
	var g identity.JoinGrant
	if err := json.Unmarshal(body, &g); err != nil {
		return nil, err
	}
	if g.Node != n.cfg.Name || g.Owner == "" || g.HubID == "" || g.UserJWT == "" {
		return nil, errors.New("node, owner, hub or messaging credentials are missing or wrong")
	}
	if _, err := identity.ParseToken(identity.APIKey, string(g.APIKey)); err != nil {
		return nil, err
	}
	if _, err := identity.ParsePublicKey(g.HubKeyPEM); err != nil {
		return nil, err
	}
	_, _, _, err := n.tlsConfigs(&g)
	return &g, err
}

// tlsConfigs returns what the hub and its bus are spoken to with, and the node's
// certificate, nil if there is none.
func (n *Node) tlsConfigs(g *identity.JoinGrant) (web, bus *tls.Config, cert *certificate, err error) {
	if g.NodeCert != "" {
		if cert, err = newCertificate(g.NodeCert, n.key); err != nil {
			return nil, nil, nil, err
		}
	}
	if web, err = n.clientTLS(g, cert); err != nil {
		return nil, nil, nil, err
	}
	bus, err = n.busTLS(g, cert)
	return web, bus, cert, err
}

// clientTLS trusts the hub's own CA where there is one, else what the system
// trusts.
func (n *Node) clientTLS(g *identity.JoinGrant, cert *certificate) (*tls.Config, error) {
	if g.CACertPEM == "" {
		if u, err := url.Parse(n.cfg.HubURL); err == nil && u.Scheme == "http" {
			return nil, nil
		}
		return &tls.Config{MinVersion: tls.VersionTLS13}, nil
	}
	cfg, err := identity.ClientTLS([]byte(g.CACertPEM), nil)
	if err == nil && cert != nil {
		cfg.GetClientCertificate = cert.show
	}
	return cfg, err
}

// busTLS trusts the bus's CA: the hub's, whose embedded bus it is, or that of a
// NATS run by somebody else, to which the node's certificate would mean nothing.
// nil leaves it to the bus's addresses: tls://, or plain on loopback.
func (n *Node) busTLS(g *identity.JoinGrant, cert *certificate) (*tls.Config, error) {
	switch g.NatsCAPEM {
	case "":
		return nil, nil
	case g.CACertPEM:
		return n.clientTLS(g, cert)
	}
	return identity.ClientTLS([]byte(g.NatsCAPEM), nil)
}

func readGrant(path string) (s stored, err error) {
	f, err := os.Open(path)
	if err != nil {
		return s, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return s, err
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 && runtime.GOOS != "windows" {
		return s, fmt.Errorf("%s: %w: mode %#o lets others in, want 0600", path, identity.ErrPermissions, mode)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxGrant+1))
	if err == nil && len(b) > maxGrant {
		err = fmt.Errorf("larger than %d bytes", maxGrant)
	}
	if err == nil {
		err = json.Unmarshal(b, &s)
	}
	if err == nil {
		err = core.CheckName("node", string(s.Grant.Node))
	}
	if err != nil {
		return s, fmt.Errorf("%s is damaged; remove it and join again with a token: %w", path, err)
	}
	return s, nil
}

// writeGrant makes the file appear whole or not at all.
func writeGrant(path string, s stored) error {
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	return durable.WriteFile(path, b, durable.Private)
}
