package node

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"atoll/api"
	"atoll/internal/identity"
)

// checkCertificate is how often a running node looks whether its certificate is
// to be renewed, and asks again if that failed. A timer to the very moment would
// stand still while the machine sleeps.
const checkCertificate = time.Hour

// certificate is what a node shows of itself in mutual TLS. It is renewed while
// the node runs; open connections keep the one with which they began.
type certificate struct {
	key     *identity.Key
	current atomic.Pointer[tls.Certificate]
}

func newCertificate(text string, key *identity.Key) (*certificate, error) {
	c := &certificate{key: key}
	return c, c.set(text)
}

func (c *certificate) set(text string) error {
	cert, err := identity.NodeCertificate([]byte(text), c.key)
	if err == nil {
		c.current.Store(cert)
	}
	return err
}

// show implements tls.Config.GetClientCertificate. One that has expired, as of a
// node that was switched off for a month, is not shown: the node's keys alone let
// it in until it has the next.
func (c *certificate) show(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	cert := c.current.Load()
	if time.Now().After(cert.Leaf.NotAfter) {
		return &tls.Certificate{}, nil
	}
	return cert, nil
}

// due reports whether two thirds of the certificate's life are over.
func (c *certificate) due() bool {
	leaf := c.current.Load().Leaf
	return time.Now().After(leaf.NotBefore.Add(leaf.NotAfter.Sub(leaf.NotBefore) * 2 / 3))
}

// keepFresh renews the certificate in time until ctx ends. renew returns the next
// one, in PEM; while it fails it is called again.
func (c *certificate) keepFresh(ctx context.Context, renew func(context.Context) (string, error), failed func(error)) {
	ticks := time.NewTicker(checkCertificate)
	defer ticks.Stop()
	for {
		if c.due() {
			text, err := renew(ctx)
			if err == nil {
				err = c.set(text)
			}
			if err != nil && ctx.Err() == nil {
				failed(err)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-ticks.C:
		}
	}
}

// renewCertificate asks the hub for the node's next certificate, and keeps it for
// the next start.
func (n *Node) renewCertificate(ctx context.Context, grant identity.JoinGrant) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimRight(n.cfg.HubURL, "/")+"/v1/node/certificate", nil)
	if err != nil {
		return "", err
	}
	req.Header.Set("Authorization", "Bearer "+string(grant.APIKey))
	res, err := n.web.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxGrant))
	if err != nil {
		return "", err
	}
	if res.StatusCode != http.StatusOK {
		return "", fmt.Errorf("the hub refuses: %s", problem(res.Status, body))
	}
	var answer api.NodeCertificate
	if err := json.Unmarshal(body, &answer); err != nil {
		return "", fmt.Errorf("the hub's answer is no certificate: %w", err)
	}
	if _, err := identity.NodeCertificate([]byte(answer.Certificate), n.key); err != nil {
		return "", err
	}
	grant.NodeCert = answer.Certificate
	if err := writeGrant(n.path("grant.json"), stored{n.cfg.HubURL, grant}); err != nil {
		return "", errors.Join(errors.New("keep the certificate"), err)
	}
	n.cfg.Log.Info("certificate renewed")
	return answer.Certificate, nil
}
