package weights

import (
	"context"
	"encoding/binary"
	"io"
	"math"

	"atoll/internal/core"
	"atoll/internal/llm/gguf"
	"atoll/internal/llm/quant"
)

// Export writes the model as a canonical GGUF file, in format quant.Q8_0 or
// quant.F32. The bytes depend on nothing but the content of the model and the
// format: not on the machine, the path or the time; and exporting a file in its
// own format gives the same file again.
//
//   - Metadata: the architecture, the hyperparameters, the tokenizer, the chat
//     template and the licence, in ascending order. All else is dropped.
//   - Tensors: in the order of [Config.Tensors]; Llama 3's rotary factors first.
//     With Q8_0, matrices are quantised by the rule of package quant, or copied if
//     they are Q8_0 already; norms and biases stay F32, and so does a matrix whose
//     rows are no multiple of 32.
//   - Rows of q and k are put in the order that GGUF has for the architecture:
//     interleaved for llama, halves for Qwen. A row keeps its bits.
//
// Each weight is read once; one that is not finite is an error and w's content is
// then of no use.
func (m *Model) Export(ctx context.Context, w io.Writer, format quant.Type) error {
	if format != quant.Q8_0 && format != quant.F32 {
		return core.Errorf(core.Invalid, "export as %s: want Q8_0 or F32", format)
	}
	var sources []gguf.Source
	if f := m.Config.RoPE.Factors; f != nil {
		sources = append(sources, gguf.Source{Name: ropeFactors, Type: quant.F32, Dims: []int{len(f)}, Data: func(w io.Writer) error {
			return binary.Write(w, binary.LittleEndian, f)
		}})
	}
	for _, id := range m.Config.Tensors() {
		sources = append(sources, m.source(ctx, id, format))
	}
	_, err := gguf.Write(w, m.metadata(format), sources)
	return err
}

// metadata describes the model in the words of GGUF.
func (m *Model) metadata(format quant.Type) gguf.Meta {
	c := &m.Config
	arch := string(c.Arch)
	meta := gguf.Meta{
		"general.architecture":         arch,
		"general.quantization_version": uint32(2),
		"general.file_type":            fileTypes[format],

		arch + ".block_count":                      uint32(c.Layers),
		arch + ".context_length":                   uint32(c.Context),
		arch + ".embedding_length":                 uint32(c.Dim),
		arch + ".feed_forward_length":              uint32(c.FFN),
		arch + ".vocab_size":                       uint32(c.Vocab),
		arch + ".attention.head_count":             uint32(c.Heads),
		arch + ".attention.head_count_kv":          uint32(c.KVHeads),
		arch + ".attention.key_length":             uint32(c.HeadDim),
		arch + ".attention.value_length":           uint32(c.HeadDim),
		arch + ".attention.layer_norm_rms_epsilon": c.NormEps,
		arch + ".rope.dimension_count":             uint32(c.RoPE.Dim),
		arch + ".rope.freq_base":                   c.RoPE.Base,
	}
	if c.Window > 0 {
		meta[arch+".attention.sliding_window"] = uint32(c.Window)
	}
	if c.RoPE.Scaling != NoScaling {
		meta[arch+".rope.scaling.type"] = string(c.RoPE.Scaling)
		meta[arch+".rope.scaling.factor"] = c.RoPE.Factor
	}
	if c.RoPE.Scaling == YaRN {
		meta[arch+".rope.scaling.original_context_length"] = uint32(c.RoPE.OriginalContext)
	}
	if m.License != "" {
		meta["general.license"] = m.License
	}
	m.Vocab.Metadata(meta)
	return meta
}

// fileTypes are GGUF's numbers for "mostly this format".
var fileTypes = map[quant.Type]uint32{quant.F32: 0, quant.Q8_0: 7}

// source describes one tensor of the canonical file.
func (m *Model) source(ctx context.Context, id ID, format quant.Type) gguf.Source {
	t := m.tensors[id]
	out := gguf.Source{Name: id.String(), Type: format, Dims: []int{t.Cols, t.Rows}}
	if id.Part.vector() {
		out.Dims = []int{t.Cols}
	}
	if id.Part.vector() || t.Cols%quant.Q8Elements != 0 {
		out.Type = quant.F32
	}
	group, order := m.reorder(id)
	out.Data = func(w io.Writer) error {
		size, err := out.Type.RowBytes(t.Cols)
		if err != nil {
			return err
		}
		step := max(1, chunk/size)
		if group > 0 {
			step = group
		}
		rows, ordered := make([]byte, step*size), make([]byte, step*size)
		for r := 0; r < t.Rows; r += step {
			if err := ctx.Err(); err != nil {
				return err
			}
			n := min(step, t.Rows-r)
			if err := t.encode(rows[:n*size], r, n, out.Type); err != nil {
				return err
			}
			for i := range n {
				copy(ordered[i*size:(i+1)*size], rows[order(i)*size:])
			}
			if _, err := w.Write(ordered[:n*size]); err != nil {
				return err
			}
		}
		return nil
	}
	return out
}

// reorder returns how the rows of a tensor are to be put in the file: in groups
// of so many rows (0 for any number), row i of a group being the tensor's row
// order(i).
func (m *Model) reorder(id ID) (group int, order func(int) int) {
	c := &m.Config
	same := func(i int) int { return i }
	if c.Arch != Llama || c.RoPE.Style != Halves {
		return 0, same
	}
	switch id.Part {
	case AttnQ, AttnK:
	default:
		return 0, same
	}
	// Only directories of Hugging Face's are so, where a whole head turns.
	return c.HeadDim, func(i int) int { return i%2*(c.HeadDim/2) + i/2 }
}

// encode reads n rows as bytes of the format given.
func (t *Tensor) encode(dst []byte, row, n int, format quant.Type) error {
	if format == quant.Q8_0 {
		return t.ReadQ8(dst, row, n)
	}
	x := make([]float32, n*t.Cols)
	if err := t.ReadRows(x, row, n); err != nil {
		return err
	}
	for i, v := range x {
		binary.LittleEndian.PutUint32(dst[4*i:], math.Float32bits(v))
	}
	return nil
}
