package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"atoll/internal/cli/quickstart"
	"atoll/internal/cli/term"
)

// quickFlags are the flags of "atoll quickstart".
type quickFlags struct {
	data, dir, listen string
	seed              uint64
	requests          int
	keep              bool
	level             string
}

func (s *session) quickstartCmd() *cobra.Command {
	var f quickFlags
	cmd := &cobra.Command{
		Use: "quickstart", Short: "See the whole of it on real work, in a minute", Args: cobra.NoArgs,
		Long: `Start a hub and seven nodes of five owners in this process, train a classifier of
support requests, and submit 600 fresh ones as one task in 30 parts. Each part is
done by three owners, of whom two must agree. One node lies about a third of its
answers, one dies in the middle, and one, the cheapest, stands outside the EU and
must not be used. Then see what was found out, what was paid, and check every
receipt offline. At last a small language model, which is part of this program,
goes on with a sentence, and another owner computes its answer again, bit for bit.
Exit code 3 if any promise was not kept.`,
		Example: `  atoll quickstart
  atoll quickstart --data my-requests.csv       # a CSV or JSONL of your own, with text and label
  atoll quickstart --keep                       # and leave the network running`,
		RunE: func(cmd *cobra.Command, _ []string) error { return s.quickstart(cmd.Context(), &f) },
	}
	fl := cmd.Flags()
	fl.StringVar(&f.data, "data", "", "`FILE` of labelled texts of your own, .csv or .jsonl, or - for standard input (default: generated)")
	fl.Uint64Var(&f.seed, "seed", 1, "`NUMBER` from which the requests are generated")
	fl.IntVar(&f.requests, "requests", 600, "`NUMBER` of requests to submit, 30 to 100000")
	fl.StringVar(&f.dir, "dir", "", "`DIR` in which to keep the network's data (default: a temporary one)")
	fl.StringVar(&f.listen, "listen", "127.0.0.1:0", "`HOST:PORT` of the API; port 0 is a free one")
	fl.BoolVar(&f.keep, "keep", false, "leave the network running until Ctrl-C, with a client context for it")
	fl.StringVar(&f.level, "log-level", "error", "`LEVEL` of the network's log: debug, info, warn or error")
	_ = cmd.MarkFlagFilename("data", "csv", "jsonl", "ndjson")
	_ = cmd.MarkFlagDirname("dir")
	s.jsonFlag(cmd)
	return cmd
}

func (s *session) quickstart(ctx context.Context, f *quickFlags) (err error) {
	if f.requests < 30 || f.requests > 100_000 {
		return usagef("--requests %d: want 30 to 100000", f.requests)
	}
	log, err := s.logger(f.level, "text")
	if err != nil {
		return err
	}
	cfg, remove, err := s.quickConfig(f, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, remove()) }()
	show := screen{s: s, bars: map[string]*term.Bar{}}
	cfg.Watch, cfg.Begin = show.watch, show.begin
	run, err := quickstart.Run(ctx, cfg)
	if run != nil {
		defer func() { err = errors.Join(err, run.Network.Stop()) }()
	}
	show.done()
	if err != nil {
		return err
	}
	if err := s.printQuickstart(run.Result, f.keep); err != nil {
		return err
	}
	if f.keep {
		if err := s.keep(ctx, hubEntry{URL: run.Network.URL, Key: run.Key}); err != nil {
			return err
		}
	}
	if !run.Result.OK {
		return errNo
	}
	return nil
}

// keep leaves the network running until ctx ends, with a context for it that ends
// with it: afterwards the other verbs talk to whom they did before.
func (s *session) keep(ctx context.Context, e hubEntry) error {
	const name = "quickstart"
	c, err := s.loadContexts()
	if err != nil {
		return err
	}
	before := c.Current
	if err := s.addContext(name, e); err != nil {
		return err
	}
	fmt.Fprintf(s.err, "the network runs until Ctrl-C; until then the context %q is the current one\n", name)
	<-ctx.Done()
	if c, err = s.loadContexts(); err != nil {
		return err
	}
	if c.Contexts[name] != e { // another quickstart has begun meanwhile
		return nil
	}
	if delete(c.Contexts, name); c.Current == name {
		c.Current = before
	}
	return s.saveContexts(c)
}

// quickConfig checks the flags and makes the folder. Remove takes it away again.
func (s *session) quickConfig(f *quickFlags, log *slog.Logger) (cfg quickstart.Config, remove func() error, err error) {
	cfg = quickstart.Config{Start: s.rt.StartNetwork, Dir: f.dir, Listen: f.listen, Seed: f.seed, Requests: f.requests, Log: log}
	if f.data != "" {
		if cfg.Data, err = s.readExamples(f.data); err != nil {
			return cfg, nil, err
		}
	}
	remove = func() error { return nil }
	if f.dir == "" {
		if cfg.Dir, err = os.MkdirTemp("", "atoll-quickstart-"); err != nil {
			return cfg, nil, err
		}
		remove = func() error { return os.RemoveAll(cfg.Dir) }
	}
	return cfg, remove, nil
}

func (s *session) printQuickstart(r *quickstart.Result, keep bool) error {
	if s.asJSON {
		return s.printJSON(r)
	}
	next := "atoll quickstart --keep, then in another terminal: atoll task list"
	if keep {
		next = "atoll task list"
	}
	_, err := fmt.Fprintf(s.out, "%sNext: %s\n", r.Body(s.out.Mark), next)
	return err
}

// screen shows how far a rehearsal has come.
type screen struct {
	s    *session
	bars map[string]*term.Bar
}

func (p *screen) watch(stage string, done, total int, note string) {
	b := p.bars[stage]
	if b == nil {
		name := ""
		if stage == "training" {
			name = stage
		}
		b = p.s.err.Bar(name, total)
		p.bars[stage] = b
	}
	b.Set(done, total, note)
	if done == total {
		b.Done()
	}
}

// begin prints the head before the work begins.
func (p *screen) begin(r *quickstart.Result) {
	p.done()
	if !p.s.asJSON {
		fmt.Fprint(p.s.out, r.Head())
	}
}

func (p *screen) done() {
	for _, b := range p.bars {
		b.Done()
	}
}
