package cli

import (
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"atoll/client"
	"atoll/internal/durable"
)

// contexts is the file of hubs that this user talks to:
// $XDG_CONFIG_HOME/atoll/contexts.json, readable by its owner alone, because it
// holds keys.
type contexts struct {
	Current  string              `json:"current"`
	Contexts map[string]hubEntry `json:"contexts"`
}

// hubEntry is one hub and a key for it.
type hubEntry struct {
	URL    string `json:"url"`
	Key    string `json:"key,omitempty"`
	CACert string `json:"ca_cert,omitempty"` // PEM, if the hub has its own CA
}

func (s *session) contextsPath() (string, error) {
	dir := s.env.Getenv("XDG_CONFIG_HOME")
	if dir == "" {
		var err error
		if dir, err = os.UserConfigDir(); err != nil {
			return "", fmt.Errorf("where to keep client contexts: %w; set XDG_CONFIG_HOME", err)
		}
	}
	return filepath.Join(dir, "atoll", "contexts.json"), nil
}

func (s *session) loadContexts() (*contexts, error) {
	path, err := s.contextsPath()
	if err != nil {
		return nil, err
	}
	c := &contexts{Contexts: map[string]hubEntry{}}
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(data, c); err != nil {
		return nil, fmt.Errorf("%s is damaged: %w; repair or remove it", path, err)
	}
	if c.Contexts == nil {
		c.Contexts = map[string]hubEntry{}
	}
	return c, nil
}

// save replaces the file as a whole.
func (s *session) saveContexts(c *contexts) error {
	path, err := s.contextsPath()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	data, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return err
	}
	return durable.WriteFile(path, append(data, '\n'), durable.Private)
}

// addContext stores a hub and makes it the current one.
func (s *session) addContext(name string, e hubEntry) error {
	c, err := s.loadContexts()
	if err != nil {
		return err
	}
	c.Contexts[name], c.Current = e, name
	return s.saveContexts(c)
}

// rememberHub writes a context for a hub that was just started or joined. One
// with a key becomes the current one. Without a key it does not push aside what
// the user works with: neither a context of the same hub nor the current one.
func (s *session) rememberHub(name string, e hubEntry) error {
	c, err := s.loadContexts()
	if err != nil {
		return err
	}
	if e.Key == "" {
		for _, have := range c.Contexts {
			if have.URL == e.URL && have.Key != "" {
				return nil
			}
		}
	}
	c.Contexts[name] = e
	if e.Key != "" || c.Current == "" {
		c.Current = name
	}
	return s.saveContexts(c)
}

// where finds the hub to talk to: flags, then environment, then the context.
func (s *session) where() (hubEntry, error) {
	var e hubEntry
	c, err := s.loadContexts()
	if err != nil {
		return e, err
	}
	name := c.Current
	if s.context != "" {
		name = s.context
	}
	e, known := c.Contexts[name]
	if s.context != "" && !known {
		return e, usagef("there is no context %q; see: atoll context list", s.context)
	}
	url := s.url
	if url == "" && s.context == "" {
		url = s.env.Getenv("ATOLL_URL")
	}
	if url != "" && strings.TrimRight(url, "/") != strings.TrimRight(e.URL, "/") {
		e = hubEntry{URL: url} // a key is never sent to another hub than its own
	}
	if s.key != "" {
		e.Key = s.key
	} else if key := s.env.Getenv("ATOLL_API_KEY"); key != "" && s.context == "" {
		e.Key = key
	}
	if err := s.readCA(&e); err != nil {
		return e, err
	}
	if e.URL == "" {
		return e, errors.New("no hub is known yet; start one with \"atoll up\", or name one with --url or ATOLL_URL")
	}
	if s.asked = e.URL; known && e.URL == c.Contexts[name].URL {
		s.asked += " (context " + name + ")"
	}
	return e, nil
}

// readCA takes the certificate of --ca-cert or ATOLL_CA_CERT, if one is given.
func (s *session) readCA(e *hubEntry) error {
	path := s.caFile
	if path == "" && s.context == "" {
		path = s.env.Getenv("ATOLL_CA_CERT")
	}
	if path == "" {
		return nil
	}
	pem, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("certificate of the hub: %w", err)
	}
	if !x509.NewCertPool().AppendCertsFromPEM(pem) {
		return usagef("--ca-cert %s: this file holds no certificate in PEM form", path)
	}
	e.CACert = string(pem)
	return nil
}

// client connects to the hub that is meant.
func (s *session) client() (*client.Client, error) {
	e, err := s.where()
	if err != nil {
		return nil, err
	}
	cfg := e.config()
	cfg.OnRetry = s.onRetry()
	return client.New(cfg)
}

// onRetry says once that the hub is waited for, so that nobody thinks that
// nothing happens.
func (s *session) onRetry() func(error) {
	var once sync.Once
	return func(err error) {
		once.Do(func() { fmt.Fprintf(s.err, "%s; trying for up to %s\n", clean(err.Error()), client.DefaultRetryFor) })
	}
}

// config is how the hub is connected to.
func (e hubEntry) config() client.Config {
	cfg := client.Config{URL: e.URL, Key: e.Key}
	if e.CACert != "" {
		cfg.CACert = []byte(e.CACert)
	}
	return cfg
}
