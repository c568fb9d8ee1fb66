package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"atoll/internal/cli/bench"
)

func (s *session) benchSecAggCmd() *cobra.Command {
	cfg := bench.SecAggConfig{}
	dropouts, corrupt, gigabytes := []int{0, 10, 30}, 10, 16
	cmd := &cobra.Command{
		Use: "secagg", Short: "Measure sums under masks", Args: cobra.NoArgs,
		Long: `Run rounds of secure aggregation among simulated members in this process.

  client     a member's work in all steps of a round
  server     the hub's work in a round
  vector     the masked vector; in brackets, how many times the update in the clear
  others     what a member sends and receives besides, as JSON

Rounds that take more masks than --masks are not run: their times are extrapolated from
those of two shorter vectors, and marked with a ~.`,
		Example: "  atoll bench secagg --members 10,100 --dims 100000 --json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkSecAgg(&cfg, dropouts, corrupt, gigabytes); err != nil {
				return err
			}
			bar := s.err.Bar("bench", 1)
			cfg.Watch = func(done, total int, what string) { bar.Set(done, total, what) }
			r, err := bench.SecAgg(cmd.Context(), cfg)
			bar.Done()
			if err != nil {
				return err
			}
			if s.asJSON {
				return s.printJSON(r)
			}
			fmt.Fprintf(s.out, "%s, %d cores, %s/%s; updates of %d bits\n", r.Machine.CPU, r.Machine.Cores, r.Machine.OS, r.Machine.Arch, r.Bits)
			var rows [][]string
			for _, x := range r.Rows {
				about := ""
				if x.Extrapolated {
					about = "~"
				}
				rows = append(rows, []string{fmt.Sprint(x.Members), fmt.Sprint(x.Dim), fmt.Sprintf("%.0f %%", 100*x.Dropout), fmt.Sprint(x.Degree),
					fmt.Sprintf("%s%.1f ms", about, x.Client), fmt.Sprintf("%s%.3f s", about, x.Server), fmt.Sprintf("%d (%.3f)", x.Vector, x.Expansion), fmt.Sprint(x.Others)})
			}
			return s.out.Table("MEMBERS WORDS DROPOUT NEIGHBOURS CLIENT SERVER VECTOR OTHERS", rows)
		},
	}
	fl := cmd.Flags()
	fl.IntSliceVar(&cfg.Members, "members", []int{10, 100, 500, 1000}, "`NUMBERS` of members")
	fl.IntSliceVar(&cfg.Dims, "dims", []int{100_000, 1_000_000, 10_000_000}, "`NUMBERS` of words in a vector")
	fl.IntSliceVar(&dropouts, "dropouts", dropouts, "`PERCENTAGES` of members that drop out before they send a vector")
	fl.IntVar(&corrupt, "corrupt", corrupt, "`PERCENTAGE` of members that may work with the hub; with 33 all are neighbours")
	fl.IntVar(&cfg.Bits, "bits", 16, "`BITS` of an update's value")
	fl.IntVar(&gigabytes, "masks", gigabytes, "`GB` of masks that a round may take")
	s.jsonFlag(cmd)
	return cmd
}

func checkSecAgg(cfg *bench.SecAggConfig, dropouts []int, corrupt, gigabytes int) error {
	for _, n := range cfg.Members {
		if n < 3 || n > 2000 {
			return usagef("--members %d: want 3 to 2000", n)
		}
	}
	for _, m := range cfg.Dims {
		if m < 1 || m > 1<<28 {
			return usagef("--dims %d: want 1 to %d", m, 1<<28)
		}
	}
	for _, d := range dropouts {
		if d < 0 || d > 33 {
			return usagef("--dropouts %d: want 0 to 33", d)
		}
		cfg.Dropouts = append(cfg.Dropouts, float64(d)/100)
	}
	if corrupt < 0 || corrupt > 33 || cfg.Bits < 1 || cfg.Bits > 20 || gigabytes < 1 {
		return usagef("--corrupt: want 0 to 33; --bits: 1 to 20; --masks: at least 1")
	}
	cfg.Corrupt, cfg.Most = float64(corrupt)/100, int64(gigabytes)<<30
	return nil
}
