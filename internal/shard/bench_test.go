package shard

import (
	"fmt"
	"testing"
	"time"

	"atoll/internal/llm"
	"atoll/internal/llm/weights"
	"atoll/internal/repro"
	"atoll/internal/shard/record"
)

// BenchmarkAudit compares what an audit of one stage of three costs with what the whole
// model takes to draw the answer: 16 tokens of prompt, and then so many.
//
//	go test ./internal/shard -bench Audit -run '^$' -benchtime 1x
func BenchmarkAudit(b *testing.B) {
	f, err := weights.Random(weights.Config{
		Layers: 30, Dim: 576, FFN: 1536, Heads: 9, KVHeads: 3, HeadDim: 64, Vocab: 8192, Context: 1024, NormEps: 1e-5, TiedEmbeddings: true,
		Arch: weights.Llama, RoPE: weights.RoPE{Style: weights.Interleaved, Dim: 64, Base: 10000},
	}, 1)
	if err != nil {
		b.Fatal(err)
	}
	pool := newPool(b)
	part := func(first, last int) *llm.Model {
		m, err := llm.Load(b.Context(), f, llm.Options{First: first, Last: last})
		if err != nil {
			b.Fatal(err)
		}
		return m
	}
	whole, stages := part(0, 30), []*llm.Model{part(0, 10), part(10, 20), part(20, 30)}
	for _, tokens := range []int{64, 256} {
		b.Run(fmt.Sprint(tokens), func(b *testing.B) {
			r := llm.Request{Prompt: make([]int32, 16), MaxTokens: tokens, Sampling: repro.Sampling{Temperature: 1, Seed: 1}, Logprobs: -1}
			for i := range r.Prompt {
				r.Prompt[i] = int32(i + 10)
			}
			for b.Loop() {
				batcher, err := llm.NewBatcher(whole, pool, llm.BatcherConfig{})
				if err != nil {
					b.Fatal(err)
				}
				go func() { _ = batcher.Run(b.Context()) }()
				began := time.Now()
				fed := append([]int32(nil), r.Prompt...)
				for t, err := range batcher.Generate(b.Context(), r) {
					if err != nil {
						b.Fatal(err)
					}
					fed = append(fed, t.ID)
				}
				drawn := time.Since(began)
				fed = fed[:len(fed)-1]
				terms, err := TermsOf(&r, whole.Config.Context)
				if err != nil {
					b.Fatal(err)
				}
				numbers := make([]float32, len(fed)*whole.Config.Dim)
				for i := range numbers {
					numbers[i] = float32(i%7) / 7
				}
				rows, err := whole.Profile.RowsBefore(1, &whole.Config).Append(nil, numbers)
				if err != nil {
					b.Fatal(err)
				}
				for i, m := range stages {
					began := time.Now()
					st, err := Recompute(b.Context(), StageConfig{Model: m, Pool: pool}, terms, fed, rows)
					if err != nil || len(st.In) != (len(fed)+record.Every-1)/record.Every {
						b.Fatal(st, err)
					}
					b.ReportMetric(100*time.Since(began).Seconds()/drawn.Seconds(), fmt.Sprintf("%%-stage-%d", i+1))
				}
			}
		})
	}
}
