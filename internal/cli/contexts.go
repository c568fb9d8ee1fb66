package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"atoll/client"
	"atoll/internal/core"
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
	return writePrivate(path, append(data, '\n'))
}

// writePrivate replaces a file in one step, readable by its owner alone.
func writePrivate(path string, data []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".new-*") // has mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(data)
	if err := errors.Join(err, tmp.Close()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
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
	if e.URL == "" {
		return e, errors.New("no hub is known yet; start one with \"atoll up\", or name one with --url or ATOLL_URL")
	}
	return e, nil
}

// client connects to the hub that is meant.
func (s *session) client() (*client.Client, error) {
	e, err := s.where()
	if err != nil {
		return nil, err
	}
	return e.client()
}

func (e hubEntry) client() (*client.Client, error) { return e.clientFor(0) }

// clientFor connects with the patience given; see client.Config.
func (e hubEntry) clientFor(patience time.Duration) (*client.Client, error) {
	cfg := client.Config{URL: e.URL, Key: e.Key, RetryFor: patience}
	if e.CACert != "" {
		cfg.CACert = []byte(e.CACert)
	}
	return client.New(cfg)
}

func (s *session) contextCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "context",
		Short: "Choose the hub that the other verbs talk to",
		Long: `A context is a hub's address and a key for it. "atoll up" and "atoll join" write
one, so that the next verb just works. Contexts are kept in
$XDG_CONFIG_HOME/atoll/contexts.json, readable by you alone.

--url and --key, then ATOLL_URL and ATOLL_API_KEY, override the current context.`,
	}
	cmd.AddCommand(s.contextListCmd(), s.contextUseCmd(), s.contextShowCmd(), s.contextAddCmd(), s.contextRemoveCmd())
	return cmd
}

// contextRow is a context as shown: without its key.
type contextRow struct {
	Name    string `json:"name"`
	Current bool   `json:"current"`
	URL     string `json:"url"`
	HasKey  bool   `json:"has_key"`
	OwnCA   bool   `json:"own_ca"`
}

func (c *contexts) row(name string) contextRow {
	e := c.Contexts[name]
	return contextRow{name, name == c.Current, e.URL, e.Key != "", e.CACert != ""}
}

func (s *session) contextListCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "list", Short: "List contexts", Args: cobra.NoArgs, RunE: func(*cobra.Command, []string) error {
		c, err := s.loadContexts()
		if err != nil {
			return err
		}
		rows := []contextRow{}
		for _, name := range slices.Sorted(maps.Keys(c.Contexts)) {
			rows = append(rows, c.row(name))
		}
		return show(s, rows, "CURRENT NAME URL KEY", func(r contextRow) []string {
			return []string{yes(r.Current, "*"), r.Name, r.URL, yes(r.HasKey, "yes")}
		})
	}}
	s.jsonFlag(cmd)
	return cmd
}

func (s *session) contextShowCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "show", Short: "Show which hub is talked to now", Args: cobra.NoArgs, RunE: func(*cobra.Command, []string) error {
		e, err := s.where()
		if err != nil {
			return err
		}
		c, err := s.loadContexts()
		if err != nil {
			return err
		}
		row := contextRow{URL: e.URL, HasKey: e.Key != "", OwnCA: e.CACert != ""}
		for name, have := range c.Contexts {
			if have == e {
				row = c.row(name)
			}
		}
		if s.asJSON {
			return s.printJSON(row)
		}
		return s.out.Fields("context", row.Name, "url", row.URL, "key", yes(row.HasKey, "yes"), "own CA", yes(row.OwnCA, "yes"))
	}}
	s.jsonFlag(cmd)
	return cmd
}

func (s *session) contextUseCmd() *cobra.Command {
	return &cobra.Command{Use: "use NAME", Short: "Make a context the current one", Args: cobra.ExactArgs(1),
		ValidArgsFunction: s.completeContexts,
		RunE: func(_ *cobra.Command, args []string) error {
			c, err := s.loadContexts()
			if err != nil {
				return err
			}
			if _, ok := c.Contexts[args[0]]; !ok {
				return usagef("there is no context %q; see: atoll context list", args[0])
			}
			c.Current = args[0]
			return s.saveContexts(c)
		}}
}

func (s *session) completeContexts(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	c, err := s.loadContexts()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	return slices.Sorted(maps.Keys(c.Contexts)), cobra.ShellCompDirectiveNoFileComp
}

func (s *session) contextAddCmd() *cobra.Command {
	var caFile string
	cmd := &cobra.Command{
		Use: "add NAME --url URL [--key KEY] [--ca-cert FILE]", Short: "Add or replace a context and use it", Args: cobra.ExactArgs(1),
		Example: "  atoll context add work --url https://hub.example:8420 --key atl_key_… --ca-cert ca.pem",
		RunE: func(_ *cobra.Command, args []string) error {
			if err := core.CheckName("context", args[0]); err != nil {
				return usageError{err}
			}
			if s.url == "" {
				return usagef("a context needs --url")
			}
			e := hubEntry{URL: strings.TrimRight(s.url, "/"), Key: s.key}
			if caFile != "" {
				pem, err := os.ReadFile(caFile)
				if err != nil {
					return err
				}
				e.CACert = string(pem)
			}
			if _, err := e.client(); err != nil {
				return usageError{err}
			}
			return s.addContext(args[0], e)
		}}
	cmd.Flags().StringVar(&caFile, "ca-cert", "", "certificate (PEM) of a hub with its own CA")
	return cmd
}

func (s *session) contextRemoveCmd() *cobra.Command {
	return &cobra.Command{Use: "remove NAME", Short: "Forget a context", Args: cobra.ExactArgs(1), ValidArgsFunction: s.completeContexts,
		RunE: func(_ *cobra.Command, args []string) error {
			c, err := s.loadContexts()
			if err != nil {
				return err
			}
			if _, ok := c.Contexts[args[0]]; !ok {
				return usagef("there is no context %q; see: atoll context list", args[0])
			}
			delete(c.Contexts, args[0])
			if c.Current == args[0] {
				c.Current = ""
			}
			return s.saveContexts(c)
		}}
}
