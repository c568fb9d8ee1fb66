package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"atoll/internal/cli/bench"
)

func (s *session) benchCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "bench", Short: "Measure what this machine can do", Example: "  atoll bench tasks"}
	cmd.AddCommand(s.benchTasksCmd(), s.benchLossCmd(), s.benchLLMCmd(), s.benchShardCmd(), s.benchFedCmd(), s.benchSecAggCmd(), s.benchMemberCmd(), s.benchWeightsCmd(), s.benchWeightsMemberCmd())
	return cmd
}

func (s *session) benchTasksCmd() *cobra.Command {
	cfg := bench.Config{InFlight: []int{1, 16, 64, 256}, Modes: []string{"none", "quorum:3"}}
	cmd := &cobra.Command{
		Use: "tasks", Short: "Measure no-op tasks from submit to verified result", Args: cobra.NoArgs,
		Long: `Submit WebAssembly modules that do nothing, through the HTTP API, and wait for
each verified result: what is left is the cost of a task itself. Hub and nodes
run in a process of their own ("atoll up" in a temporary folder, every task
durable), the load comes from this one; on one machine they share its cores.

  tasks/s      verified results
  p50, p99     from submit to verified result
  cpu/task     of hub and nodes, child processes included; client: of this one
  syncs/task   transactions, each with one fsync
  rss          memory of the hub's process afterwards

With --url an existing hub is measured instead, with an admin's key.`,
		Example: "  atoll bench tasks --json > bench.json\n  atoll bench tasks --in-flight 64 --modes none --tasks 10000",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cfg.Tasks < 1 || cfg.Rounds < 1 {
				return usagef("--tasks and --rounds: want at least 1")
			}
			if s.url != "" {
				e, err := s.where()
				if err != nil {
					return err
				}
				cfg.URL, cfg.Key, cfg.CACert = e.URL, e.Key, e.CACert
			}
			return s.benchTasks(cmd.Context(), cfg)
		},
	}
	fl := cmd.Flags()
	fl.IntVar(&cfg.Tasks, "tasks", 4000, "`NUMBER` of tasks in each round; an eighth of that one at a time")
	fl.IntVar(&cfg.Rounds, "rounds", 3, "`NUMBER` of rounds of each setting; the median is shown")
	fl.IntSliceVar(&cfg.InFlight, "in-flight", cfg.InFlight, "`NUMBERS` of tasks to have in flight at once")
	fl.StringSliceVar(&cfg.Modes, "modes", cfg.Modes, "`MODES` of verification: none, quorum:3")
	fl.StringVar(&cfg.Profile, "cpuprofile", "", "`FILE` to write a CPU profile of the load generator to")
	s.jsonFlag(cmd)
	return cmd
}

func (s *session) benchLossCmd() *cobra.Command {
	nodes, rounds := 3, 5
	cmd := &cobra.Command{
		Use: "node-loss", Short: "Measure how soon a dead node's work goes on elsewhere", Args: cobra.NoArgs,
		Long: `Start a hub and nodes, each in a process of its own, and kill (SIGKILL) the node
that runs a part just then, round after round. Times are counted from the kill,
by the task's own events:

  noticed     the lease is lost
  elsewhere   the part runs on another node
  done        its verified result is there; each run takes 2 s`,
		Example: "  atoll bench node-loss\n  atoll bench node-loss --rounds 20 --json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := bench.Loss(cmd.Context(), nodes, rounds, s.err)
			if err != nil {
				return err
			}
			if s.asJSON {
				return s.printJSON(r)
			}
			rows := make([][]string, 0, len(r.Rounds))
			for _, x := range r.Rounds {
				rows = append(rows, []string{string(x.Killed), string(x.Spare), fmt.Sprintf("%d ms", x.NoticedMs), fmt.Sprintf("%d ms", x.ElsewhereMs), fmt.Sprintf("%d ms", x.DoneMs)})
			}
			return s.out.Table("KILLED SPARE NOTICED ELSEWHERE DONE", rows)
		},
	}
	cmd.Flags().IntVar(&nodes, "nodes", nodes, "start `N` nodes, each with an owner of its own")
	cmd.Flags().IntVar(&rounds, "rounds", rounds, "kill `N` nodes, one after the other")
	s.jsonFlag(cmd)
	return cmd
}

func (s *session) benchTasks(ctx context.Context, cfg bench.Config) error {
	cfg.Log = s.err
	bar := s.err.Bar("bench", 1)
	cfg.Watch = func(done, total int, what string) { bar.Set(done, total, what) }
	r, err := bench.Tasks(ctx, cfg)
	bar.Done()
	if err != nil {
		return err
	}
	if s.asJSON {
		return s.printJSON(r)
	}
	fmt.Fprintf(s.out, "%s, %d cores, %s/%s; %s, %d nodes, %d tasks in all\n", r.Machine.CPU, r.Machine.Cores, r.Machine.OS, r.Machine.Arch, strings.ToLower(r.Sizes), r.Nodes, r.Tasks)
	rows := make([][]string, 0, len(r.Rows))
	for _, x := range r.Rows {
		rows = append(rows, []string{x.Mode, fmt.Sprint(x.InFlight), fmt.Sprint(x.Tasks), fmt.Sprintf("%.0f", x.TasksPerS), fmt.Sprintf("%.2f ms", x.P50Ms), fmt.Sprintf("%.2f ms", x.P99Ms),
			measured(x.CPUMs, "%.3f ms"), measured(x.ClientCPUMs, "%.3f ms"), measured(x.Syncs, "%.2f"), measured(x.RSSMB, "%.0f MB")})
	}
	return s.out.Table("MODE IN-FLIGHT TASKS TASKS/S P50 P99 CPU/TASK CLIENT SYNCS/TASK RSS", rows)
}

func measured(v *float64, format string) string {
	if v == nil {
		return "-"
	}
	return fmt.Sprintf(format, *v)
}
