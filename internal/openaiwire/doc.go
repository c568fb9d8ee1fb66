// Package openaiwire holds the JSON of the OpenAI API as Atoll speaks it, on both
// sides: internal/httpapi/openai serves it, the engine that asks a provider's own
// server calls it. It holds shapes and what can be said of them without a model;
// it opens no connection.
//
// The types are for github.com/go-json-experiment/json, whose rules (no field
// twice, names by their case, UTF-8 alone) are the strict ones wanted here. Fields
// that a request does not name are kept in its Extra, so that a server can refuse
// them by name and a client can say them to servers that know more. Answers are
// read without refusing what is not known: servers add to them.
//
//	chat.go         POST /v1/chat/completions
//	completion.go   POST /v1/completions
//	request.go      what both have in common
//	stream.go       server-sent events: chunks, [DONE]
//	embedding.go    POST /v1/embeddings
//	model.go        GET /v1/models
//	error.go        errors
package openaiwire
