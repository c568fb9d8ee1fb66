package weights

import (
	"fmt"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// hfConfig is what matters of config.json. The file has dozens of other members
// that do not change the computation; those here either are hyperparameters or
// must be absent or have their usual value.
type hfConfig struct {
	ModelType string   `json:"model_type"`
	Layers    int      `json:"num_hidden_layers"`
	Dim       int      `json:"hidden_size"`
	FFN       int      `json:"intermediate_size"`
	Heads     int      `json:"num_attention_heads"`
	KVHeads   *int     `json:"num_key_value_heads"`
	HeadDim   *int     `json:"head_dim"`
	Vocab     int      `json:"vocab_size"`
	Context   int      `json:"max_position_embeddings"`
	NormEps   *float64 `json:"rms_norm_eps"`
	Tied      bool     `json:"tie_word_embeddings"`

	RopeTheta  *float64 `json:"rope_theta"`
	Scaling    *hfRope  `json:"rope_scaling"`
	Parameters *hfRope  `json:"rope_parameters"` // newer: theta and scaling together

	Window    jsontext.Value `json:"sliding_window"`
	UseWindow bool           `json:"use_sliding_window"`

	Activation    string         `json:"hidden_act"`
	AttentionBias bool           `json:"attention_bias"`
	MLPBias       bool           `json:"mlp_bias"`
	Partial       *float64       `json:"partial_rotary_factor"`
	Quantised     jsontext.Value `json:"quantization_config"`
	LayerTypes    []string       `json:"layer_types"`
}

// hfRope is rope_scaling or rope_parameters.
type hfRope struct {
	Type     string   `json:"rope_type"`
	OldType  string   `json:"type"`
	Theta    *float64 `json:"rope_theta"`
	Factor   float64  `json:"factor"`
	Low      float64  `json:"low_freq_factor"`
	High     float64  `json:"high_freq_factor"`
	Original int      `json:"original_max_position_embeddings"`

	// YaRN's, of which only the usual values are understood.
	Fast         *float64       `json:"beta_fast"`
	Slow         *float64       `json:"beta_slow"`
	Truncate     *bool          `json:"truncate"`
	AttnFactor   jsontext.Value `json:"attention_factor"`
	MScale       jsontext.Value `json:"mscale"`
	MScaleAllDim jsontext.Value `json:"mscale_all_dim"`
}

// The window of a Mistral whose config.json does not mention any, as Hugging
// Face's own code has it.
const mistralWindow = 4096

// parseConfig reads config.json.
func parseConfig(b []byte) (Config, error) {
	var h hfConfig
	if err := json.Unmarshal(b, &h); err != nil {
		return Config{}, fmt.Errorf("%w: %w", errMalformed, err)
	}
	c := Config{
		Layers: h.Layers, Dim: h.Dim, FFN: h.FFN, Heads: h.Heads, Vocab: h.Vocab, Context: h.Context,
		TiedEmbeddings: h.Tied, RoPE: RoPE{Style: Halves},
	}
	switch h.ModelType {
	case "llama", "mistral":
		c.Arch = Llama
	case "qwen2":
		c.Arch, c.QKVBias = Qwen2, true
	case "qwen3":
		c.Arch, c.QKNorm = Qwen3, true
	default:
		return c, fmt.Errorf("%w: model_type %.40q (llama, mistral, qwen2 and qwen3 are understood)", errUnsupported, h.ModelType)
	}
	if err := h.unusual(); err != nil {
		return c, err
	}
	if err := h.heads(&c); err != nil {
		return c, err
	}
	if h.NormEps == nil {
		return c, fmt.Errorf("%w: rms_norm_eps is missing", errMalformed)
	}
	var err error
	if c.NormEps, err = number("rms_norm_eps", *h.NormEps); err != nil {
		return c, err
	}
	if err := h.window(&c); err != nil {
		return c, err
	}
	if err := h.rope(&c); err != nil {
		return c, err
	}
	return c, c.check()
}

// unusual refuses settings that would make another computation.
func (h *hfConfig) unusual() error {
	switch {
	case h.Activation != "silu" && h.Activation != "":
		return fmt.Errorf("%w: hidden_act %.40q, want silu", errUnsupported, h.Activation)
	case h.AttentionBias || h.MLPBias:
		return fmt.Errorf("%w: attention_bias or mlp_bias", errUnsupported)
	case h.Partial != nil && *h.Partial != 1:
		return fmt.Errorf("%w: partial_rotary_factor %g", errUnsupported, *h.Partial)
	case given(h.Quantised):
		return fmt.Errorf("%w: quantization_config: use the model's original weights or a GGUF file", errUnsupported)
	}
	for _, kind := range h.LayerTypes {
		if kind != "full_attention" {
			return fmt.Errorf("%w: layer_types has %.40q, want full_attention alone", errUnsupported, kind)
		}
	}
	return nil
}

// given reports whether a member is there and not null.
func given(v jsontext.Value) bool { return len(v) > 0 && v.Kind() != 'n' }

func (h *hfConfig) heads(c *Config) error {
	switch {
	case h.KVHeads != nil:
		c.KVHeads = *h.KVHeads
	case h.ModelType == "llama": // before grouped queries, configs did not name it
		c.KVHeads = c.Heads
	default:
		return fmt.Errorf("%w: num_key_value_heads is missing", errMalformed)
	}
	switch {
	case h.HeadDim != nil:
		c.HeadDim = *h.HeadDim
	case h.ModelType == "qwen3":
		return fmt.Errorf("%w: head_dim is missing", errMalformed)
	case c.Heads < 1 || c.Dim%c.Heads != 0:
		return fmt.Errorf("%w: hidden_size %d does not divide into %d heads", errMalformed, c.Dim, c.Heads)
	default:
		c.HeadDim = c.Dim / c.Heads
	}
	return nil
}

func (h *hfConfig) window(c *Config) error {
	if h.ModelType != "mistral" {
		if h.UseWindow {
			return fmt.Errorf("%w: use_sliding_window, which differs from layer to layer", errUnsupported)
		}
		return nil
	}
	if len(h.Window) == 0 {
		c.Window = mistralWindow
	} else if given(h.Window) {
		if err := json.Unmarshal(h.Window, &c.Window); err != nil || c.Window < 1 {
			return fmt.Errorf("%w: sliding_window is %.40s, want a number over 0 or null", errMalformed, h.Window)
		}
	}
	return nil
}

func (h *hfConfig) rope(c *Config) error {
	scaling, theta := h.Scaling, h.RopeTheta
	if h.Parameters != nil {
		scaling = h.Parameters
		if scaling.Theta != nil {
			theta = scaling.Theta
		}
	}
	base := 10000.0
	if theta != nil {
		base = *theta
	}
	var err error
	r := &c.RoPE
	r.Dim = c.HeadDim
	if r.Base, err = number("rope_theta", base); err != nil || scaling == nil {
		return err
	}
	if r.Factor, err = number("the rotary scaling factor", scaling.Factor); err != nil {
		return err
	}
	kind := scaling.Type
	if kind == "" {
		kind = scaling.OldType
	}
	original := scaling.Original
	if original == 0 {
		original = c.Context
	}
	switch kind {
	case "default":
		r.Factor = 0
	case "linear":
		r.Scaling = Linear
	case "yarn":
		if err := scaling.usualYaRN(); err != nil {
			return err
		}
		r.Scaling, r.OriginalContext = YaRN, original
	case "llama3":
		if !(scaling.Factor >= 1 && scaling.Low > 0 && scaling.High > scaling.Low) || original < 1 || original > maxContext {
			return fmt.Errorf("%w: llama3 rotary scaling with factor %g, frequencies %g to %g, context %d", errMalformed, scaling.Factor, scaling.Low, scaling.High, original)
		}
		if err := r.check(c.HeadDim); err != nil || c.HeadDim > maxHeadDim {
			return fmt.Errorf("%w: head_dim %d: %w", errMalformed, c.HeadDim, err)
		}
		r.Factors = llama3Factors(r.Dim, r.Base, r.Factor, float32(scaling.Low), float32(scaling.High), original)
		r.Factor = 0
	default:
		return fmt.Errorf("%w: rotary scaling %.40q (linear, llama3 and yarn are understood)", errUnsupported, kind)
	}
	return nil
}

// usualYaRN refuses the variants of YaRN that models rarely use.
func (h *hfRope) usualYaRN() error {
	if h.Fast != nil && *h.Fast != yarnFast || h.Slow != nil && *h.Slow != yarnSlow || h.Truncate != nil && !*h.Truncate ||
		given(h.AttnFactor) || given(h.MScale) || given(h.MScaleAllDim) {
		return fmt.Errorf("%w: YaRN with beta_fast, beta_slow, truncate, attention_factor or mscale of its own", errUnsupported)
	}
	return nil
}
