package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"atoll/internal/blob"
	"atoll/internal/cli/bench"
)

func (s *session) benchWeightsCmd() *cobra.Command {
	cfg := bench.WeightsConfig{Nodes: 3}
	bytes := "1Gi"
	cmd := &cobra.Command{
		Use: "weights", Short: "Measure how a model's file gets to several nodes", Args: cobra.NoArgs,
		Long: `Have several processes, which speak TLS on loopback, fetch a file of random bytes at
the same time from one that has it. All share this machine's cores and disk.

  alone     each fetches all of it from the first holder
  together  they give one another what they have, too

  time      until the last has all of it, checked and synced
  copies    of the file that have left the first holder`,
		Example: "  atoll bench weights --json > weights.json\n  atoll bench weights --size 256Mi --nodes 5",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cfg.Nodes < 1 || cfg.Nodes > 32 || cfg.Rounds < 1 {
				return usagef("--nodes: want 1 to 32; --rounds: at least 1")
			}
			var err error
			if cfg.Size, err = size("--size", bytes, blob.ChunkSize); err != nil {
				return err
			}
			bar := s.err.Bar("bench", 1)
			cfg.Watch, cfg.Log = func(done, total int, what string) { bar.Set(done, total, what) }, s.err
			r, err := bench.Weights(cmd.Context(), cfg)
			bar.Done()
			if err != nil {
				return err
			}
			if s.asJSON {
				return s.printJSON(r)
			}
			return s.showWeights(r)
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&bytes, "size", bytes, "`BYTES` of the file")
	fl.IntVar(&cfg.Nodes, "nodes", cfg.Nodes, "`NUMBER` of nodes that fetch it")
	fl.IntVar(&cfg.Rounds, "rounds", 3, "`NUMBER` of rounds; medians are shown")
	s.jsonFlag(cmd)
	return cmd
}

// benchWeightsMemberCmd is a process of "bench weights".
func (s *session) benchWeightsMemberCmd() *cobra.Command {
	return &cobra.Command{
		Use: "weights-member DIR", Hidden: true, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return bench.WeightsMember(cmd.Context(), args[0], s.env.Stdin, s.env.Stdout)
		},
	}
}

func (s *session) showWeights(r *bench.WeightsReport) error {
	fmt.Fprintf(s.out, "%s, %d cores, %s/%s; %d bytes to %d nodes; medians of %d\n", r.Machine.CPU, r.Machine.Cores, r.Machine.OS, r.Machine.Arch, r.Bytes, r.Nodes, r.Rounds)
	var rows [][]string
	for _, x := range r.Rows {
		rows = append(rows, []string{x.Way, fmt.Sprintf("%.1f s (%.2f×)", x.Seconds, x.Ratio), fmt.Sprintf("%.2f", x.Copies)})
	}
	return s.out.Table("WAY TIME COPIES", rows)
}
