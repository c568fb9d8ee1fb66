// Package completion is what engines that continue texts are asked, whichever
// computes them: our own, internal/engine/llm, or a provider's server,
// internal/engine/openai. One task can so be done by either.
//
// # Input
//
// JSON Lines in UTF-8, each line one text to continue, with the fields that the
// OpenAI API has for it:
//
//	{"id": 1, "prompt": "Once upon a time", "max_tokens": 64, "temperature": 0.8, "seed": 7, "stop": ["\n"]}
//	{"id": 2, "messages": [{"role": "user", "content": "What is an atoll?"}]}
//
// Blank lines are read over. id is a string or number that is repeated in the
// answer. The others may also be params of the task, for all lines that do not
// have them. A field that is not known is refused: it would have asked for another
// answer.
//
//	max_tokens    1 to the model's context; 128 if absent
//	temperature   0 to 2; 0 if absent, which is the most likely token each time
//	top_k         keep the k most likely tokens; 0, the default, keeps all
//	top_p, min_p  0 to 1; keep the most likely tokens that make up this share, or
//	              are at least this times as likely as the first
//	seed          0 to 2^63−1; 0 if absent. The same seed draws the same tokens
//	stop          a string, or up to 8; the answer ends before any of them
//	logprobs      how many of the best tokens are told of each position, 0 to 20
//	regex         a regular expression that the whole answer is to match, or
//	schema        a JSON schema that it is to be of: see internal/llm/grammar
//	known         tokens of the answer, by their numbers, that are not to be drawn
//	              again: {"before": [44, 405], "draw": 3, "after": [291]}. Then the
//	              answer is those before, three that are drawn, those after, and
//	              what follows until it ends. Only of engines that tell tokens
//
// One param is for the task as a whole:
//
//	on_error      fail, the default: a line that is refused fails its part; or
//	              answer: the refusal is that line's answer, and the others have
//	              theirs. A line that is no JSON or has no id fails its part
//
// # Output
//
// One line for each line of input that is not blank, in its order:
//
//	{"id":1,"text":", there was","finish_reason":"length","usage":{"prompt_tokens":4,"completion_tokens":3}}
//
// finish_reason is stop (the model or a stop string ended it) or length. With
// logprobs, each token comes with its logarithm of probability and its bytes in
// base64, and so do the best ones in its place; a control token's bytes are none:
//
//	"logprobs":[{"logprob":-0.25,"bytes":"LA==","top":[[44,-0.25,"LA=="],[68,-2.5,"IEE="]],"text":","}, …]
//
// Where logprobs stand before the text, each token also has the text that became
// certain with it: none in the middle of a character, or while it might begin a stop
// string. So both can be told while they grow.
//
// A line that was refused, where that is an answer:
//
//	{"id":2,"error":"limit exceeded: the prompt has 700 tokens, the model's context is 512"}
package completion
