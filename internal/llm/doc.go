// Package llm runs language models on internal/repro: the same weights, profile
// and tokens give the same bits on every machine, however the work is cut.
//
//	f, _ := weights.Open("tiny.gguf", weights.Options{})
//	m, _ := llm.Load(ctx, f, llm.Options{Profile: llm.Q8})
//	b, _ := llm.NewBatcher(m, pool, llm.BatcherConfig{})
//	go b.Run(ctx)
//	for token, err := range b.Generate(ctx, llm.Request{Prompt: ids, MaxTokens: 64}) { … }
//
// # Rooms
//
//   - [Model] is weights in memory: all layers, or any contiguous range, or one
//     member's [Share] of it.
//   - [Decoder] computes: it takes positions of several sequences at once and
//     gives hidden states or logits. It knows pages of keys and values, not
//     sequences.
//   - [Cache] hands out these pages, and lets sequences that begin alike share
//     them.
//   - [Batcher] serves many requests with one Decoder: continuous batching.
//   - [Text] turns tokens into text as they come, and knows where to stop.
//
// # Teams
//
// Several machines on fast links can compute the same layers together. [Split] gives
// each some heads of keys, some of what is inside the feed-forward and some of what
// both add to the residual stream, all in multiples of 32 outputs; four times a layer
// their decoders bring together what they have, see [Gatherer]. Everything between
// products is computed by each. So no sum is ever divided.
//
// # What a result depends on
//
// The weights, the [Profile], the tokens before, and for a drawn token the
// [repro.Sampling] and its position. Nothing else: not the instruction set, the
// threads, what else is computed at the same time, how a prompt was cut, which
// pages were found in the cache, nor on how many machines the layers lie, whole or
// divided. So whoever has the model can compute any token of an answer again, alone,
// and compare it bit for bit.
//
// # One layer
//
// With x the residual stream, products by rule 2 or 3 of package repro, and the
// rest by rule 6:
//
//	h = RMSNorm(x, attn_norm)
//	q, k, v = h·Wq (+ bq), h·Wk (+ bk), h·Wv (+ bv)     a bias is added by RN(y + b)
//	q, k = RMSNorm of each head (Qwen 3)
//	q, k turned by their position; k, v stored as the profile says
//	x = RN(x + attention(q, k, v)·Wo)
//	h = RMSNorm(x, ffn_norm)
//	x = RN(x + SwiGLU(h·Wgate, h·Wup)·Wdown)
//
// In front of the layers that the profile names x is quantised by rule 1 and restored.
// Before the first layer x is the token's row of the embedding; logits are
// RMSNorm(x, output_norm)·Woutput.
package llm
