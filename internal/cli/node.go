package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"github.com/dustin/go-humanize/english"
	"github.com/spf13/cobra"

	"atoll/api"
	"atoll/client"
	"atoll/internal/core"
)

func (s *session) nodeCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "node",
		Short: "Run a node, and look after those that have joined",
		Example: `  atoll node list
  atoll node drain bonn-1
  atoll node run --hub https://hub.example:8420 --token atl_join_… --country FR --price 0.03`,
	}
	list := s.verb("list", "List one's own nodes; all of them for an admin", "atoll node list", cobra.NoArgs, func(cmd *cobra.Command, c *client.Client, _ []string) error {
		nodes, err := client.Collect(c.Nodes(cmd.Context()))
		if err != nil {
			return err
		}
		if len(nodes) == 0 {
			fmt.Fprintln(s.err, "none of this key's account (with the scope admin it would see all); what can be had of others: atoll market offers")
		}
		return show(s, nodes, "NODE OWNER STATE COUNTRY PRICE ENGINES OK BAD LOST RELIABILITY EARNED SEEN", func(n api.Node) []string {
			seen := "-"
			if n.SeenAt != nil {
				seen = clock(*n.SeenAt)
			}
			return []string{string(n.ID), string(n.Owner), n.State, n.Country, n.Price.String(), strings.Join(n.Engines, ","), count(n.Passed), count(n.Rejected), count(n.Lost),
				share(n.Reliability), n.Earned.String(), seen}
		})
	})
	s.jsonFlag(list)
	cmd.AddCommand(s.nodeRunCmd(), list, s.nodeStatusCmd(), s.drainCmd(), s.revokeCmd())
	return cmd
}

func count(n int64) string { return strconv.FormatInt(n, 10) }

func (s *session) nodeStatusCmd() *cobra.Command {
	dir := ""
	cmd := &cobra.Command{
		Use: "status [NODE]", Short: "Show what a node is, has done, and has earned", Args: cobra.MaximumNArgs(1),
		Long: `Show one node: its state, price, reliability, and the credits it has earned.

Without NODE it is the node of this machine, the one that runs over --dir. It is
asked for with the key that the hub gave it when it joined, so that a provider
needs no API key for this. With NODE it is one of the nodes that the current
context's key may see: one's own, and all for an admin.`,
		Example: "  atoll node status\n  atoll node status bonn-1 --json",
		RunE: func(cmd *cobra.Command, args []string) error {
			n, err := s.nodeMeant(cmd.Context(), args, dir)
			if err != nil {
				return err
			}
			if s.asJSON {
				return s.printJSON(n)
			}
			return s.describeNode(&n)
		},
	}
	cmd.Flags().StringVar(&dir, "dir", s.dataDir("node"), "`DIR` of this machine's node, as given to \"atoll node run\"")
	_ = cmd.MarkFlagDirname("dir")
	s.jsonFlag(cmd)
	return cmd
}

// nodeMeant asks for the node named, or for the one of this machine.
func (s *session) nodeMeant(ctx context.Context, args []string, dir string) (api.Node, error) {
	if len(args) == 0 {
		return s.ownNode(ctx, dir)
	}
	c, err := s.client()
	if err != nil {
		return api.Node{}, err
	}
	for n, err := range c.Nodes(ctx) {
		if err != nil || string(n.ID) == args[0] {
			return n, err
		}
	}
	return api.Node{}, fmt.Errorf("this key sees no node %q: it sees the nodes of its own account, and all with the scope admin; what others offer: atoll market offers", args[0])
}

func (s *session) ownNode(ctx context.Context, dir string) (api.Node, error) {
	a, err := s.rt.Joined(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return api.Node{}, usagef("no node has joined from %s: name a NODE, or give the --dir of this machine's node", dir)
	}
	if err != nil {
		return api.Node{}, err
	}
	cfg := hubEntry{URL: a.HubURL, Key: a.Key, CACert: a.CACert}.config()
	cfg.OnRetry = s.onRetry()
	c, err := client.New(cfg)
	if err != nil {
		return api.Node{}, err
	}
	n, err := c.OwnNode(ctx)
	if p, ok := errors.AsType[*api.Problem](err); ok && p.Status == 401 {
		return n, fmt.Errorf("the hub at %s does not know node %s any more: it was revoked by its owner or the operator, or has joined again from elsewhere", a.HubURL, a.Node)
	}
	return n, err
}

func (s *session) describeNode(n *api.Node) error {
	var gpus, bench []string
	for _, g := range n.GPUs {
		gpus = append(gpus, fmt.Sprintf("%s with %s", g.Type, bytesOf(g.Memory)))
	}
	for name, v := range n.Bench {
		bench = append(bench, name+" "+count(v))
	}
	seen := "never"
	if n.SeenAt != nil {
		seen = clock(*n.SeenAt)
	}
	return s.out.Fields("node", string(n.ID), "owner", string(n.Owner), "state", n.State, "seen", seen, "joined", clock(n.JoinedAt),
		"country", n.Country, "region", n.Region, "labels", labels(n.Labels), "engines", strings.Join(n.Engines, ", "), "own server's models", strings.Join(n.Upstreams, ", "), "trouble", n.Trouble, "other nodes", strings.Join(n.Peers, ", "), "price", n.Price.String()+" for each lease",
		"platform", n.Platform, "version", n.Version, "processor", fmt.Sprintf("%g cores", float64(n.CPUMillis)/1000), "memory", bytesOf(n.Memory), "GPUs", strings.Join(gpus, ", "),
		"benchmark", strings.Join(bench, ", "), "sandbox", strings.Join(n.Sandbox, ", "), "reliability", share(n.Reliability),
		"leases", fmt.Sprintf("%d passed, %d rejected, %d lost, %d out now", n.Passed, n.Rejected, n.Lost, n.InFlight), "earned", n.Earned.String(),
		"pending", yes(n.Pending > 0, n.Pending.String()), "idle", n.Idle, "market", yes(n.Comparable != nil, suggestPrice(n)),
		"key", core.DigestOf([]byte(n.PublicKey)).Short())
}

func (s *session) drainCmd() *cobra.Command {
	off := false
	cmd := s.verb("drain NODE", "Give a node no new leases (for its owner and an admin)", "atoll node drain bonn-1\natoll node drain bonn-1 --off", cobra.ExactArgs(1), func(cmd *cobra.Command, c *client.Client, args []string) error {
		n, err := c.Drain(cmd.Context(), core.NodeID(args[0]), !off)
		if err != nil {
			return err
		}
		if s.asJSON {
			return s.printJSON(n)
		}
		fmt.Fprintf(s.out, "%s is %s, with %s out\n", n.ID, n.State, english.Plural(n.InFlight, "lease", ""))
		return nil
	})
	cmd.Flags().BoolVar(&off, "off", false, "take it back: give it leases again")
	s.jsonFlag(cmd)
	return cmd
}

func (s *session) revokeCmd() *cobra.Command {
	return s.verb("revoke NODE", "Lock a node out for good; its leases go elsewhere (for its owner and an admin)", "atoll node revoke bonn-1", cobra.ExactArgs(1), func(cmd *cobra.Command, c *client.Client, args []string) error {
		if err := c.RevokeNode(cmd.Context(), core.NodeID(args[0])); err != nil {
			return err
		}
		fmt.Fprintf(s.err, "node %s is locked out; what it held goes elsewhere\n", clean(args[0]))
		return nil
	})
}
