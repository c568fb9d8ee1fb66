package cli

import (
	"fmt"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"atoll/internal/httpapi/conns"
	"atoll/internal/peer/relay"
)

// hubFlags are shared by "hub" and "up".
type hubFlags struct {
	cfg            HubConfig
	nats           NATSConfig
	level, logForm string
	reserve, quota string
}

func (f *hubFlags) register(s *session, cmd *cobra.Command, role string) {
	fl := cmd.Flags()
	fl.StringVar(&f.cfg.Dir, "dir", s.dataDir(role), "`DIR` in which keys, database, blobs and log are kept")
	fl.StringVar(&f.cfg.Listen, "listen", "127.0.0.1:8420", "`HOST:PORT` of the HTTP API, port 0 is a free one; away from loopback the hub uses TLS with its own CA")
	fl.StringVar(&f.cfg.Advertise, "advertise", "", "`URL` under which nodes and clients reach it (default: the address listened on)")
	fl.StringVar(&f.cfg.ReadyFile, "ready-file", "", "`FILE` to write when the API answers: JSON with url, admin_key and nodes")
	fl.BoolVar(&f.cfg.Private, "allow-private", false, "let data pointers and callbacks go to private addresses, such as 10.0.0.0/8")
	reserveFlag(cmd, &f.reserve)
	fl.DurationVar(&f.cfg.Retention, "retention", 30*24*time.Hour, "`TIME` after which inputs, results and events of ended tasks and unused uploads go, at least 24h; receipts stay; 0 keeps all")
	fl.StringVar(&f.quota, "quota", "64Gi", "`BYTES` that are kept for each account: uploads, inputs and results")
	fl.IntVar(&f.cfg.Conns, "max-connections", 0, fmt.Sprintf("`NUMBER` of connections to the API at once (default: %d)", conns.DefaultTotal))
	fl.IntVar(&f.cfg.PerPeer, "max-connections-per-address", 0, fmt.Sprintf("`NUMBER` of them from one address or IPv6 /64 network; raise it behind a proxy (default: %d)", conns.DefaultPerAddress))
	fl.IntVar(&f.cfg.Relayed, "max-relayed", relay.DefaultCircuits, "`NUMBER` of connections at once that the hub carries between nodes that cannot dial one another, encrypted from node to node; one owner gets half of them at most; 0 carries none")
	logFlags(cmd, &f.level, &f.logForm)
	_ = cmd.MarkFlagDirname("dir")
	_ = cmd.MarkFlagFilename("ready-file")
}

// config completes the hub's part of both verbs. Context is the name of the
// client context to write.
func (f *hubFlags) config(s *session, contextName string) (HubConfig, error) {
	cfg := f.cfg
	if r := cfg.Retention; r != 0 && r < 24*time.Hour {
		return cfg, usagef("--retention %s: want at least 24h, for which idempotency keys hold, or 0", r)
	}
	if cfg.Relayed < 0 {
		return cfg, usagef("--max-relayed %d: want 0 or more", cfg.Relayed)
	}
	var err error
	if cfg.Reserve, err = size("--reserve", f.reserve, 0); err != nil {
		return cfg, err
	}
	if cfg.Quota, err = size("--quota", f.quota, 1); err != nil {
		return cfg, err
	}
	if cfg.Log, err = s.logger(f.level, f.logForm); err != nil {
		return cfg, err
	}
	if f.nats.Account != "" || len(f.nats.URLs) > 0 {
		if f.nats.Account == "" || f.nats.Creds == "" || f.nats.Seed == "" || len(f.nats.URLs) == 0 {
			return cfg, usagef("an external NATS needs --nats, --nats-creds, --nats-account and --nats-signing-key")
		}
		cfg.NATS = &f.nats
	}
	cfg.OnReady = func(r Ready) error {
		cfg.Log.Info("the hub answers", "url", r.URL, "nodes", len(r.Nodes))
		if contextName == "" {
			ca := ""
			if r.CACert != "" {
				ca = " --ca-cert " + filepath.Join(cfg.Dir, "keys", "ca.crt")
			}
			s.hint("as its admin, in another terminal: atoll context add work --url %s --key \"$(cat %s)\"%s", r.URL, filepath.Join(cfg.Dir, "admin.key"), ca)
			return nil
		}
		s.hint("in another terminal: atoll market offers, atoll submit --help")
		return s.rememberHub(contextName, hubEntry{URL: r.URL, Key: r.AdminKey, CACert: r.CACert})
	}
	return cfg, nil
}

func (s *session) upCmd() *cobra.Command {
	f := hubFlags{}
	nodes, place, noContext := 3, "FR", false
	cmd := &cobra.Command{
		Use: "up", Short: "Start a hub and three nodes on this machine", Args: cobra.NoArgs,
		Long: `Start everything in one process on loopback: a hub with its database and log, and
nodes of different owners, so that a quorum can be tried. A client context with
the admin key is written, so that the next verb just works. A small language model,
coral, is there to try. What was submitted survives a restart over the same --dir.`,
		Example: `  atoll up
  atoll up --dir /tmp/atoll --listen 127.0.0.1:0 --nodes 5 --ready-file ready.json`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if nodes < 0 || nodes > 64 {
				return usagef("--nodes %d: want 0 to 64", nodes)
			}
			place, err := country(place)
			if err != nil {
				return err
			}
			name := "up"
			if noContext {
				name = ""
			}
			hub, err := f.config(s, name)
			if err != nil {
				return err
			}
			return s.rt.Up(cmd.Context(), UpConfig{Hub: hub, Nodes: nodes, Country: place})
		},
	}
	f.register(s, cmd, "up")
	cmd.Flags().IntVar(&nodes, "nodes", nodes, "`NUMBER` of nodes, 0 to 64, each with an owner of its own")
	cmd.Flags().StringVar(&place, "country", place, "`CODE` of the country where the nodes say they stand, ISO 3166")
	cmd.Flags().BoolVar(&noContext, "no-context", false, "do not write a client context")
	return cmd
}

func (s *session) hubCmd() *cobra.Command {
	f := hubFlags{}
	cmd := &cobra.Command{
		Use: "hub", Short: "Run a hub: the API, the ledger, the log", Args: cobra.NoArgs,
		Long: `Run a hub for a consortium or a market. Away from loopback it answers over TLS
with a CA of its own, which join tokens pin. The admin key is kept in the file
admin.key of the directory.

Then: atoll account create OWNER, atoll token create OWNER, and on each machine
that is to work: atoll join URL TOKEN.`,
		Example: "  atoll hub --dir /var/lib/atoll --listen 0.0.0.0:8420 --advertise https://hub.example:8420",
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := f.config(s, "")
			if err != nil {
				return err
			}
			return s.rt.Hub(cmd.Context(), cfg)
		},
	}
	f.register(s, cmd, "hub")
	fl := cmd.Flags()
	fl.IntVar(&f.cfg.NATSPort, "nats-port", 0, "`PORT` of the embedded NATS, which nodes must be able to reach (default: a free one, kept in --dir)")
	fl.StringSliceVar(&f.nats.URLs, "nats", nil, "`URLS` of a NATS to use instead of the embedded one, such as nats://a:4222,nats://b:4222")
	fl.StringVar(&f.nats.Creds, "nats-creds", "", "`FILE` with the credentials of the hub's user in that NATS")
	fl.StringVar(&f.nats.Account, "nats-account", "", "public `KEY` of the account in that NATS")
	fl.StringVar(&f.nats.Seed, "nats-signing-key", "", "`FILE` with a signing key of that account, with which nodes are let in")
	fl.StringVar(&f.nats.CA, "nats-ca", "", "`FILE` with the certificate (PEM) of that NATS's own CA; hub and nodes then trust it there")
	_ = cmd.MarkFlagFilename("nats-ca")
	return cmd
}

func (s *session) versionCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "version", Short: "Print the version", Example: "  atoll version", Args: cobra.NoArgs, RunE: func(*cobra.Command, []string) error {
		if s.asJSON {
			return s.printJSON(map[string]string{"version": s.rt.Version})
		}
		fmt.Fprintln(s.out, "atoll", s.rt.Version)
		return nil
	}}
	s.jsonFlag(cmd)
	return cmd
}
