package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/resource"

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
	list := s.verb("list", "List all nodes that have joined", cobra.NoArgs, func(cmd *cobra.Command, c *client.Client, _ []string) error {
		return showAll(s, c.Nodes(cmd.Context()), 0, "NODE OWNER STATE COUNTRY PRICE ENGINES OK BAD LOST RELIABILITY EARNED SEEN", func(n api.Node) []string {
			seen := "-"
			if n.SeenAt != nil {
				seen = clock(*n.SeenAt)
			}
			return []string{string(n.ID), string(n.Owner), n.State, n.Country, n.Price.String(), strings.Join(n.Engines, ","), count(n.Passed), count(n.Rejected), count(n.Lost),
				share(n.Reliability), n.Earned.String(), seen}
		})
	})
	status := s.verb("status NODE", "Show what a node is, has, and has done", cobra.ExactArgs(1), s.nodeStatus)
	s.jsonFlag(list, status)
	cmd.AddCommand(s.nodeRunCmd(), list, status, s.drainCmd(), s.revokeCmd())
	return cmd
}

func count(n int64) string { return strconv.FormatInt(n, 10) }

func (s *session) nodeStatus(cmd *cobra.Command, c *client.Client, args []string) error {
	for n, err := range c.Nodes(cmd.Context()) {
		if err != nil {
			return err
		}
		if string(n.ID) != args[0] {
			continue
		}
		if s.asJSON {
			return s.printJSON(n)
		}
		return s.describeNode(&n)
	}
	return fmt.Errorf("no node %q has joined; see: atoll node list", args[0])
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
		"country", n.Country, "region", n.Region, "labels", labels(n.Labels), "engines", strings.Join(n.Engines, ", "), "price", n.Price.String()+" for each lease",
		"platform", n.Platform, "version", n.Version, "processor", fmt.Sprintf("%g cores", float64(n.CPUMillis)/1000), "memory", bytesOf(n.Memory), "GPUs", strings.Join(gpus, ", "),
		"benchmark", strings.Join(bench, ", "), "sandbox", strings.Join(n.Sandbox, ", "), "reliability", share(n.Reliability),
		"leases", fmt.Sprintf("%d passed, %d rejected, %d lost, %d out now", n.Passed, n.Rejected, n.Lost, n.InFlight), "earned", n.Earned.String(),
		"key", core.DigestOf([]byte(n.PublicKey)).Short())
}

func (s *session) drainCmd() *cobra.Command {
	off := false
	cmd := s.verb("drain NODE", "Give a node no new leases (scope admin)", cobra.ExactArgs(1), func(cmd *cobra.Command, c *client.Client, args []string) error {
		n, err := c.Drain(cmd.Context(), core.NodeID(args[0]), !off)
		if err != nil {
			return err
		}
		if s.asJSON {
			return s.printJSON(n)
		}
		fmt.Fprintf(s.out, "%s is %s, with %d leases out\n", n.ID, n.State, n.InFlight)
		return nil
	})
	cmd.Flags().BoolVar(&off, "off", false, "take it back: give it leases again")
	s.jsonFlag(cmd)
	return cmd
}

func (s *session) revokeCmd() *cobra.Command {
	return s.verb("revoke NODE", "Lock a node out for good; its leases go elsewhere (scope admin)", cobra.ExactArgs(1), func(cmd *cobra.Command, c *client.Client, args []string) error {
		return c.RevokeNode(cmd.Context(), core.NodeID(args[0]))
	})
}

// nodeFlags are shared by "node run" and "join".
type nodeFlags struct {
	cfg            NodeConfig
	labels         map[string]string
	price, cache   string
	caFile         string
	level, logForm string
}

func (f *nodeFlags) register(s *session, cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringVar(&f.cfg.Dir, "dir", s.dataDir("node"), "where keys, results not yet delivered and the cache are kept")
	fl.StringVar(&f.cfg.Name, "name", "", "name of the node (default: made of the host's name)")
	fl.StringVar(&f.cfg.Country, "country", "", "where it stands, as ISO 3166 code: FR")
	fl.StringVar(&f.cfg.Region, "region", "", "region, such as eu-west")
	fl.StringToStringVar(&f.labels, "labels", nil, "labels to be selected by, such as tier=gold,disk=ssd")
	fl.StringVar(&f.price, "price", "0.01", "credits for each lease; nothing is done for less")
	fl.StringSliceVar(&f.cfg.Engines, "engines", []string{"text", "wasm"}, "engines that others may use here")
	fl.StringSliceVar(&f.cfg.Accounts, "accounts", nil, "work for these requesters only")
	fl.StringVar(&f.cfg.CPU, "cpu", "", "processor to offer, such as 1500m (default: all)")
	fl.StringVar(&f.cfg.Memory, "memory", "", "memory to offer, such as 4Gi (default: what is there)")
	fl.IntVar(&f.cfg.Slots, "slots", 0, "leases that run at a time (default: one per core)")
	fl.StringVar(&f.cache, "cache", "4Gi", "most that cached models and inputs may take")
	fl.StringVar(&f.cfg.Faults, "inject-fault", "", "rehearsal: misbehave on purpose, such as lie=0.3,crash-after=20,delay=2s")
	fl.StringVar(&f.caFile, "ca-cert", "", "certificate (PEM) of a hub with its own CA, where the token does not pin it")
	logFlags(cmd, &f.level, &f.logForm)
	_ = cmd.MarkFlagDirname("dir")
}

func logFlags(cmd *cobra.Command, level, format *string) {
	cmd.Flags().StringVar(level, "log-level", "info", "debug, info, warn or error")
	cmd.Flags().StringVar(format, "log-format", "text", "text or json")
}

// dataDir is where a role keeps its data unless told otherwise.
func (s *session) dataDir(role string) string {
	if dir := s.env.Getenv("XDG_DATA_HOME"); dir != "" {
		return filepath.Join(dir, "atoll", role)
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "atoll-" + role
	}
	return filepath.Join(home, ".local", "share", "atoll", role)
}

// config checks the flags and returns what is to be run.
func (f *nodeFlags) config(s *session) (cfg NodeConfig, err error) {
	cfg = f.cfg
	cfg.Labels = f.labels
	if cfg.Price, err = money("--price", f.price); err != nil {
		return cfg, err
	}
	if cfg.Country = strings.ToUpper(cfg.Country); cfg.Country == "" {
		return cfg, usagef("say where the node stands, such as --country FR: residency rules are held to it")
	}
	q, err := resource.ParseQuantity(f.cache)
	if err != nil || q.Value() <= 0 {
		return cfg, usagef("--cache %q: want a size such as 4Gi", f.cache)
	}
	cfg.Cache = q.Value()
	if f.caFile != "" {
		if cfg.CACert, err = os.ReadFile(f.caFile); err != nil {
			return cfg, err
		}
	}
	cfg.Log, err = s.logger(f.level, f.logForm)
	return cfg, err
}

func (s *session) nodeRunCmd() *cobra.Command {
	var f nodeFlags
	cmd := &cobra.Command{
		Use: "run", Short: "Run the node agent beside your hardware or data", Args: cobra.NoArgs,
		Long: `Join a hub and work for it until interrupted. Connections are outbound only. On
SIGTERM the node drains: it takes nothing new, finishes what it has, and delivers
its results. --hub and --token are needed the first time; a directory that has
joined remembers.

You are paid --price for each lease whose result was verified. Strangers' modules
run in a sandbox; what the kernel enforces is said at start.`,
		Example: `  atoll node run --hub https://hub.example:8420 --token atl_join_… --country FR --labels tier=gold --price 0.03
  atoll node run --country FR --inject-fault lie=0.3,share-lie     # rehearse what lying costs`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := f.config(s)
			if err != nil {
				return err
			}
			return s.rt.NodeRun(cmd.Context(), cfg)
		},
	}
	f.register(s, cmd)
	cmd.Flags().StringVar(&f.cfg.Hub, "hub", "", "address of the hub")
	cmd.Flags().StringVar(&f.cfg.Token, "token", "", "join token (atoll token create OWNER)")
	return cmd
}

func (s *session) joinCmd() *cobra.Command {
	var f nodeFlags
	cmd := &cobra.Command{
		Use: "join URL TOKEN", Short: "Join a hub with this machine and work for it", Args: cobra.ExactArgs(2),
		Long: `Join a hub as a node, remember it, and run (see: atoll node run --help). A client
context for the hub is written, too. Later, "atoll node run --country FR" goes on.`,
		Example: "  atoll join https://hub.example:8420 atl_join_… --country FR --price 0.03",
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := f.config(s)
			if err != nil {
				return err
			}
			cfg.Hub, cfg.Token = args[0], args[1]
			cfg.OnReady = func(r NodeReady) error {
				fmt.Fprintf(s.err, "node %s of %s has joined %s\n", r.Node, r.Owner, r.HubURL)
				return s.rememberHub("joined", hubEntry{URL: r.HubURL, CACert: r.CACert})
			}
			return s.rt.NodeRun(cmd.Context(), cfg)
		},
	}
	f.register(s, cmd)
	return cmd
}

// rememberHub adds a context, unless one for the same hub holds a key already.
func (s *session) rememberHub(name string, e hubEntry) error {
	c, err := s.loadContexts()
	if err != nil {
		return err
	}
	for _, have := range c.Contexts {
		if have.URL == e.URL && have.Key != "" && e.Key == "" {
			return nil
		}
	}
	return s.addContext(name, e)
}
