package weights_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"atoll/internal/core"
	"atoll/internal/llm/gguf"
	"atoll/internal/llm/llmtest"
	"atoll/internal/llm/quant"
	"atoll/internal/llm/weights"
)

// parts is a GGUF file taken apart, to be changed and put together again.
type parts struct {
	meta    gguf.Meta
	tensors []gguf.Source
	data    map[string][]byte
}

func takeApart(t testing.TB, path string) *parts {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := gguf.Read(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	p := &parts{meta: f.Meta, data: map[string][]byte{}}
	for _, x := range f.Tensors {
		p.data[x.Name] = bytes.Clone(b[x.Offset : x.Offset+x.Bytes])
		p.tensors = append(p.tensors, gguf.Source{Name: x.Name, Type: x.Type, Dims: x.Dims})
	}
	return p
}

func (p *parts) join(t testing.TB) []byte {
	t.Helper()
	var b bytes.Buffer
	for i := range p.tensors {
		x := &p.tensors[i]
		x.Data = func(w io.Writer) error { _, err := w.Write(p.data[x.Name]); return err }
	}
	if _, err := gguf.Write(&b, p.meta, p.tensors); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func (p *parts) rename(from, to string) {
	for i := range p.tensors {
		if p.tensors[i].Name == from {
			p.tensors[i].Name, p.data[to] = to, p.data[from]
		}
	}
}

func (p *parts) add(name string, n int) {
	p.tensors = append(p.tensors, gguf.Source{Name: name, Type: quant.F32, Dims: []int{n}})
	p.data[name] = make([]byte, 4*n)
}

func (p *parts) remove(name string) {
	for i := range p.tensors {
		if p.tensors[i].Name == name {
			p.tensors = append(p.tensors[:i], p.tensors[i+1:]...)
			return
		}
	}
}

// refused checks that an error is of the kind, names the file and says want.
func refused(t *testing.T, name, file string, err error, kind core.Kind, want string) {
	t.Helper()
	switch {
	case err == nil:
		t.Errorf("%s: accepted", name)
	case core.KindOf(err) != kind:
		t.Errorf("%s: %v is %s, want %s", name, err, core.KindOf(err), kind)
	case !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), file):
		t.Errorf("%s: %v; want %q and the file's name", name, err, want)
	}
}

func TestBadGGUF(t *testing.T) {
	t.Parallel()
	set := func(key string, v any) func(*parts) { return func(p *parts) { p.meta[key] = v } }
	for _, c := range []struct {
		name   string
		change func(*parts)
		kind   core.Kind
		want   string
	}{
		{"no architecture", func(p *parts) { delete(p.meta, "general.architecture") }, core.Unsupported, `architecture ""`},
		{"another architecture", set("general.architecture", "gemma2"), core.Unsupported, "gemma2"},
		{"a mixture of experts", set("llama.expert_count", uint32(8)), core.Unsupported, "llama.expert_count is 8"},
		{"YaRN of its own", set("llama.rope.scaling.yarn_beta_fast", float32(16)), core.Unsupported, "yarn_beta_fast is 16"},
		{"a factor that is no number", set("llama.rope.scaling.attn_factor", "x"), core.Invalid, "attn_factor"},
		{"a split model", set("split.count", uint16(3)), core.Unsupported, "one of 3 files"},
		{"an unknown hyperparameter", set("llama.logit_scale", float32(2)), core.Unsupported, "llama.logit_scale"},
		{"layers of a wrong type", set("llama.block_count", "two"), core.Invalid, "llama.block_count"},
		{"a layer too many", set("llama.block_count", uint32(3)), core.Invalid, "blk.2.attn_norm.weight is missing"},
		{"a layer too few", set("llama.block_count", uint32(1)), core.Unsupported, "blk.1."},
		{"no layers", set("llama.block_count", uint32(0)), core.Invalid, "number of layers is 0"},
		{"too many layers", set("llama.block_count", uint32(1<<31)), core.Invalid, "number of layers"},
		{"another width", set("llama.embedding_length", uint32(64)), core.Invalid, "call for"},
		{"heads that do not divide", set("llama.attention.head_count_kv", uint32(3)), core.Invalid, "cannot share"},
		{"values of another length", set("llama.attention.value_length", uint32(4)), core.Unsupported, "values of 4"},
		{"a vocabulary that is not the embedding's", set("llama.vocab_size", uint32(7)), core.Invalid, "vocab_size"},
		{"epsilon 0", set("llama.attention.layer_norm_rms_epsilon", float32(0)), core.Invalid, "epsilon"},
		{"epsilon NaN", set("llama.attention.layer_norm_rms_epsilon", float32(math.NaN())), core.Invalid, "layer_norm_rms_epsilon"},
		{"rotary base 0", set("llama.rope.freq_base", float32(0)), core.Invalid, "rotary base"},
		{"an odd number of turning elements", set("llama.rope.dimension_count", uint32(7)), core.Invalid, "even"},
		{"more turning elements than a head has", set("llama.rope.dimension_count", uint32(1<<30)), core.Invalid, "even"},
		{"unknown scaling", set("llama.rope.scaling.type", "longrope"), core.Unsupported, "longrope"},
		{"linear scaling by 0", set("llama.rope.scaling.type", "linear"), core.Invalid, "factor"},
		{"a window below 0", set("llama.attention.sliding_window", int32(-5)), core.Invalid, "window"},
		{"a tensor less", func(p *parts) { p.remove("blk.1.ffn_up.weight") }, core.Invalid, "blk.1.ffn_up.weight is missing"},
		{"a tensor more", func(p *parts) { p.add("blk.0.ffn_gate_inp.weight", 8) }, core.Unsupported, "blk.0.ffn_gate_inp.weight"},
		{"one bias", func(p *parts) { p.add("blk.0.attn_q.bias", 32) }, core.Invalid, "blk.0.attn_k.bias is missing"},
		{"a tensor of another name", func(p *parts) { p.rename("output_norm.weight", "norm.weight") }, core.Invalid, "output_norm.weight is missing"},
		{"factors that do not fit", func(p *parts) { p.remove("rope_freqs.weight"); p.add("rope_freqs.weight", 3) }, core.Invalid, "rope_freqs.weight"},
		{"factors of 0", func(p *parts) { clear(p.data["rope_freqs.weight"]) }, core.Invalid, "rotary factor 0"},
		{"factors that are NaN", func(p *parts) { copy(p.data["rope_freqs.weight"], []byte{0, 0, 0xC0, 0x7F}) }, core.Invalid, "rope_freqs.weight"},
		{"no tokenizer", func(p *parts) { delete(p.meta, "tokenizer.ggml.model") }, core.Invalid, "tokenizer.ggml.model"},
		{"a token less", func(p *parts) {
			tokens, kinds := p.meta["tokenizer.ggml.tokens"].([]string), p.meta["tokenizer.ggml.token_type"].([]int32)
			p.meta["tokenizer.ggml.tokens"], p.meta["tokenizer.ggml.token_type"] = tokens[:431], kinds[:431]
		}, core.Invalid, "431 tokens, the embedding 432"},
	} {
		p := takeApart(t, "testdata/llama-q8.gguf")
		c.change(p)
		b := p.join(t)
		_, err := weights.FromGGUF("some.gguf", bytes.NewReader(b), int64(len(b)))
		refused(t, c.name, "some.gguf", err, c.kind, c.want)
	}
}

// NaN and infinities are found when they are read, whatever the format, and named.
func TestNotFiniteWeights(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		path, tensor string
		poison       []byte
	}{
		"a NaN weight":       {"testdata/llama-bf16.gguf", "blk.1.ffn_up.weight", []byte{0xC0, 0x7F}},
		"an infinite weight": {"testdata/qwen3-f16.gguf", "blk.0.attn_v.weight", []byte{0x00, 0xFC}},
		"a NaN scale":        {"testdata/qwen3-q8.gguf", "blk.0.attn_v.weight", []byte{0x01, 0x7C}},
		"a NaN norm":         {"testdata/qwen3-q8.gguf", "output_norm.weight", []byte{0, 0, 0xC0, 0x7F}},
	} {
		p := takeApart(t, c.path)
		copy(p.data[c.tensor], c.poison)
		b := p.join(t)
		m := fromBytes(t, b)
		refused(t, name, "test.gguf", m.Verify(context.Background()), core.Invalid, c.tensor)
		refused(t, name, "test.gguf", m.Export(context.Background(), io.Discard, quant.Q8_0), core.Invalid, c.tensor)
	}
}

// editJSON changes a member of a JSON file; nil removes it.
func editJSON(t *testing.T, path, key string, value any) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	object := map[string]any{}
	if err := json.Unmarshal(b, &object); err != nil {
		t.Fatal(err)
	}
	if object[key] = value; value == nil {
		delete(object, key)
	}
	if b, err = json.Marshal(object); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestBadDirectory(t *testing.T) {
	t.Parallel()
	config := func(key string, v any) func(*testing.T, string) {
		return func(t *testing.T, dir string) { editJSON(t, filepath.Join(dir, "config.json"), key, v) }
	}
	remove := func(name string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	text := func(name, content string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, c := range []struct {
		name   string
		change func(*testing.T, string)
		kind   core.Kind
		want   string
	}{
		{"no config.json", remove("config.json"), core.NotFound, "as Hugging Face publishes it: "},
		{"no tokenizer.json", remove("tokenizer.json"), core.NotFound, "tokenizer.json"},
		{"a shard less", remove("model-00002-of-00002.safetensors"), core.Invalid, "model-00002-of-00002.safetensors is missing"},
		{"no index", remove("model.safetensors.index.json"), core.Invalid, "model.safetensors is missing"},
		{"config.json is no JSON", text("config.json", "{"), core.Invalid, "config.json"},
		{"config.json says it twice", text("config.json", `{"model_type":"llama","model_type":"qwen2"}`), core.Invalid, "model_type"},
		{"an unknown model", config("model_type", "mixtral"), core.Unsupported, "mixtral"},
		{"another activation", config("hidden_act", "gelu"), core.Unsupported, "gelu"},
		{"biases of attention", config("attention_bias", true), core.Unsupported, "attention_bias"},
		{"already quantised", config("quantization_config", map[string]any{"bits": 4}), core.Unsupported, "quantization_config"},
		{"partial rotation", config("partial_rotary_factor", 0.5), core.Unsupported, "partial_rotary_factor"},
		{"layers of several kinds", config("layer_types", []string{"full_attention", "sliding_attention"}), core.Unsupported, "sliding_attention"},
		{"a layer more than there are tensors", config("num_hidden_layers", 3), core.Invalid, "model.layers.2."},
		{"a layer less", config("num_hidden_layers", 1), core.Unsupported, "model.layers.1."},
		{"another width", config("hidden_size", 64), core.Invalid, "call for"},
		{"another vocabulary", config("vocab_size", 500), core.Invalid, "model.embed_tokens.weight"},
		{"tied although there is a matrix", config("tie_word_embeddings", "yes"), core.Invalid, "tie_word_embeddings"},
		{"no epsilon", config("rms_norm_eps", nil), core.Invalid, "rms_norm_eps is missing"},
		{"heads below 0", config("num_attention_heads", -4), core.Invalid, "heads"},
		{"dynamic scaling", config("rope_scaling", map[string]any{"type": "dynamic", "factor": 2}), core.Unsupported, "dynamic"},
		{"llama3 scaling turned round", config("rope_scaling", map[string]any{"rope_type": "llama3", "factor": 8, "low_freq_factor": 4, "high_freq_factor": 1}), core.Invalid, "llama3"},
		{"YaRN of its own", config("rope_scaling", map[string]any{"rope_type": "yarn", "factor": 4, "mscale": 0.7}), core.Unsupported, "mscale"},
		{"a head that is too long", config("head_dim", 1<<20), core.Invalid, "head"},
		{"an index that points elsewhere", text("model.safetensors.index.json", `{"weight_map":{"a":"../x.safetensors"}}`), core.Invalid, "../x.safetensors"},
		{"an index that disagrees", func(t *testing.T, dir string) {
			path := filepath.Join(dir, "model.safetensors.index.json")
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			text("model.safetensors.index.json", strings.Replace(string(b), "00001-of", "00002-of", 1))(t, dir)
		}, core.Invalid, "the index says"},
	} {
		dir := filepath.Join(t.TempDir(), "model")
		if err := os.CopyFS(dir, os.DirFS("testdata/llama")); err != nil {
			t.Fatal(err)
		}
		c.change(t, dir)
		m, err := weights.Open(dir, weights.Options{})
		if err == nil {
			_ = m.Close()
		}
		refused(t, c.name, dir, err, c.kind, c.want)
	}
}

func TestOtherConfigs(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		key   string
		value any
		check func(weights.Config) bool
	}{
		"newer rope_parameters": {"rope_parameters", map[string]any{"rope_type": "default", "rope_theta": 20000}, func(c weights.Config) bool {
			return c.RoPE.Base == 20000 && c.RoPE.Factors == nil
		}},
		"yarn": {"rope_scaling", map[string]any{"type": "yarn", "factor": 4, "original_max_position_embeddings": 64}, func(c weights.Config) bool {
			return c.RoPE.Scaling == weights.YaRN && c.RoPE.Factor == 4 && c.RoPE.OriginalContext == 64
		}},
		"linear": {"rope_scaling", map[string]any{"type": "linear", "factor": 2}, func(c weights.Config) bool {
			return c.RoPE.Scaling == weights.Linear && c.RoPE.Factor == 2
		}},
		"mistral without a window": {"model_type", "mistral", func(c weights.Config) bool { return c.Arch == weights.Llama && c.Window == 4096 }},
	} {
		dir := filepath.Join(t.TempDir(), "model")
		if err := os.CopyFS(dir, os.DirFS("testdata/llama")); err != nil {
			t.Fatal(err)
		}
		editJSON(t, filepath.Join(dir, "config.json"), c.key, c.value)
		m := open(t, dir)
		if !c.check(m.Config) {
			t.Errorf("%s: %+v", name, m.Config)
		}
		back := fromBytes(t, export(t, m, quant.F32)).Config
		back.RoPE.Style = m.Config.RoPE.Style
		if !c.check(back) {
			t.Errorf("%s, exported: %+v", name, back)
		}
	}
}

func TestBadLlama2c(t *testing.T) {
	t.Parallel()
	bin, tok := llmtest.Checkpoint(t)
	b, err := os.ReadFile(bin)
	if err != nil {
		t.Fatal(err)
	}
	header := func(field int, v int32) []byte {
		c := bytes.Clone(b)
		binary.LittleEndian.PutUint32(c[4*field:], uint32(v))
		return c
	}
	for _, c := range []struct {
		name, want string
		file       []byte
		o          weights.Options
	}{
		{"empty", "too few", nil, weights.Options{}},
		{"a text", "too few", []byte("hello"), weights.Options{}},
		{"a longer text", "no GGUF file", []byte(strings.Repeat("hello ", 100)), weights.Options{}},
		{"cut", "calls for", b[:len(b)-1], weights.Options{Tokenizer: tok}},
		{"longer", "calls for", append(bytes.Clone(b), 0), weights.Options{Tokenizer: tok}},
		{"another width", "calls for", header(0, 128), weights.Options{Tokenizer: tok}},
		{"a matrix that is not there", "calls for", header(5, -llmtest.CheckpointVocab), weights.Options{Tokenizer: tok}},
		{"heads 0", "heads", header(3, 0), weights.Options{Tokenizer: tok}},
		{"context below 0", "context", header(6, -1), weights.Options{Tokenizer: tok}},
		{"no tokenizer", "--tokenizer", b, weights.Options{}},
		{"the model as its tokenizer", "model.bin", b, weights.Options{Tokenizer: bin}},
	} {
		path := filepath.Join(t.TempDir(), "model.bin")
		if err := os.WriteFile(path, c.file, 0o600); err != nil {
			t.Fatal(err)
		}
		m, err := weights.Open(path, c.o)
		if err == nil {
			_ = m.Close()
		}
		refused(t, c.name, path, err, core.Invalid, c.want)
	}
}

func TestOpenOther(t *testing.T) {
	t.Parallel()
	_, err := weights.Open("testdata/none.gguf", weights.Options{})
	refused(t, "nothing there", "testdata/none.gguf", err, core.NotFound, "no such file")
	bin, tok := llmtest.Checkpoint(t)
	_, err = weights.Open(bin, weights.Options{Tokenizer: "testdata/none.bin"})
	refused(t, "no tokenizer there", "testdata/none.bin", err, core.NotFound, "no such file")
	for _, path := range []string{"testdata/llama", "testdata/llama-q8.gguf"} {
		_, err = weights.Open(path, weights.Options{Tokenizer: tok})
		refused(t, "a tokenizer too many", path, err, core.Invalid, "brings its own")
	}
	var e *core.Error
	if !errors.As(err, &e) || e.Hint == "" {
		t.Errorf("%v says nothing of what to do", err)
	}
	err = open(t, llama2c).Export(context.Background(), io.Discard, quant.Q4_0)
	if core.KindOf(err) != core.Invalid {
		t.Errorf("export as Q4_0: %v", err)
	}
}

// smallTables are the tables of a model of one layer that knows bytes alone: small,
// because a fuzzer is slow on long inputs.
func smallTables(f *testing.F, path string) []byte {
	f.Helper()
	p := takeApart(f, path)
	arch := p.meta["general.architecture"].(string)
	var tokens []string
	var kinds []int32
	for i, s := range p.meta["tokenizer.ggml.tokens"].([]string) {
		if utf8.RuneCountInString(s) == 1 {
			tokens, kinds = append(tokens, s), append(kinds, p.meta["tokenizer.ggml.token_type"].([]int32)[i])
		}
	}
	p.meta["tokenizer.ggml.tokens"], p.meta["tokenizer.ggml.token_type"], p.meta["tokenizer.ggml.merges"] = tokens, kinds, []string{}
	delete(p.meta, "tokenizer.ggml.eos_token_id")
	delete(p.meta, "tokenizer.ggml.bos_token_id")
	delete(p.meta, arch+".vocab_size")
	p.meta["tokenizer.ggml.add_bos_token"] = false
	p.meta[arch+".block_count"] = uint32(1)
	for _, x := range slices.Clone(p.tensors) {
		if strings.HasPrefix(x.Name, "blk.1.") {
			p.remove(x.Name)
		}
	}
	for i := range p.tensors {
		if x := &p.tensors[i]; x.Name == "token_embd.weight" || x.Name == "output.weight" {
			x.Dims[1] = len(tokens)
			p.data[x.Name] = p.data[x.Name][:34*len(tokens)]
		}
	}
	b := p.join(f)
	if _, err := weights.FromGGUF("seed", bytes.NewReader(b), int64(len(b))); err != nil {
		f.Fatal(err)
	}
	file, err := gguf.Read(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		f.Fatal(err)
	}
	return b[:file.Tensors[0].Offset]
}

// zeros is bytes with zeros behind them.
type zeros []byte

func (z zeros) ReadAt(p []byte, at int64) (int, error) {
	clear(p)
	if at < int64(len(z)) {
		copy(p, z[at:])
	}
	return len(p), nil
}

// Whatever the tables, opening ends in a model or an error of the file's fault; and
// what was opened can be read to its end.
func FuzzGGUF(f *testing.F) {
	f.Add(smallTables(f, "testdata/qwen3-q8.gguf"))
	f.Add(smallTables(f, "testdata/llama-q8.gguf"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := weights.FromGGUF("fuzz", zeros(b), int64(len(b))+1<<18)
		if err != nil {
			if kind := core.KindOf(err); kind != core.Invalid && kind != core.Unsupported {
				t.Fatalf("%v is %s", err, kind)
			}
			return
		}
		if err := m.Export(context.Background(), io.Discard, quant.Q8_0); err != nil && core.KindOf(err) != core.Invalid {
			t.Fatal(err)
		}
		m.Config.RoPE.Frequencies()
	})
}
