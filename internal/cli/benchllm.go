package cli

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"atoll/internal/cli/bench"
)

func (s *session) benchLLMCmd() *cobra.Command {
	cfg := bench.LLMConfig{Models: []string{"135M", "1.1B"}, Threads: []int{1, 2}, Kernels: true}
	cmd := &cobra.Command{
		Use: "llm", Short: "Measure language models on this machine's processor", Args: cobra.NoArgs,
		Long: `Compute with language models of random weights (Q8_0), in this process: what they
say is nothing, what they cost is real.

  kernels   one thread multiplying a matrix with a vector (GB/s of weights) or with
            128 (GOP/s), beside a loop that only reads memory; matrices in binary32
            (GFLOP/s)
  models    tokens/s read (128 at once) and drawn (one by one); the share of the
            memory's speed that drawing comes to; 1, 4 and 16 answers together;
            the cost of checking the last 16 of 64 tokens by computing them again
  bits      a digest of the same computation on each instruction set that this
            machine has; they must be equal

With --rival, llama.cpp's llama-bench reads and draws the same between our rounds
from the same model's file, and the ratio is shown. With --numpy, NumPy's BLAS
(OpenBLAS, mostly), with one thread, does our products in binary32 between ours.`,
		Example: "  atoll bench llm --json > llm.json\n  atoll bench llm --models 135M --kernels=false --rival ./llama-bench\n  atoll bench llm --models= --numpy python3",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cfg.Rounds < 1 || len(cfg.Threads) == 0 || slices.Min(cfg.Threads) < 1 {
				return usagef("--rounds and --threads: want at least 1")
			}
			bar := s.err.Bar("bench", 1)
			cfg.Watch = func(done, total int, what string) { bar.Set(done, total, what) }
			r, err := bench.LLM(cmd.Context(), cfg)
			bar.Done()
			if err != nil {
				return err
			}
			if s.asJSON {
				return s.printJSON(r)
			}
			return errors.Join(s.showKernels(r), s.showModels(r))
		},
	}
	fl := cmd.Flags()
	fl.StringSliceVar(&cfg.Models, "models", cfg.Models, "`SHAPES` of models: 135M (0.3 GB of memory), 1.1B (1.5 GB)")
	fl.IntSliceVar(&cfg.Threads, "threads", cfg.Threads, "`NUMBERS` of threads")
	fl.IntVar(&cfg.Rounds, "rounds", 5, "`NUMBER` of rounds; medians are shown")
	fl.BoolVar(&cfg.Kernels, "kernels", cfg.Kernels, "measure single products too")
	fl.StringVar(&cfg.Rival, "rival", "", "`PATH` of llama.cpp's llama-bench")
	fl.StringVar(&cfg.NumPy, "numpy", "", "`PATH` of a Python that has NumPy")
	s.jsonFlag(cmd)
	return cmd
}

func (s *session) showKernels(r *bench.LLMReport) error {
	fmt.Fprintf(s.out, "%s, %d cores, %s/%s, computing with %s; medians of %d\n", r.Machine.CPU, r.Machine.Cores, r.Machine.OS, r.Machine.Arch, r.ISA, r.Rounds)
	var rows [][]string
	for _, isa := range slices.Sorted(maps.Keys(r.Bits)) {
		rows = append(rows, []string{isa, r.Bits[isa][:16]})
	}
	if err := s.out.Table("BITS DIGEST", rows); err != nil {
		return err
	}
	rows = nil
	for _, k := range r.Kernels {
		rows = append(rows, []string{fmt.Sprintf("%d×%d×%d", k.Rows, k.Cols, k.Vectors), k.From, fmt.Sprintf("%.1f", k.GBPerS), fmt.Sprintf("%.0f", k.GOPPerS), measured(k.Read, "%.1f GB/s")})
	}
	if rows != nil {
		if err := s.out.Table("KERNEL FROM GB/S GOP/S READING", rows); err != nil {
			return err
		}
	}
	rows = nil
	for _, f := range r.Floats {
		rows = append(rows, []string{fmt.Sprintf("%d×%d×%d", f.Rows, f.Cols, f.Vectors), fmt.Sprintf("%.1f", f.GFLOPPerS), measured(f.NumPy, "%.1f"), measured(f.NumPyRatio, "%.2f×")})
	}
	if r.NumPy != "" {
		fmt.Fprintf(s.out, "binary32 beside: %s; × is our speed to its\n", r.NumPy)
	}
	if rows != nil {
		return s.out.Table("BINARY32 GFLOP/S NUMPY RATIO", rows)
	}
	return nil
}

func (s *session) showModels(r *bench.LLMReport) error {
	var rows [][]string
	for _, m := range r.Models {
		row := []string{m.Model, fmt.Sprint(m.Threads), fmt.Sprintf("%.0f", m.Prefill), fmt.Sprintf("%.1f", m.Decode), fmt.Sprintf("%.0f %%", 100*m.Share)}
		for _, t := range m.Together {
			row = append(row, fmt.Sprintf("%.0f (%.0f ms)", t.Tokens, t.FirstToken))
		}
		row = append(row, fmt.Sprintf("%.0f %%", 100*m.Check.Share))
		if x := m.Rival; x != nil {
			row = append(row, fmt.Sprintf("%.0f (%.2f×)", x.Prefill, x.PrefillRatio), fmt.Sprintf("%.1f (%.2f×)", x.Decode, x.DecodeRatio))
		} else {
			row = append(row, "-", "-")
		}
		rows = append(rows, row)
	}
	if r.Rival != "" {
		fmt.Fprintf(s.out, "rival: %s; × is our speed to its\n", r.Rival)
	}
	if rows == nil {
		return nil
	}
	return s.out.Table("MODEL THREADS READ/S DRAWN/S OF-MEMORY 1-TOGETHER 4 16 SPAN-CHECK RIVAL-READ RIVAL-DRAWN", rows)
}
