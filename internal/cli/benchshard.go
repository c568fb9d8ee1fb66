package cli

import (
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"atoll/internal/cli/bench"
)

func (s *session) benchShardCmd() *cobra.Command {
	cfg := bench.ShardConfig{Model: "135M", Stages: []int{2, 3}, Threads: 2, Contexts: []int{100, 1000, 4000}}
	rtts, mbits := []int{20, 50, 100}, []int{20, 100}
	cmd := &cobra.Command{
		Use: "shard", Short: "Measure one model over several processes", Args: cobra.NoArgs,
		Long: `Have the layers of a model of random weights (Q8_0) held by several processes,
which speak TLS on loopback, and compare with the whole model in one process. All
share this machine's cores. The lines draw the very tokens that the whole draws, or
the benchmark fails.

  drawn/s      tokens of one answer
  8-together   tokens of eight answers at a time
  first        until the first token, for a prompt of 128
  token bytes  that go between stages for each token
  pause        from a stage's SIGKILL, or SIGSTOP, to the next token, by what the
               sequence had; a spare has loaded the stage's layers before

Then two stages in this process with a link between them that is as long and as thin
as it is told to be, and 1, 8 and 32 answers at a time, with rows of f32 and of int8
(profile q8/LAYER). The bound is what link and computing allow with n answers in the
best number g of groups:

  n / max(g·C(n/g), C(n/g) + RTT + 8·bytes·n/g / bandwidth)

where C(k) is a step of the model as a whole with k sequences in it.`,
		Example: "  atoll bench shard --json > shard.json\n  atoll bench shard --model 1.1B --stages 2 --contexts 100",
		RunE: func(cmd *cobra.Command, _ []string) error {
			none := func(n int) bool { return n == 0 }
			cfg.Contexts, rtts = slices.DeleteFunc(cfg.Contexts, none), slices.DeleteFunc(rtts, none)
			few := func(least int) func(int) bool { return func(n int) bool { return n < least } }
			if cfg.Rounds < 1 || cfg.Threads < 1 || len(cfg.Stages) == 0 || slices.ContainsFunc(cfg.Stages, few(2)) {
				return usagef("--rounds and --threads: want at least 1; --stages: at least 2")
			}
			if slices.ContainsFunc(slices.Concat(rtts, mbits, cfg.Contexts), few(1)) || slices.ContainsFunc(cfg.Contexts, func(n int) bool { return n > 8000 }) {
				return usagef("--contexts: want 1 to 8000; --mbit: at least 1; --rtt: at least 1; 0 for no --contexts or --rtt")
			}
			for _, rtt := range rtts {
				for _, mbit := range mbits {
					cfg.Links = append(cfg.Links, bench.Link{RTT: time.Duration(rtt) * time.Millisecond, Bandwidth: int64(mbit) * 1e6})
				}
			}
			bar := s.err.Bar("bench", 1)
			cfg.Watch = func(done, total int, what string) { bar.Set(done, total, what) }
			cfg.Log = s.err
			r, err := bench.Shard(cmd.Context(), cfg)
			bar.Done()
			if err != nil {
				return err
			}
			if s.asJSON {
				return s.printJSON(r)
			}
			return s.showShard(r)
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&cfg.Model, "model", cfg.Model, "`SHAPE` of the model: 135M, 1.1B")
	fl.IntSliceVar(&cfg.Stages, "stages", cfg.Stages, "`NUMBERS` of processes, this one among them")
	fl.IntVar(&cfg.Threads, "threads", cfg.Threads, "`NUMBER` of threads of each process")
	fl.IntVar(&cfg.Rounds, "rounds", 11, "`NUMBER` of rounds; medians are shown")
	fl.IntSliceVar(&cfg.Contexts, "contexts", cfg.Contexts, "`NUMBERS` of tokens at which a stage is killed; 0: none")
	fl.IntSliceVar(&rtts, "rtt", rtts, "`MILLISECONDS` of round trips of links; 0: none")
	fl.IntSliceVar(&mbits, "mbit", mbits, "`NUMBERS` of Mbit/s of each of these")
	s.jsonFlag(cmd)
	return cmd
}

// benchMemberCmd is a process of "bench shard".
func (s *session) benchMemberCmd() *cobra.Command {
	threads := 1
	cmd := &cobra.Command{
		Use: "shard-member DIR", Hidden: true, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return bench.ShardMember(cmd.Context(), args[0], threads)
		},
	}
	cmd.Flags().IntVar(&threads, "threads", threads, "`NUMBER` of threads")
	return cmd
}

func (s *session) showShard(r *bench.ShardReport) error {
	fmt.Fprintf(s.out, "%s, %d cores, %s/%s; model %s, %d threads in each process; medians of %d\n", r.Machine.CPU, r.Machine.Cores, r.Machine.OS, r.Machine.Arch, r.Model, r.Threads, r.Rounds)
	var rows [][]string
	for _, x := range r.Rows {
		rows = append(rows, []string{
			fmt.Sprint(x.Stages), fmt.Sprintf("%.1f (%.2f×)", x.Decode, x.DecodeRatio), fmt.Sprintf("%.1f (%.2f×)", x.Eight, x.EightRatio),
			fmt.Sprintf("%.0f ms", x.FirstToken), fmt.Sprint(x.TokenBytes),
		})
	}
	if err := s.out.Table("STAGES DRAWN/S 8-TOGETHER FIRST TOKEN-BYTES", rows); err != nil {
		return err
	}
	if rows = nil; len(r.Links) > 0 {
		for _, l := range r.Links {
			rows = append(rows, []string{
				fmt.Sprintf("%.0f ms", l.RTTMs), fmt.Sprintf("%.0f Mbit/s", l.Mbit), l.Form, fmt.Sprint(l.Bytes), fmt.Sprint(l.Sequences),
				fmt.Sprintf("%.1f", l.PerS), fmt.Sprintf("%.1f (%.2f×)", l.Bound, l.Share),
			})
		}
		if err := s.out.Table("RTT LINK FORM TOKEN-BYTES TOGETHER TOKENS/S BOUND", rows); err != nil {
			return err
		}
	}
	if rows = nil; len(r.Lost) == 0 {
		return nil
	}
	for _, l := range r.Lost {
		rows = append(rows, []string{fmt.Sprint(l.Context), l.Signal, fmt.Sprintf("%.0f ms", l.FirstMs), fmt.Sprintf("%.0f ms", l.PauseMs)})
	}
	return s.out.Table("CONTEXT SIGNAL FIRST PAUSE", rows)
}
