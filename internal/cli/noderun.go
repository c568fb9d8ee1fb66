package cli

import (
	"context"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"atoll/api"
	"atoll/internal/core"
	"atoll/internal/policy"
)

// nodeFlags are shared by "node run" and "join".
type nodeFlags struct {
	cfg            NodeConfig
	labels         map[string]string
	price, penalty string
	cache, reserve string
	level, logForm string
	server         serverFlags
}

func (f *nodeFlags) register(s *session, cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringVar(&f.cfg.Dir, "dir", s.dataDir("node"), "`DIR` in which keys, results not yet delivered and the cache are kept")
	fl.StringVar(&f.cfg.Name, "name", "", "`NAME` of the node (default: made of the host's name)")
	fl.StringVar(&f.cfg.Country, "country", "", "`CODE` of the country where the node stands, ISO 3166, such as FR (required)")
	fl.StringVar(&f.cfg.Region, "region", "", "`REGION` that requesters may ask for, such as eu-west")
	fl.StringToStringVar(&f.labels, "labels", nil, "`LABELS` to be selected by, such as tier=gold,disk=ssd")
	fl.StringVar(&f.price, "price", "0.01", "`CREDITS` asked for each lease; nothing is done for less")
	fl.StringVar(&f.penalty, "max-penalty", "20%", "`SHARE` of the price that a requester may withhold for a late result; tasks with more are declined")
	fl.StringSliceVar(&f.cfg.Engines, "engines", []string{"llm", "text", "wasm"}, "`ENGINES` that others may use here: llm runs language models, text runs classifiers, wasm runs strangers' modules")
	fl.StringSliceVar(&f.cfg.Accounts, "accounts", nil, "`ACCOUNTS` of the only requesters to work for (default: all)")
	fl.StringVar(&f.cfg.CPU, "cpu", "", "`CORES` to offer, such as 2 or 1500m for one and a half (default: all)")
	fl.StringVar(&f.cfg.Memory, "memory", "", "`BYTES` of memory to offer, such as 4Gi (default: what is there)")
	fl.StringVar(&f.cfg.Peers, "peers", "", "`HOST:PORT` at which other nodes are heard, with whom large models are held together, or relay: through the hub alone, which cannot read what they say (default: a free port of loopback if the hub is there, else relay)")
	fl.StringVar(&f.cfg.PeersAt, "peers-at", "", "`HOST:PORT` at which they reach it, if that is another")
	fl.IntVar(&f.cfg.Slots, "slots", 0, "`NUMBER` of leases that run at a time (default: one per core)")
	fl.StringVar(&f.cache, "cache", "4Gi", "`BYTES` that cached models and inputs may take at most")
	reserveFlag(cmd, &f.reserve)
	fl.StringVar(&f.cfg.Faults, "inject-fault", "", "rehearsal: misbehave on purpose with these `FAULTS`, such as lie=0.3,crash-after=20,delay=2s")
	f.server.register(cmd)
	logFlags(cmd, &f.level, &f.logForm)
	_ = cmd.MarkFlagDirname("dir")
}

func logFlags(cmd *cobra.Command, level, format *string) {
	cmd.Flags().StringVar(level, "log-level", "info", "`LEVEL` from which to log: debug, info, warn or error")
	cmd.Flags().StringVar(format, "log-format", "text", "`FORMAT` of the log: text or json")
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

// maxSlots bounds --slots. A node queues 32 leases for each, and a hub takes no
// queue of more than 10,000.
const maxSlots = 256

// runNode runs a node. What it finds wrong with the flags is a usage error.
func (s *session) runNode(ctx context.Context, cfg NodeConfig) error {
	err := s.rt.NodeRun(ctx, cfg)
	if core.KindOf(err) == core.Invalid {
		err = usageError{err}
	}
	return err
}

// country is the code that --country means.
func country(text string) (string, error) {
	code := strings.ToUpper(text)
	if !policy.IsCountry(code) {
		return "", usagef("--country %.20q: want the two letters of ISO 3166, such as FR", text)
	}
	return code, nil
}

// config checks the flags and returns what is to be run.
func (f *nodeFlags) config(s *session) (cfg NodeConfig, err error) {
	cfg = f.cfg
	cfg.Labels = f.labels
	if cfg.Price, err = money("--price", f.price); err != nil {
		return cfg, err
	}
	if cfg.Penalty, err = (&api.SLA{Penalty: f.penalty}).PenaltyPerMille(); err != nil {
		return cfg, usagef("--max-penalty %.20q: want a share such as 20%%", f.penalty)
	}
	if cfg.Country == "" {
		return cfg, usagef("say where the node stands, such as --country FR: residency rules are held to it")
	}
	if cfg.Country, err = country(cfg.Country); err != nil {
		return cfg, err
	}
	switch {
	case cfg.Slots < 0 || cfg.Slots > maxSlots:
		return cfg, usagef("--slots %d: want 1 to %d, or leave it out for one per core", cfg.Slots, maxSlots)
	case cfg.Name != "" && core.CheckName("node", cfg.Name) != nil:
		return cfg, usagef("--name: %w", core.CheckName("node", cfg.Name))
	}
	if cfg.Cache, err = size("--cache", f.cache, 1); err != nil {
		return cfg, err
	}
	if cfg.Reserve, err = size("--reserve", f.reserve, 0); err != nil {
		return cfg, err
	}
	if cfg.OpenAI, err = f.server.config(s.env.Getenv); err != nil {
		return cfg, err
	}
	var e hubEntry
	if err := s.readCA(&e); err != nil {
		return cfg, err
	}
	cfg.CACert = []byte(e.CACert)
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
			return s.runNode(cmd.Context(), cfg)
		},
	}
	f.register(s, cmd)
	cmd.Flags().StringVar(&f.cfg.Hub, "hub", "", "`URL` of the hub to join, needed the first time")
	cmd.Flags().StringVar(&f.cfg.Token, "token", "", "join `TOKEN` that the operator made (atoll token create OWNER), needed the first time")
	return cmd
}

func (s *session) joinCmd() *cobra.Command {
	var f nodeFlags
	var look, noQuestions bool
	cmd := &cobra.Command{
		Use: "join URL TOKEN", Short: "Join a hub with this machine and work for it",
		Args: func(cmd *cobra.Command, args []string) error {
			if look {
				return cobra.MaximumNArgs(2)(cmd, args)
			}
			return cobra.ExactArgs(2)(cmd, args)
		},
		Long: `Join a hub as a node, remember it, and run (see: atoll node run --help). Later,
"atoll node run" with the same flags goes on (a token is needed once, country and
price are said at each start), and "atoll node status" says what this machine has
earned, what is pending, why it is idle and what others ask. A second node on one
machine needs a --dir, a --name and a token of its own.

It says which GPUs there are, and which servers of your own answer on loopback
(Ollama, vLLM, llama.cpp, LM Studio at their usual ports). None of them is offered
unless you say so with --openai. With --look it says that, and joins nothing.

On a terminal it asks for what was not given: the country, which server to offer,
the price, and, when the hub has told what others ask, whether to change that.
With --yes, or in a pipe, it asks nothing.

A client context for the hub is written, too. It has no key, because a join token
is not one: with a key of your account (the operator makes it: atoll key create
OWNER) you see all your nodes and your statement.`,
		Example: "  atoll join https://hub.example:8420 atl_join_…\n  atoll join https://hub.example:8420 atl_join_… --country FR --price 0.03 --yes",
		RunE: func(cmd *cobra.Command, args []string) error {
			if look {
				return s.look(cmd.Context(), &f)
			}
			return s.join(cmd.Context(), &f, args[0], args[1], s.asker(noQuestions), cmd.Flags().Changed("price"))
		},
	}
	f.register(s, cmd)
	cmd.Flags().BoolVar(&look, "look", false, "say what could be offered, and join nothing")
	cmd.Flags().BoolVarP(&noQuestions, "yes", "y", false, "ask nothing: take the defaults of what is not given")
	s.jsonFlag(cmd)
	return cmd
}
