package llm

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"atoll/internal/llm/gguf"
	"atoll/internal/llm/quant"
	"atoll/internal/llm/weights"
	"atoll/internal/repro"
)

// shape is a Llama whose weights are random: what it says is nothing, what it
// costs is real.
type shape struct {
	name                              string
	layers, dim, ffn, heads, kv, size int
}

// The shapes of SmolLM-135M and TinyLlama-1.1B.
var shapes = []shape{
	{"135M", 30, 576, 1536, 9, 3, 49152},
	{"1.1B", 22, 2048, 5632, 32, 4, 32000},
}

const benchContext = 2048

// random writes a seeded random model as GGUF, Q8_0.
func (s shape) random(t testing.TB) *Model {
	t.Helper()
	config := weights.Config{Arch: weights.Llama, Layers: s.layers, Dim: s.dim, FFN: s.ffn, Heads: s.heads, KVHeads: s.kv, HeadDim: s.dim / s.heads, Vocab: s.size, TiedEmbeddings: true}
	meta := gguf.Meta{
		"general.architecture": "llama", "llama.block_count": uint32(s.layers), "llama.context_length": uint32(benchContext),
		"llama.embedding_length": uint32(s.dim), "llama.feed_forward_length": uint32(s.ffn), "llama.attention.head_count": uint32(s.heads),
		"llama.attention.head_count_kv": uint32(s.kv), "llama.attention.layer_norm_rms_epsilon": float32(1e-5), "llama.rope.freq_base": float32(10000),
		"llama.rope.dimension_count": uint32(s.dim / s.heads),
	}
	small, err := weights.Open("testdata/stories260k/stories260K.bin", weights.Options{Tokenizer: "testdata/stories260k/tok512.bin"})
	if err != nil {
		t.Fatal(err)
	}
	defer small.Close()
	small.Vocab.Grow(s.size)
	small.Vocab.Metadata(meta)
	rng := repro.NewRandom(1)
	var sources []gguf.Source
	for _, id := range config.Tensors() {
		rows, cols := config.Shape(id.Part)
		src := gguf.Source{Name: id.String(), Type: quant.Q8_0, Dims: []int{cols, rows}}
		if rows == 1 {
			src.Type, src.Dims = quant.F32, []int{cols}
		}
		src.Data = func(w io.Writer) error {
			if rows == 1 {
				ones := make([]byte, 4*cols)
				for i := range cols {
					ones[4*i+2], ones[4*i+3] = 0x80, 0x3f
				}
				_, err := w.Write(ones)
				return err
			}
			row := make([]byte, repro.RowBytes(cols))
			for range rows {
				for b := 0; b < len(row); b += repro.BlockBytes {
					row[b], row[b+1] = 0, 0x0c // 2^-12
					for i := 2; i < repro.BlockBytes; i += 8 {
						v := rng.Uint64()
						for j := range 8 {
							row[b+i+j] = byte(v >> (8 * j))
						}
					}
				}
				if _, err := w.Write(row); err != nil {
					return err
				}
			}
			return nil
		}
		sources = append(sources, src)
	}
	path := filepath.Join(t.TempDir(), "random.gguf")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := gguf.Write(f, meta, sources); err != nil {
		t.Fatal(err)
	}
	w, err := weights.Open(path, weights.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	m, err := Load(t.Context(), w, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// BenchmarkDecoder reports tokens a second: prefill of 128 positions at once, and
// decoding of 1, 4 and 16 sequences at once after 128 positions each.
func BenchmarkDecoder(b *testing.B) {
	for _, s := range shapes {
		b.Run(s.name, func(b *testing.B) {
			if testing.Short() && s.layers*s.dim*s.ffn > 1<<26 {
				b.Skip("takes 1.2 GB")
			}
			m := s.random(b)
			for _, threads := range []int{1, 2} {
				d, err := NewDecoder(m, newPool(b, threads), DecoderConfig{Pages: 16 * 8, Batch: 128, Context: 256})
				if err != nil {
					b.Fatal(err)
				}
				pages := func(seq int) (p []int32) {
					for i := range 8 {
						p = append(p, int32(8*seq+i))
					}
					return p
				}
				prompt := make([]int32, 128)
				b.Run(fmt.Sprintf("prefill/threads=%d", threads), func(b *testing.B) {
					for i := 0; b.Loop(); i++ {
						if _, err := d.Forward([]Span{{Pages: pages(i % 16), Tokens: prompt, Want: 1}}); err != nil {
							b.Fatal(err)
						}
					}
					b.ReportMetric(float64(b.N*len(prompt))/b.Elapsed().Seconds(), "tokens/s")
				})
				for _, n := range []int{1, 4, 16} {
					b.Run(fmt.Sprintf("decode/threads=%d/sequences=%d", threads, n), func(b *testing.B) {
						var spans []Span
						for i := range n {
							spans = append(spans, Span{Pages: pages(i), First: 128, Tokens: []int32{7}, Want: 1})
						}
						for b.Loop() {
							if _, err := d.Forward(spans); err != nil {
								b.Fatal(err)
							}
						}
						b.ReportMetric(float64(b.N*n)/b.Elapsed().Seconds(), "tokens/s")
					})
				}
			}
		})
	}
}
