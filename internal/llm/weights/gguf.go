package weights

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"atoll/internal/llm/gguf"
	"atoll/internal/llm/quant"
	"atoll/internal/llm/tokenizer"
)

// ropeFactors is the tensor in which GGUF keeps RoPE.Factors.
const ropeFactors = "rope_freqs.weight"

// ggufKeys are the hyperparameters, less the name of the architecture, that are
// understood or change nothing. Any other could mean another computation.
var ggufKeys = []string{
	"block_count", "context_length", "embedding_length", "feed_forward_length", "vocab_size",
	"attention.head_count", "attention.head_count_kv", "attention.key_length", "attention.value_length",
	"attention.layer_norm_rms_epsilon", "attention.sliding_window",
	"rope.dimension_count", "rope.freq_base", "rope.scaling.type", "rope.scaling.factor",
	"rope.scaling.original_context_length", "rope.scaling.finetuned", "rope.scale_linear",
	"expert_used_count", "tensor_data_layout", "pooling_type",
}

// usualKeys may be there if they have the value that is understood.
var usualKeys = map[string]float64{
	"expert_count": 0, "rope.scaling.attn_factor": 1, "rope.scaling.yarn_attn_factor": 1, "rope.scaling.yarn_ext_factor": 1,
	"rope.scaling.yarn_beta_fast": yarnFast, "rope.scaling.yarn_beta_slow": yarnSlow,
}

func (m *Model) readGGUF(r io.ReaderAt, size int64) error {
	m.Format = "gguf"
	f, err := gguf.Read(r, size)
	if err != nil {
		return err
	}
	if parts, err := f.Meta.Int("split.count", 1); err != nil || parts > 1 {
		return fmt.Errorf("%w: this is one of %d files of a split model; join them with llama-gguf-split --merge", errUnsupported, parts)
	}
	found := make(map[string]gguf.Tensor, len(f.Tensors))
	for _, t := range f.Tensors {
		found[t.Name] = t
	}
	if err := m.ggufConfig(f.Meta, found); err != nil {
		return err
	}
	if err := m.Config.check(); err != nil {
		return err
	}
	if t, ok := found[ropeFactors]; ok {
		if err := m.readFactors(r, t); err != nil {
			return err
		}
		delete(found, ropeFactors)
	}
	for _, id := range m.Config.Tensors() {
		t, ok := found[id.String()]
		if !ok {
			return fmt.Errorf("%w: tensor %s is missing", errMalformed, id)
		}
		delete(found, t.Name)
		rows := 1
		for _, d := range t.Dims[1:] {
			rows *= d
		}
		if err := m.add(id, Tensor{Name: t.Name, File: m.Path, Type: t.Type, Rows: rows, Cols: t.Dims[0], Offset: t.Offset, src: r}); err != nil {
			return err
		}
	}
	if err := leftover(found); err != nil {
		return err
	}
	if m.License, err = f.Meta.Text("general.license"); err != nil {
		return err
	}
	return m.tokens(tokenizer.FromGGUF(f.Meta))
}

// leftover refuses tensors that no part of the model asked for.
func leftover[T any](found map[string]T) error {
	if len(found) == 0 {
		return nil
	}
	names := make([]string, 0, len(found))
	for name := range found {
		names = append(names, name)
	}
	slices.Sort(names)
	return fmt.Errorf("%w: %d tensors have no place in this architecture, the first is %q", errUnsupported, len(names), names[0])
}

// ggufConfig reads the hyperparameters. Those that GGUF tells by the presence of
// tensors are read from found.
func (m *Model) ggufConfig(meta gguf.Meta, found map[string]gguf.Tensor) error {
	arch, err := meta.Text("general.architecture")
	if err != nil {
		return err
	}
	c := &m.Config
	switch c.Arch = Arch(arch); c.Arch {
	case Llama:
		c.RoPE.Style = Interleaved
	case Qwen2, Qwen3:
		c.RoPE.Style = Halves
	default:
		return fmt.Errorf("%w: architecture %.40q (llama, qwen2 and qwen3 are understood)", errUnsupported, arch)
	}
	if err := knownKeys(meta, arch); err != nil {
		return err
	}
	g := &getter{meta: meta, arch: arch}
	c.Layers, c.Dim, c.FFN = g.int("block_count", 0), g.int("embedding_length", 0), g.int("feed_forward_length", 0)
	c.Heads, c.Context, c.Window = g.int("attention.head_count", 0), g.int("context_length", 0), g.int("attention.sliding_window", 0)
	c.KVHeads = g.int("attention.head_count_kv", c.Heads)
	if c.HeadDim = g.int("attention.key_length", 0); c.HeadDim == 0 && c.Heads > 0 && c.Dim%c.Heads == 0 {
		c.HeadDim = c.Dim / c.Heads
	}
	c.NormEps = g.float("attention.layer_norm_rms_epsilon", 0)
	if t := found[ID{Part: TokenEmbedding}.String()]; len(t.Dims) == 2 {
		c.Vocab = t.Dims[1]
	}
	if n := g.int("attention.value_length", c.HeadDim); n != c.HeadDim {
		return fmt.Errorf("%w: heads of %d with values of %d", errUnsupported, c.HeadDim, n)
	}
	if n := g.int("vocab_size", c.Vocab); n != c.Vocab {
		return fmt.Errorf("%w: %s.vocab_size is %d, but the embedding has %d rows", errMalformed, arch, n, c.Vocab)
	}
	_, own := found[ID{Part: Output}.String()]
	_, bias := found[ID{Part: AttnQBias}.String()]
	_, norm := found[ID{Part: AttnQNorm}.String()]
	c.TiedEmbeddings, c.QKVBias, c.QKNorm = !own, bias, norm
	g.rope(c)
	return g.err
}

// knownKeys refuses hyperparameters that are not understood.
func knownKeys(meta gguf.Meta, arch string) error {
	for _, key := range meta.Keys() {
		name, ok := strings.CutPrefix(key, arch+".")
		if !ok || slices.Contains(ggufKeys, name) {
			continue
		}
		usual, ok := usualKeys[name]
		if !ok {
			return fmt.Errorf("%w: hyperparameter %s is not understood", errUnsupported, key)
		}
		v, err := meta.Float(key, usual)
		if err != nil {
			return err
		}
		if v != usual {
			return fmt.Errorf("%w: hyperparameter %s is %g; only %g is understood", errUnsupported, key, v, usual)
		}
	}
	return nil
}

// getter reads hyperparameters of one architecture and keeps the first error.
type getter struct {
	meta gguf.Meta
	arch string
	err  error
}

func (g *getter) int(name string, def int) int {
	n, err := g.meta.Int(g.arch+"."+name, def)
	if g.err == nil {
		g.err = err
	}
	return n
}

func (g *getter) float(name string, def float64) float32 {
	f, err := g.meta.Float(g.arch+"."+name, def)
	if g.err == nil {
		g.err = err
	}
	n, err := number(name, f)
	if g.err == nil {
		g.err = err
	}
	return n
}

func (g *getter) rope(c *Config) {
	r := &c.RoPE
	r.Dim = g.int("rope.dimension_count", c.HeadDim)
	r.Base = g.float("rope.freq_base", 10000)
	kind, err := g.meta.Text(g.arch + ".rope.scaling.type")
	if g.err == nil {
		g.err = err
	}
	switch kind {
	case "", "none":
		// An older spelling of linear scaling has a key of its own.
		if f := g.float("rope.scale_linear", 1); f != 1 {
			r.Scaling, r.Factor = Linear, f
		}
	default:
		r.Scaling, r.Factor = Scaling(kind), g.float("rope.scaling.factor", 0)
		if r.Scaling == YaRN {
			r.OriginalContext = g.int("rope.scaling.original_context_length", 0)
		}
	}
}

// readFactors reads RoPE.Factors, which are needed whatever layers are loaded.
func (m *Model) readFactors(r io.ReaderAt, t gguf.Tensor) error {
	if t.Type != quant.F32 || len(t.Dims) != 1 || t.Dims[0] != m.Config.RoPE.Dim/2 {
		return fmt.Errorf("%w: tensor %s is %s of shape %v, want F32 of %d", errMalformed, t.Name, t.Type, t.Dims, m.Config.RoPE.Dim/2)
	}
	raw := make([]byte, t.Bytes)
	if n, err := r.ReadAt(raw, t.Offset); n < len(raw) {
		return fmt.Errorf("read: %w", err)
	}
	m.Config.RoPE.Factors = make([]float32, t.Dims[0])
	if err := quant.Decode(m.Config.RoPE.Factors, raw, t.Type); err != nil {
		return fmt.Errorf("%w: tensor %s: %w", errMalformed, t.Name, err)
	}
	return m.Config.check()
}
