// Package openai serves the OpenAI API on a hub: any OpenAI client can use Atoll.
// It turns requests into ordinary tasks of one part, or of many for a batch, and
// results into answers. It decides nothing about tasks.
//
//	request ─> keys, limits, body          internal/httpapi/atoll: this API is mounted there
//	        ─> fields checked              chat.go, text.go; fields.go
//	        ─> lines for the engine, task  work.go
//	        <─ JSON or events              answer.go; errors.go
//
// Whatever a field asks for is done or refused by name: an answer to another
// question than was asked would be worse than none. Fields that change no answer,
// such as user, are taken and left. Fields of POST /v1/submit-task (verification,
// residency, budget, …) go into the field "atoll" of a request.
//
// An answer's id is that of its task, by which its receipts are found.
package openai
