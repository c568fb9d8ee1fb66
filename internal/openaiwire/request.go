package openaiwire

import (
	"errors"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Request are the fields of a request for chat and for plain completions alike.
// nil and zero are "not said".
type Request struct {
	Model         string         `json:"model"`
	Stream        bool           `json:"stream,omitzero"`
	StreamOptions *StreamOptions `json:"stream_options,omitzero"`
	N             *int           `json:"n,omitzero"` // answers to one prompt; 1 if nil
	MaxTokens     *int           `json:"max_tokens,omitzero"`
	Temperature   *float64       `json:"temperature,omitzero"` // 0 to 2; 1 if nil
	TopP          *float64       `json:"top_p,omitzero"`
	Seed          *int64         `json:"seed,omitzero"`
	Stop          Strings        `json:"stop,omitzero"`

	// Of vLLM, llama.cpp and others, and of Atoll's own engine.
	TopK *int     `json:"top_k,omitzero"`
	MinP *float64 `json:"min_p,omitzero"`
}

// StreamOptions belong to a request that streams.
type StreamOptions struct {
	IncludeUsage bool `json:"include_usage,omitzero"`
}

// Strings is a JSON string or an array of them.
type Strings []string

var errNotStrings = errors.New("want a string or an array of strings")

// UnmarshalJSONFrom implements json.UnmarshalerFrom. null is nil.
func (s *Strings) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	switch d.PeekKind() {
	case 'n':
		*s = nil
		return d.SkipValue()
	case '"':
		*s = make(Strings, 1)
		return json.UnmarshalDecode(d, &(*s)[0])
	case '[':
		return json.UnmarshalDecode(d, (*[]string)(s))
	}
	return errNotStrings
}

// MarshalJSONTo implements json.MarshalerTo: one string is written as such, which
// every server takes.
func (s Strings) MarshalJSONTo(e *jsontext.Encoder) error {
	if len(s) == 1 {
		return e.WriteToken(jsontext.String(s[0]))
	}
	return json.MarshalEncode(e, []string(s))
}

// Usage counts tokens.
type Usage struct {
	PromptTokens     int64 `json:"prompt_tokens"`
	CompletionTokens int64 `json:"completion_tokens"`
	TotalTokens      int64 `json:"total_tokens"`
}

// UsageOf adds the total.
func UsageOf(prompt, completion int64) Usage {
	return Usage{prompt, completion, prompt + completion}
}

// Why an answer ended.
const (
	FinishStop   = "stop"   // the model ended it, or a stop string did
	FinishLength = "length" // max_tokens, or the model's context
)
