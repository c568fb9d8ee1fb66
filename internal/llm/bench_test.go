package llm

import (
	"fmt"
	"testing"

	"atoll/internal/llm/weights"
)

// shapes are those of SmolLM-135M and TinyLlama-1.1B.
var shapes = []struct {
	name string
	weights.Config
}{
	{"135M", weights.Config{Layers: 30, Dim: 576, FFN: 1536, Heads: 9, KVHeads: 3, HeadDim: 64, Vocab: 49152}},
	{"1.1B", weights.Config{Layers: 22, Dim: 2048, FFN: 5632, Heads: 32, KVHeads: 4, HeadDim: 64, Vocab: 32000}},
}

func random(t testing.TB, c weights.Config) *Model {
	t.Helper()
	c.Arch, c.Context, c.NormEps, c.TiedEmbeddings = weights.Llama, 2048, 1e-5, true
	c.RoPE = weights.RoPE{Style: weights.Interleaved, Dim: c.HeadDim, Base: 10000}
	w, err := weights.Random(c, 1)
	if err != nil {
		t.Fatal(err)
	}
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
			if testing.Short() && s.Dim > 1000 {
				b.Skip("takes 1.2 GB of memory; run without -short")
			}
			m := random(b, s.Config)
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
