package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"

	"atoll/api"
	"atoll/internal/cli"
	"atoll/internal/cli/quickstart"
	"atoll/internal/core"
	"atoll/internal/engine/openai"
	"atoll/internal/engine/wasm"
	"atoll/internal/httpapi/conns"
	"atoll/internal/identity"
	"atoll/internal/node"
	"atoll/internal/node/agent"
	"atoll/internal/node/discover"
	"atoll/internal/node/measure"
	"atoll/internal/node/sandbox"
	"atoll/internal/telemetry"
)

// Run is the program: it returns the exit code.
func Run() int {
	sandbox.MaybeWorker(wasm.Worker()) // does not return in a sandboxed child
	ctx, stop := untilSignal()
	defer stop()
	return cli.Run(ctx, cli.OSEnv(), cli.Runtime{Version: Version, Up: up, Hub: hub, NodeRun: nodeRun, Joined: joined, Discover: discovered, StartNetwork: rehearse})
}

// untilSignal returns a context that the first Ctrl-C or SIGTERM ends, so that what
// runs is brought to an end. The second ends the process at once: whoever does not
// want to wait loses nothing, for what is acknowledged is on disk.
func untilSignal() (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		select {
		case <-signals:
		case <-ctx.Done():
		}
		signal.Stop(signals)
		cancel()
	}()
	return ctx, cancel
}

func joined(dir string) (cli.NodeAccess, error) {
	url, g, err := node.Joined(dir)
	return cli.NodeAccess{NodeReady: cli.NodeReady{Node: g.Node, Owner: g.Owner, HubURL: url, CACert: g.CACertPEM}, Key: string(g.APIKey)}, err
}

// traced gives a role its tracer, which goes nowhere unless OTLP is configured.
func traced(ctx context.Context, service string, f func(*telemetry.Telemetry) error) error {
	t, err := telemetry.Setup(ctx, telemetry.Config{Service: service, Version: Version, Writer: io.Discard, Getenv: os.Getenv})
	if err != nil {
		return err
	}
	err = f(t)
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	return errors.Join(err, t.Shutdown(last))
}

func hubConfig(c cli.HubConfig, t *telemetry.Telemetry) HubConfig {
	out := HubConfig{
		Dir: c.Dir, Listen: c.Listen, Advertise: c.Advertise, NATSPort: c.NATSPort, Private: c.Private, Reserve: c.Reserve, Quota: c.Quota, Retention: c.Retention,
		Conns: conns.Config{Total: c.Conns, PerAddress: c.PerPeer}, Relayed: c.Relayed, Log: c.Log, Tracer: t.Tracer, Traced: t.Exporting,
	}
	if c.NATS != nil {
		x := ExternalNATS(*c.NATS)
		out.NATS = &x
	}
	return out
}

func hub(ctx context.Context, c cli.HubConfig) error { return up(ctx, cli.UpConfig{Hub: c}) }

// gcPercent lets a hub's heap grow to five times what is live, where Go's default
// is twice: most of it is garbage of single requests, and collecting it a quarter
// as often saves up to a tenth of the CPU for some 40 MB.
const gcPercent = 400

// collectSeldom does so up to half of the memory that there is, from where on the
// collector works as hard as it must.
func collectSeldom() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	if most := measure.Memory() / 2; most > 0 && os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(most)
	}
}

// up runs a hub, with nodes in the same process if any are asked for.
func up(ctx context.Context, c cli.UpConfig) error {
	collectSeldom()
	return traced(ctx, "atoll-hub", func(t *telemetry.Telemetry) error {
		var nodes []NodeSpec
		for i := range c.Nodes {
			nodes = append(nodes, NodeSpec{
				Name: core.NodeID(fmt.Sprintf("node-%d", i+1)), Owner: core.AccountID(fmt.Sprintf("owner-%d", i+1)), Country: c.Country, Price: core.Credit / 100,
				Slots: max(1, runtime.GOMAXPROCS(0)/c.Nodes), // they share this machine's cores
			})
		}
		n, err := StartNetwork(ctx, hubConfig(c.Hub, t), nodes)
		if err != nil {
			return err
		}
		if c.Nodes > 0 {
			err = errors.Join(n.Hub.fund(ctx), n.Hub.stock(ctx))
		}
		if err == nil {
			err = announce(n.Hub, c.Hub, nodes)
		}
		if err == nil {
			select {
			case <-ctx.Done():
			case err = <-n.Failed():
			}
		}
		return errors.Join(err, n.Close())
	})
}

func announce(h *Hub, c cli.HubConfig, nodes []NodeSpec) error {
	names := make([]core.NodeID, 0, len(nodes))
	for _, n := range nodes {
		names = append(names, n.Name)
	}
	if err := writeReady(c.ReadyFile, ready{URL: h.URL, AdminKey: h.AdminKey, Nodes: names}); err != nil {
		return err
	}
	if c.OnReady == nil {
		return nil
	}
	return c.OnReady(cli.Ready{URL: h.URL, AdminKey: h.AdminKey, CACert: h.CACert(), Nodes: names})
}

// rehearse starts the quickstart's network.
func rehearse(ctx context.Context, c quickstart.NetworkConfig) (*quickstart.Network, error) {
	t, err := telemetry.Setup(ctx, telemetry.Config{Service: "atoll-quickstart", Version: Version, Writer: io.Discard, Getenv: os.Getenv})
	if err != nil {
		return nil, err
	}
	var nodes []NodeSpec
	for _, n := range c.Nodes {
		// One part at a time and a short queue: the work spreads over all, and a
		// node that dies holds something.
		nodes = append(nodes, NodeSpec{Name: n.Name, Owner: n.Owner, Country: n.Country, Price: n.Price, Faults: n.Faults, Engines: []string{"text", "llm"}, Slots: 1, Queue: 4})
	}
	n, err := StartNetwork(ctx, HubConfig{Dir: c.Dir, Listen: c.Listen, Log: c.Log, Tracer: t.Tracer}, nodes)
	if err != nil {
		return nil, err
	}
	return &quickstart.Network{URL: n.Hub.URL, AdminKey: n.Hub.AdminKey, Kill: n.Kill, Stop: func() error {
		last, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		return errors.Join(n.Close(), t.Shutdown(last))
	}}, nil
}

func nodeRun(ctx context.Context, c cli.NodeConfig) error {
	return traced(ctx, "atoll-node", func(t *telemetry.Telemetry) error {
		cfg, err := nodeConfig(c)
		if err != nil {
			return err
		}
		report, err := sandbox.Probe(ctx)
		if err != nil {
			return fmt.Errorf("the sandbox does not start: %w", err)
		}
		c.Log.Info("sandbox", "enforced", report.String(), "missing", report.Missing)
		server := openAIServer(c.OpenAI)
		all, err := engines(c.Engines, cfg.Slots, server, report, c.Log)
		if err != nil {
			return err
		}
		if server != nil && c.Slots == 0 {
			// What waits for that server leaves this machine's cores to others.
			cfg.Slots += server.Concurrency
		}
		cfg.Engines, cfg.Sandbox, cfg.Tracer, cfg.Metrics = all, enforced(report), t.Tracer, t.Registry
		n, err := node.New(cfg)
		if err != nil {
			return errors.Join(err, closeEngines(all))
		}
		if c.OnReady != nil {
			go func() {
				if grant, err := n.Grant(ctx); err == nil {
					if err := c.OnReady(cli.NodeReady{Node: grant.Node, Owner: grant.Owner, HubURL: cfg.HubURL, CACert: grant.CACertPEM}); err != nil {
						c.Log.Warn("client context was not written", "error", err)
					}
				}
			}()
		}
		return errors.Join(runNode(ctx, n), closeEngines(all))
	})
}

func discovered(ctx context.Context, log *slog.Logger) cli.Found {
	f := discover.Look(ctx, log)
	out := cli.Found{GPUs: []api.NodeGPU{}, Servers: []cli.FoundServer{}}
	for _, g := range f.GPUs {
		out.GPUs = append(out.GPUs, api.NodeGPU{Type: g.Type, Memory: g.Memory})
	}
	for _, s := range f.Servers {
		out.Servers = append(out.Servers, cli.FoundServer(s))
	}
	return out
}

func openAIServer(c *cli.OpenAIServer) *openai.Config {
	if c == nil {
		return nil
	}
	return &openai.Config{URL: c.URL, Key: c.Key, Models: c.Models, Concurrency: c.Concurrency}
}

// nodeConfig completes what was asked for with what the directory remembers.
func nodeConfig(c cli.NodeConfig) (node.Config, error) {
	faults, err := agent.ParseFaults(c.Faults)
	if err != nil {
		return node.Config{}, core.Errorf(core.Invalid, "--inject-fault: %w", err)
	}
	cfg := node.Config{
		Name: core.NodeID(c.Name), Dir: c.Dir, HubURL: c.Hub, Token: identity.Token(c.Token), CACert: c.CACert, Country: c.Country, Region: c.Region, Labels: c.Labels,
		Price: c.Price, MaxPenalty: c.Penalty, Peers: c.Peers, PeersAt: c.PeersAt, Slots: c.Slots, CacheBytes: c.Cache, Reserve: c.Reserve, Faults: faults, Version: Version, Build: build(), Log: c.Log,
	}
	for _, a := range c.Accounts {
		cfg.Accounts = append(cfg.Accounts, core.AccountID(a))
	}
	if cfg.CPUMillis, err = quantity("--cpu", c.CPU, (*resource.Quantity).MilliValue); err != nil {
		return cfg, err
	}
	if cfg.Memory, err = quantity("--memory", c.Memory, (*resource.Quantity).Value); err != nil {
		return cfg, err
	}
	if cfg.Slots == 0 {
		cfg.Slots = runtime.GOMAXPROCS(0)
	}
	url, grant, err := node.Joined(c.Dir)
	switch {
	case err == nil:
		if cfg.HubURL == "" {
			cfg.HubURL = url
		}
		if cfg.Name == "" {
			cfg.Name = grant.Node
		}
	case !errors.Is(err, fs.ErrNotExist):
		return cfg, err
	case cfg.HubURL == "":
		return cfg, core.Errorf(core.Invalid, "%s has not joined a hub yet: give --hub and --token", c.Dir)
	}
	if cfg.Name == "" {
		cfg.Name = hostName()
	}
	return cfg, nil
}

func quantity(flag, s string, read func(*resource.Quantity) int64) (int64, error) {
	if s == "" {
		return 0, nil
	}
	q, err := resource.ParseQuantity(s)
	if err != nil || q.Sign() <= 0 {
		return 0, core.Errorf(core.Invalid, "%s %q is not a quantity such as 500m or 4Gi", flag, s)
	}
	return read(&q), nil
}

// hostName makes a node's name of the machine's.
func hostName() core.NodeID {
	host, _ := os.Hostname()
	host, _, _ = strings.Cut(strings.ToLower(host), ".")
	name := strings.Trim(strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, host), "-")
	if core.CheckName("node", name) != nil {
		return "node"
	}
	return core.NodeID(name)
}

// enforced lists what the kernel enforces on strangers' modules, for the offer.
func enforced(r sandbox.Report) (out []string) {
	if r.Seccomp {
		out = append(out, "seccomp")
	}
	if r.Landlock > 0 {
		out = append(out, fmt.Sprintf("landlock-%d", r.Landlock))
	}
	if r.NoNewPrivs {
		out = append(out, "no-new-privs")
	}
	for _, l := range r.Rlimits {
		out = append(out, "rlimit-"+l)
	}
	return out
}
