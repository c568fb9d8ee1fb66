// Package openai serves the OpenAI API on a hub: any OpenAI client can use Atoll.
// It turns requests into ordinary tasks of one part, or of many for a batch, and
// results into answers. It decides nothing about tasks.
//
//	request ─> keys, limits, body          internal/httpapi/atoll: this API is mounted there
//	        ─> fields checked              chat.go, text.go, embed.go; fields.go
//	        ─> lines for the engine, task  work.go
//	        <─ JSON                        complete.go, answer.go
//	        <─ events                      stream.go; growing.go
//	        <─ errors                      errors.go
//
//	files                                  files.go
//	batches: many requests, one task       batch.go; batchin.go, batchout.go
//
// Whatever a field asks for is done or refused by name: an answer to another
// question than was asked would be worse than none. Fields that change no answer,
// such as user, are taken and left. Fields of POST /v1/submit-task (verification,
// residency, budget, …) go into the field "atoll" of a request.
//
// # Streams
//
// While the task runs, its node tells how the result grows, which is sent on at
// once, and the result itself has the last word. Nodes compute the same bits, so if
// one dies the next one goes over what was sent already and the stream goes on
// behind it. If the result is not what was sent of it, the stream ends with an error
// in place of [DONE]. Where several nodes answer the same, none of them is heard
// before all have: then the stream has its events at the end.
//
// A client that hangs up ends the task, unless the field atoll.keep says otherwise.
//
// An answer's id is that of its task, by which its receipts are found.
package openai
