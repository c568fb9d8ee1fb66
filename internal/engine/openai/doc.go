// Package openai is the engine that has texts continued by a server that the
// provider runs anyway: vLLM, llama.cpp's, Ollama, LM Studio, or another Atoll hub.
// It is how a GPU comes to the market. The server speaks the OpenAI API; nothing of
// Atoll need be installed there.
//
// # Model
//
// A small JSON file, see [Manifest]: the name by which servers know the model, and,
// where there is one, the digest of a model of the engine llm with the same weights.
//
// # Input and output
//
// As in internal/engine/completion. The tokens of logprobs have the number −1 where
// the server tells their bytes alone. The engine is not Reproducible: kernels, batches
// and drivers change bits, so its work is not compared by digest.
//
// A request that draws says top_k, top_p and min_p even where the task does not:
// servers have defaults of their own, or the model's, and would draw otherwise than
// was asked. What the API has no field for, such as Ollama's repeat_penalty, stays as
// the provider has set it; internal/verify/logprobs tells where that shows.
//
// # Whose fault it is
//
//	400, 413, 422                 the input's: engine.ErrInput, engine.ErrTooLarge
//	anything else                 the server's: the node gives the lease back, and
//	                              nobody but the node's own record suffers
//
// A request is sent again only if nothing of an answer has come: when the server
// could not be reached, is busy (429, 503, with its Retry-After), or its proxy has
// lost it (502, 504).
//
// # What is not believed
//
// What the server says is read as a stranger's: bounded in bytes, with a limit on
// how long it may be silent, and never followed elsewhere (redirects are refused,
// lest a key go along). Tokens are metered by the server, but held against the text:
// see meter.go.
package openai
