package cli

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"atoll/internal/cli/bench"
)

func (s *session) benchFedCmd() *cobra.Command {
	cfg := bench.FedConfig{}
	cmd := &cobra.Command{
		Use: "fed", Short: "Measure what a federation's round costs besides training", Args: cobra.NoArgs,
		Long: `Run federations of simulated sites, each with a few rows, in one process, and one over a
hub and nodes that are processes of their own: without masks and under them.

  round  from its begin to the next one's, sites and hub taking turns on this machine
  site   a site's work in a round, training on its few rows included
  hub    the hub's work in a round
  bytes  a site's vector; beside it the same in floating point

With processes a round is told from its beginning to its durable end.`,
		Example: "  atoll bench fed --json > fed.json\n  atoll bench fed --sites 10,100 --hidden 512",
		RunE: func(cmd *cobra.Command, _ []string) error {
			for _, n := range cfg.Sites {
				if n < 3 || n > 2000 {
					return usagef("--sites %d: want 3 to 2000", n)
				}
			}
			if cfg.Hidden < 1 || cfg.Hidden > 10_000 || cfg.Rounds < 1 || cfg.Processes != 0 && (cfg.Processes < 3 || cfg.Processes > 100) {
				return usagef("--hidden: want 1 to 10000; --rounds: at least 1; --processes: 0, or 3 to 100")
			}
			var err error
			if cfg.Binary, err = os.Executable(); err != nil {
				return err
			}
			pool, err := newPool(0)
			if err != nil {
				return err
			}
			defer pool.Close()
			cfg.Pool = pool
			bar := s.err.Bar("bench", 1)
			cfg.Watch = func(done, total int, what string) { bar.Set(done, total, what) }
			r, err := bench.Fed(cmd.Context(), cfg)
			bar.Done()
			if err != nil {
				return err
			}
			if s.asJSON {
				return s.printJSON(r)
			}
			fmt.Fprintf(s.out, "%s, %d cores, %s/%s; means of %d rounds\n", r.Machine.CPU, r.Machine.Cores, r.Machine.OS, r.Machine.Arch, r.Rounds+1)
			var rows [][]string
			for _, x := range r.Rows {
				site, hub := fmt.Sprintf("%.1f ms", x.Site), fmt.Sprintf("%.1f ms", x.Hub)
				if x.Processes {
					site, hub = "processes", "process"
				}
				rows = append(rows, []string{fmt.Sprint(x.Sites), fmt.Sprint(x.Parameters), fmt.Sprint(x.Masks), fmt.Sprint(x.Degree),
					fmt.Sprintf("%.3f s", x.PerRound), site, hub, fmt.Sprintf("%d (%d)", x.Bytes, x.Whole)})
			}
			return s.out.Table("SITES PARAMETERS MASKS NEIGHBOURS ROUND SITE HUB BYTES", rows)
		},
	}
	fl := cmd.Flags()
	fl.IntSliceVar(&cfg.Sites, "sites", []int{10, 100, 1000}, "`NUMBERS` of sites")
	fl.IntVar(&cfg.Hidden, "hidden", 990, "`WIDTH` of the model's hidden layer: it has about 100 times as many parameters")
	fl.IntVar(&cfg.Processes, "processes", 5, "`NUMBER` of sites of a federation over processes; 0: none")
	fl.IntVar(&cfg.Rounds, "rounds", 2, "`NUMBER` of rounds of training; another one measures")
	s.jsonFlag(cmd)
	return cmd
}
