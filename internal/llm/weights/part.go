package weights

import "fmt"

// Part names a tensor by what it does.
type Part int

// The parts. Matrices have one row for each output and one column for each
// input; vectors are a single row.
const (
	TokenEmbedding Part = iota // Vocab × Dim
	OutputNorm                 // 1 × Dim
	Output                     // Vocab × Dim

	// Once in each layer:

	AttnNorm  // 1 × Dim
	AttnQ     // Heads·HeadDim × Dim; head h is rows h·HeadDim and on
	AttnK     // KVHeads·HeadDim × Dim
	AttnV     // KVHeads·HeadDim × Dim
	AttnQBias // 1 × Heads·HeadDim
	AttnKBias // 1 × KVHeads·HeadDim
	AttnVBias // 1 × KVHeads·HeadDim
	AttnQNorm // 1 × HeadDim
	AttnKNorm // 1 × HeadDim
	AttnOut   // Dim × Heads·HeadDim
	FFNNorm   // 1 × Dim
	FFNGate   // FFN × Dim
	FFNUp     // FFN × Dim
	FFNDown   // Dim × FFN
)

// ID names one tensor of a model. Layer counts from 0 and is 0 for the parts
// that a model has only once.
type ID struct {
	Part  Part
	Layer int
}

// names are a part's names in GGUF files and in Hugging Face's, the latter less
// its prefix ("model." or "model.layers.N.").
type names struct{ gguf, hf string }

var partNames = [...]names{
	TokenEmbedding: {"token_embd.weight", "embed_tokens.weight"},
	OutputNorm:     {"output_norm.weight", "norm.weight"},
	Output:         {"output.weight", "lm_head.weight"},
	AttnNorm:       {"attn_norm.weight", "input_layernorm.weight"},
	AttnQ:          {"attn_q.weight", "self_attn.q_proj.weight"},
	AttnK:          {"attn_k.weight", "self_attn.k_proj.weight"},
	AttnV:          {"attn_v.weight", "self_attn.v_proj.weight"},
	AttnQBias:      {"attn_q.bias", "self_attn.q_proj.bias"},
	AttnKBias:      {"attn_k.bias", "self_attn.k_proj.bias"},
	AttnVBias:      {"attn_v.bias", "self_attn.v_proj.bias"},
	AttnQNorm:      {"attn_q_norm.weight", "self_attn.q_norm.weight"},
	AttnKNorm:      {"attn_k_norm.weight", "self_attn.k_norm.weight"},
	AttnOut:        {"attn_output.weight", "self_attn.o_proj.weight"},
	FFNNorm:        {"ffn_norm.weight", "post_attention_layernorm.weight"},
	FFNGate:        {"ffn_gate.weight", "mlp.gate_proj.weight"},
	FFNUp:          {"ffn_up.weight", "mlp.up_proj.weight"},
	FFNDown:        {"ffn_down.weight", "mlp.down_proj.weight"},
}

// String returns the tensor's canonical name, which is that of GGUF:
// "blk.3.attn_q.weight".
func (id ID) String() string {
	if id.Part < AttnNorm {
		return partNames[id.Part].gguf
	}
	return fmt.Sprintf("blk.%d.%s", id.Layer, partNames[id.Part].gguf)
}

// huggingFace returns the tensor's name in Hugging Face's checkpoints.
func (id ID) huggingFace() string {
	switch {
	case id.Part == Output:
		return partNames[Output].hf
	case id.Part < AttnNorm:
		return "model." + partNames[id.Part].hf
	}
	return fmt.Sprintf("model.layers.%d.%s", id.Layer, partNames[id.Part].hf)
}

// Tensors returns the IDs of all tensors of the model in canonical order: the
// embedding, the layers one after another, the output. Tensors of a range of
// layers are therefore neighbours in a canonical file.
func (c *Config) Tensors() []ID {
	out := []ID{{Part: TokenEmbedding}}
	for l := range c.Layers {
		for p := AttnNorm; p <= FFNDown; p++ {
			if c.has(p) {
				out = append(out, ID{p, l})
			}
		}
	}
	out = append(out, ID{Part: OutputNorm})
	if c.has(Output) {
		out = append(out, ID{Part: Output})
	}
	return out
}

// has reports whether the model has a tensor of this part of its own.
func (c *Config) has(p Part) bool {
	switch p {
	case Output:
		return !c.TiedEmbeddings
	case AttnQBias, AttnKBias, AttnVBias:
		return c.QKVBias
	case AttnQNorm, AttnKNorm:
		return c.QKNorm
	}
	return true
}

// Shape returns the number of rows and of columns of a part.
func (c *Config) Shape(p Part) (rows, cols int) {
	q, kv := c.Heads*c.HeadDim, c.KVHeads*c.HeadDim
	switch p {
	case TokenEmbedding, Output:
		return c.Vocab, c.Dim
	case AttnQ:
		return q, c.Dim
	case AttnK, AttnV:
		return kv, c.Dim
	case AttnQBias:
		return 1, q
	case AttnKBias, AttnVBias:
		return 1, kv
	case AttnQNorm, AttnKNorm:
		return 1, c.HeadDim
	case AttnOut:
		return c.Dim, q
	case FFNGate, FFNUp:
		return c.FFN, c.Dim
	case FFNDown:
		return c.Dim, c.FFN
	}
	return 1, c.Dim
}

// vector reports whether a part is a single row: a norm or a bias.
func (p Part) vector() bool {
	switch p {
	case OutputNorm, AttnNorm, AttnQBias, AttnKBias, AttnVBias, AttnQNorm, AttnKNorm, FFNNorm:
		return true
	}
	return false
}
