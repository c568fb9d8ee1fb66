package cli

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"atoll/client"
	"atoll/internal/core"
)

func (s *session) contextCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "context",
		Short: "Choose the hub that the other verbs talk to",
		Example: `  atoll context list
  atoll context use work`,
		Long: `A context is a hub's address and a key for it. "atoll up" and "atoll join" write
one, so that the next verb just works; for the hub of "atoll hub" it is written by
"atoll context add". What is known at one hub (models, accounts, tasks) is not
known at another. Contexts are kept in
$XDG_CONFIG_HOME/atoll/contexts.json, readable by you alone.

--url, --key and --ca-cert, then ATOLL_URL, ATOLL_API_KEY and ATOLL_CA_CERT,
override the current context.`,
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
	cmd := &cobra.Command{Use: "list", Short: "List the contexts there are; * marks the current one", Example: "  atoll context list", Args: cobra.NoArgs, RunE: func(*cobra.Command, []string) error {
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
	cmd := &cobra.Command{Use: "show", Short: "Show which hub is talked to now", Example: "  atoll context show", Args: cobra.NoArgs, RunE: func(*cobra.Command, []string) error {
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
	return &cobra.Command{Use: "use NAME", Short: "Make a context the current one", Example: "  atoll context use work", Args: cobra.ExactArgs(1),
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
			if err := s.saveContexts(c); err != nil {
				return err
			}
			s.printCurrent(c.Contexts[args[0]])
			return nil
		}}
}

// printCurrent says to whom the next verb will talk.
func (s *session) printCurrent(e hubEntry) {
	fmt.Fprintf(s.err, "the other verbs now talk to %s\n", e.URL)
}

func (s *session) completeContexts(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	c, err := s.loadContexts()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	return slices.Sorted(maps.Keys(c.Contexts)), cobra.ShellCompDirectiveNoFileComp
}

func (s *session) contextAddCmd() *cobra.Command {
	return &cobra.Command{
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
			if err := s.readCA(&e); err != nil {
				return err
			}
			if _, err := client.New(e.config()); err != nil {
				return usageError{err}
			}
			if err := s.addContext(args[0], e); err != nil {
				return err
			}
			s.printCurrent(e)
			return nil
		}}
}

func (s *session) contextRemoveCmd() *cobra.Command {
	return &cobra.Command{Use: "remove NAME", Short: "Forget a context", Example: "  atoll context remove work", Args: cobra.ExactArgs(1), ValidArgsFunction: s.completeContexts,
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
