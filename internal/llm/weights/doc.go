// Package weights reads language models from disk, whatever their format, and
// converts them into one canonical file.
//
//	m, err := weights.Open("tinyllama.gguf", weights.Options{})
//	defer m.Close()
//	q, err := m.Tensor(weights.ID{Part: weights.AttnQ, Layer: 3})
//	row := make([]float32, q.Cols)
//	err = q.ReadRows(row, 17, 1)
//
// [Open] takes a GGUF file, a directory of Hugging Face's (config.json,
// safetensors, tokenizer.json), or a checkpoint of llama2.c with its tok.bin, and
// tells them apart by their content. It reads tables and hyperparameters only and
// proves that every tensor which the [Config] calls for is there, with its shape,
// and no other: a tensor or setting that is not understood would silently make
// another model. Weights stay on disk until [Tensor.ReadRows], so a range of
// layers is loaded without touching the rest.
//
// # Architectures
//
// Decoders of the Llama family: pre-norm blocks of grouped-query attention with
// rotary positions and a SwiGLU feed-forward, RMSNorm everywhere.
//
//	llama   Llama 1–3, Mistral (a llama with an attention window), TinyLlama, SmolLM
//	qwen2   biases on q, k and v
//	qwen3   an RMSNorm over each head of q and k, before the rotation
//
// # Rotary positions
//
// Two layouts exist. [Interleaved] turns elements 2i and 2i+1 of a head together,
// [Halves] turns i and i+n/2. A checkpoint may keep q and k in either, and the
// rows tell nothing: [RoPE.Style] says which this model's rows are in, and the
// engine must follow it. Files of Hugging Face are Halves; GGUF files of llama
// and llama2.c are Interleaved; GGUF files of Qwen are Halves. [Model.Export]
// reorders rows so that its file obeys GGUF's custom, which changes no result.
//
// Angles come from [RoPE.Frequencies], which has the same bits on every machine.
//
// # The canonical file
//
// [Model.Export] writes a GGUF file whose bytes depend on the model's content
// alone: its digest names the model. See there for what is kept.
//
// # Bad input
//
// Every error is a [atoll/internal/core.Error] that names the file and the
// tensor or field: kind invalid for what is damaged or contradicts itself,
// not-supported for what is sound but not understood.
package weights

// What a model may have at most. They keep sizes within 63 bits and memory
// within reason; real models are far below.
const (
	maxLayers  = 1 << 10
	maxWidth   = 1 << 18 // dim, FFN, heads × head
	maxHeads   = 1 << 12
	maxHeadDim = 1 << 12
	maxVocab   = 1 << 20
	maxContext = 1 << 24
)
