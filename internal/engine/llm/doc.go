// Package llm is the engine that continues texts with a language model on
// internal/llm. Equal model, input and params give equal bytes on every machine
// and in any company, so that answers of several owners can be compared and any
// answer can be computed again.
//
// # Model
//
// A GGUF file as written by "atoll model import": that is canonical, so that one
// model has one digest. Other GGUF files of the Llama family are taken too.
//
// # Input and output
//
// As in internal/engine/completion. A conversation is put into the model's own chat
// template. Three params are this engine's own:
//
//	template      name of the chat template to use in place of the model's own, see
//	              internal/llm/chat
//	profile       q8 (default), f32, or either with boundaries such as q8/8,16: see
//	              internal/llm.Profile
//	mode          embed: texts are not continued, but turned into vectors; or
//	              score: the model tells what it makes of answers
//
// With mode embed a line has an id and a prompt, and its answer is a vector of
// length 1 (see llm.Model.Embed), in base64 of its binary32 numbers, little-endian:
//
//	{"id":1,"embedding":"zcxMPQ…","usage":{"prompt_tokens":4}}
//
// With mode score a line has an id, a prompt or messages, the text of an answer that
// was drawn elsewhere, the bytes of its tokens in base64, if they are known, whether
// the model ended it by itself, and the temperature of the draw. What it is answered
// has a list for each of the answer's tokens, and for what ended it: margin, logprob,
// and at that temperature logprob, entropy and variance (see llm.Scored); told says
// that the tokens are those that were given, and not those that the text is read as:
//
//	{"id":1,"prompt_tokens":4,"context":256,"told":true,"scores":[[0,-0.31,-0.31,1.02,1.9],…]}
//
// Texts that are continued also have "tokens", the drawn tokens, those of a stop string among them:
//
//	{"id":1,"text":", there was","finish_reason":"length","usage":{"prompt_tokens":4,"completion_tokens":3},"tokens":[44,405,291]}
package llm
