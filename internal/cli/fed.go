package cli

import (
	"cmp"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"atoll/internal/core"
	"atoll/internal/fed"
	"atoll/internal/fed/dataset"
	"atoll/internal/fed/simulate"
	"atoll/internal/learn/model"
	"atoll/internal/repro"
	"atoll/internal/table"
)

func (s *session) fedCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use: "fed", Short: "Train a model over rows that stay with their owners",
		Long: `A federation trains one model over the rows of several owners. Each trains on its own
rows and sends what came of it under masks: the hub adds these up, and sees no
single one. The specification says what is learnt, from which columns, and what
may be told of whom.`,
	}
	cmd.AddCommand(s.fedRunCmd())
	cmd.AddCommand(s.fedHubCmds()...)
	return cmd
}

// fedRun is what "fed run" was asked for.
type fedRun struct {
	sites   int
	by      string
	alpha   float64
	seed    uint64
	data    string
	drop    []string
	slow    []string
	start   string
	model   string
	html    string
	threads int
	watch   bool
}

func (s *session) fedRunCmd() *cobra.Command {
	f := fedRun{}
	cmd := &cobra.Command{
		Use: "run SPEC", Short: "Run a federation: over the hub's nodes, or on this machine first", Args: cobra.ExactArgs(1),
		Long: `Run the federation that SPEC (YAML or JSON) describes over the nodes that offer its
dataset (see: atoll dataset add). With --watch it is followed to its end.

With --simulate the rows of one file are divided among simulated sites. They and the
hub are the real ones, with keys, masks and noise; only the network between them is not
there. In the end the model is measured on all rows held out, beside what each site
would have come to alone and what all rows in one place would give.

SPEC names the table's schema as a file beside it (Frictionless Table Schema).`,
		Example: `  atoll fed run --simulate 4 --data my.csv cross-bank-fraud.yaml
  atoll fed run cross-bank-fraud.yaml --watch
  atoll fed run --simulate 4 --by bank --data examples/federation/loans.csv examples/federation/loans.yaml
  atoll fed run --simulate 5 --drop 2@vector --data my.csv spec.yaml --json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if (f.sites == 0) != (f.data == "") {
				return usagef("--simulate and --data belong together; without either the hub's nodes are the sites")
			}
			spec, err := s.loadFederation(args[0])
			if err != nil {
				return err
			}
			if f.sites == 0 {
				return s.runOnHub(cmd, spec, f.watch)
			}
			return s.simulate(cmd, &f, spec)
		},
	}
	fl := cmd.Flags()
	fl.BoolVar(&f.watch, "watch", false, "follow it to its end")
	fl.IntVar(&f.sites, "simulate", 0, "`NUMBER` of sites among which the rows of --data are divided")
	fl.StringVar(&f.data, "data", "", "`FILE` with the rows: .csv, .csv.gz or .parquet")
	fl.StringVar(&f.by, "by", "", "`COLUMN` whose equal values stay at one site; without it rows go anywhere")
	fl.Float64Var(&f.alpha, "skew", 0, "with --by: divide the rows of each value by Dirichlet `SHARES` instead; 0.1 is very uneven, 100 hardly")
	fl.Uint64Var(&f.seed, "seed", 1, "`NUMBER` from which the division is drawn")
	fl.StringArrayVar(&f.drop, "drop", nil, "`SITE@STEP`: this site, from 1, leaves before the step in each round (keys, shares, vector, survivors, opening)")
	fl.StringArrayVar(&f.slow, "slow", nil, "`SITE@TIMES`: this site, from 1, takes so many times as long to train as others do, on a simulated clock")
	fl.StringVar(&f.start, "start-from", "", "`FILE` of the earlier model that the specification's start_from names")
	fl.StringVar(&f.model, "model-out", "", "`FILE` to write the trained model to")
	fl.StringVar(&f.html, "report", "", "`FILE` to write the report to: HTML with its pictures in it")
	fl.IntVar(&f.threads, "threads", 0, "`NUMBER` of threads that train (default: all cores)")
	_ = cmd.MarkFlagFilename("data")
	s.jsonFlag(cmd)
	return cmd
}

// loadFederation reads a specification, with its schema from the file that it names.
func (s *session) loadFederation(path string) (*fed.Spec, error) {
	data, err := s.readFile(path, fed.MaxSpec)
	if err != nil {
		return nil, err
	}
	spec, err := fed.Read(data, func(name string) ([]byte, error) {
		return s.readFile(filepath.Join(filepath.Dir(path), name), table.MaxSchema)
	})
	if err != nil {
		return nil, usagef("%s: %w", path, wrongSpec(err))
	}
	return spec, nil
}

// simulate runs a federation on this machine.
func (s *session) simulate(cmd *cobra.Command, f *fedRun, spec *fed.Spec) error {
	pool, err := newPool(f.threads)
	if err != nil {
		return err
	}
	defer pool.Close()
	drop, err := dropped(f.drop, f.sites)
	if err != nil {
		return err
	}
	delay, err := slowed(f.slow, f.sites)
	if err != nil {
		return err
	}
	start, err := s.readStart(f.start)
	if err != nil {
		return err
	}
	bar := s.err.Bar(spec.Name, spec.Rounds)
	r, err := simulate.Run(cmd.Context(), simulate.Config{
		Spec: spec, Start: start, Pool: pool, Drop: drop, Delay: delay, Partition: table.Partition{Sites: f.sites, Column: f.by, Alpha: f.alpha, Seed: f.seed},
		Rows:  func(res *table.Resource) iter.Seq2[table.Row, error] { return dataset.Open(f.data, res) },
		Round: func(x fed.Round) { bar.Set(x.Number, spec.Rounds, roundNote(&x)) },
	})
	bar.Done()
	if err != nil {
		return err
	}
	if err := f.write(r); err != nil {
		return err
	}
	report := r.Report()
	if s.asJSON {
		return s.printJSON(report)
	}
	return s.showFederation(f, report)
}

// readStart reads the parameters of an earlier model.
func (s *session) readStart(path string) ([]float32, error) {
	if path == "" {
		return nil, nil
	}
	b, err := s.readFile(path, maxStart)
	if err != nil {
		return nil, err
	}
	m, err := model.Load(b)
	if err != nil {
		return nil, usagef("--start-from %s: %w", path, err)
	}
	return m.Params, nil
}

// maxStart bounds the file of a model to begin with.
const maxStart = 4 << 30

// newPool has models trained on so many threads.
func newPool(threads int) (*repro.Pool, error) {
	isa, err := repro.SelectISA(os.Getenv(repro.Variable))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", repro.Variable, err)
	}
	return repro.NewPool(cmp.Or(threads, runtime.GOMAXPROCS(0)), isa)
}

// dropped reads --drop.
func dropped(items []string, sites int) (func(int, *fed.Order) bool, error) {
	type leave struct {
		site int
		step fed.Step
	}
	gone := map[leave]bool{}
	for _, item := range items {
		var l leave
		var step string
		site, step, ok := strings.Cut(item, "@")
		if _, err := fmt.Sscan(site, &l.site); err != nil || !ok || l.site < 1 || l.site > sites {
			return nil, usagef("--drop %s: want a site from 1 to %d and a step, such as 2@vector", item, sites)
		}
		if l.step = fed.Step(step); fed.StepNumber(l.step) < 0 {
			return nil, usagef("--drop %s: there is no step %q", item, step)
		}
		gone[l] = true
	}
	if len(gone) == 0 {
		return nil, nil
	}
	return func(site int, o *fed.Order) bool {
		for l := range gone {
			if l.site == site+1 && fed.StepNumber(o.Step) >= fed.StepNumber(l.step) {
				return true
			}
		}
		return false
	}, nil
}

func roundNote(r *fed.Round) string {
	note := fmt.Sprintf("%d sites", len(r.Sites))
	if r.Counts.Held > 0 {
		note += fmt.Sprintf(", accuracy %.1f %%", 100*float64(r.Counts.Right)/float64(r.Counts.Held))
	}
	if r.Epsilon > 0 {
		note += fmt.Sprintf(", ε %.2f", r.Epsilon)
	}
	return note
}

// write puts the files that were asked for where they belong.
func (f *fedRun) write(r *simulate.Result) error {
	if f.model != "" {
		b, err := r.Model()
		if err == nil {
			err = os.WriteFile(f.model, b, 0o644) //nolint:gosec // a model is for sharing
		}
		if err != nil {
			return err
		}
	}
	if f.html == "" {
		return nil
	}
	page, err := r.Report().HTML()
	if err != nil {
		return err
	}
	return os.WriteFile(f.html, page, 0o644) //nolint:gosec // so is a report
}

func (s *session) showFederation(f *fedRun, r *simulate.Report) error {
	fmt.Fprintf(s.out, "%s: %d rounds over %d sites in %.1f s, %s\n\n", s.out.Bold(r.Name), r.Rounds, r.Sites, r.Seconds, r.Hidden)
	fmt.Fprintf(s.out, "a site sends %s a round, %.2f of its update in floating point\n\n", bytesOf(r.Sent), float64(r.Sent)/float64(max(r.Float, 1)))
	if r.Drawn != "" {
		fmt.Fprintf(s.out, "in a round: %s\n\n", r.Drawn)
	}
	if r.Robust != nil {
		fmt.Fprintf(s.out, "against poisoners: %s\n\n", r.Robust)
	}
	if r.Promotion != nil {
		fmt.Fprintf(s.out, "better than before? %s\n\n", r.Promotion)
	}
	var rows [][]string
	for _, x := range r.History {
		held := "-"
		if x.Counts.Held > 0 {
			held = fmt.Sprintf("%.4f", float64(x.Counts.Loss)/1000/float64(x.Counts.Held))
		}
		epsilon := "-"
		if x.Epsilon > 0 {
			epsilon = fmt.Sprintf("%.2f", x.Epsilon)
		}
		out := "-"
		if len(x.Out) > 0 {
			out = fmt.Sprintf("%d (%s)", x.Out[0].Site+1, core.Clip(x.Out[0].Why, 40))
		}
		age := "-"
		if len(x.Stale) > 0 {
			age = fmt.Sprint(slices.Max(x.Stale))
		}
		rows = append(rows, []string{fmt.Sprint(x.Number), fmt.Sprint(len(x.Sites)), out, age, held, epsilon, fmt.Sprint(x.Sent)})
	}
	if err := s.out.Table("ROUND SITES OUT OLDEST LOSS-BEFORE EPSILON BYTES", rows); err != nil {
		return err
	}
	fmt.Fprintln(s.out)
	rows = nil
	for _, x := range r.Models {
		rows = append(rows, []string{x.Name, percent(x.Accuracy), percent(x.AUC), percent(x.F1), fmt.Sprintf("%.4f", x.Loss)})
	}
	if err := s.out.Table("MODEL ACCURACY AUC F1 LOSS", rows); err != nil {
		return err
	}
	if f.model != "" {
		s.hint("the model is in %s", f.model)
	}
	if f.html != "" {
		s.hint("look at %s with a browser", f.html)
	}
	return nil
}

func percent(v float64) string { return fmt.Sprintf("%.2f %%", 100*v) }
