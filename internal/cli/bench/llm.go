package bench

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"

	"atoll/internal/llm/weights"
	"atoll/internal/repro"
)

// LLMConfig says what to measure of language models.
type LLMConfig struct {
	Models  []string // names of [Shapes]
	Threads []int
	Rounds  int
	Kernels bool
	// Rival is the path of llama.cpp's llama-bench, to be run between our own
	// rounds on the same models; empty: none.
	Rival string
	// NumPy is the path of a Python whose NumPy multiplies between our own rounds;
	// empty: none.
	NumPy string
	Watch func(done, total int, what string)
}

// LLMReport is what language models cost here, computed in this process. Its JSON
// keys are stable. Numbers are medians of all rounds.
type LLMReport struct {
	Bench   string  `json:"bench"`
	Machine Machine `json:"machine"`
	ISA     string  `json:"isa"` // what computed; see [repro.Variable]
	Rounds  int     `json:"rounds"`
	// Bits is the digest of the same computation on each instruction set that is
	// here. They are equal, or the benchmark fails.
	Bits    map[string]string `json:"bits"`
	Kernels []KernelRow       `json:"kernels"`
	Floats  []FloatRow        `json:"floats"`
	Models  []ModelRow        `json:"models"`
	Rival   string            `json:"rival,omitempty"` // what it calls itself
	NumPy   string            `json:"numpy,omitempty"` // with its BLAS, or "absent: " and why
}

// Shape is a model to measure: weights are random.
type Shape struct {
	Name string
	weights.Config
}

// Shapes are those of SmolLM-135M and TinyLlama-1.1B, with tied embeddings.
var Shapes = []Shape{
	{"135M", shape(weights.Config{Layers: 30, Dim: 576, FFN: 1536, Heads: 9, KVHeads: 3, HeadDim: 64, Vocab: 49152})},
	{"1.1B", shape(weights.Config{Layers: 22, Dim: 2048, FFN: 5632, Heads: 32, KVHeads: 4, HeadDim: 64, Vocab: 32000})},
}

func shape(c weights.Config) weights.Config {
	c.Arch, c.Context, c.NormEps, c.TiedEmbeddings = weights.Llama, 2048, 1e-5, true
	c.RoPE = weights.RoPE{Style: weights.Interleaved, Dim: c.HeadDim, Base: 10000}
	return c
}

// LLM runs the benchmark.
func LLM(ctx context.Context, cfg LLMConfig) (*LLMReport, error) {
	shapes, err := chosen(cfg.Models)
	if err != nil {
		return nil, err
	}
	isa, err := repro.SelectISA(os.Getenv(repro.Variable))
	if err != nil {
		return nil, err
	}
	r := &LLMReport{Bench: "llm", Machine: machine(), ISA: isa.String(), Rounds: cfg.Rounds}
	cfg.Watch(0, 1, "same bits")
	if r.Bits, err = bits(ctx); err != nil {
		return nil, err
	}
	if cfg.Kernels {
		if r.Kernels, err = kernels(ctx, &cfg, isa); err != nil {
			return nil, err
		}
		if r.Floats, r.NumPy, err = floats(ctx, &cfg, isa); err != nil {
			return nil, err
		}
	}
	memory := numbers(fromMemory)
	for _, s := range shapes {
		rows, rival, err := models(ctx, &cfg, s, isa, memory)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.Name, err)
		}
		r.Models, r.Rival = append(r.Models, rows...), cmp.Or(rival, r.Rival)
	}
	return r, nil
}

func chosen(names []string) (out []Shape, err error) {
	for _, name := range names {
		i := slices.IndexFunc(Shapes, func(s Shape) bool { return s.Name == name })
		if i < 0 {
			return nil, fmt.Errorf("model %q: want 135M or 1.1B", name)
		}
		out = append(out, Shapes[i])
	}
	return out, nil
}

// middle is the median; of an even number the lower.
func middle(all []float64) float64 {
	if len(all) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(all))
	return s[(len(s)-1)/2]
}
