package openaiwire

import (
	"errors"

	"github.com/go-json-experiment/json/jsontext"
)

// TextRequest is the body of POST /v1/completions.
type TextRequest struct {
	Request
	Prompt   Prompt `json:"prompt"`
	Logprobs *int   `json:"logprobs,omitzero"` // how many of the likeliest are told

	Extra map[string]jsontext.Value `json:",embed"` //nolint:staticcheck // it knows the options of encoding/json alone
}

// Prompt is what is to be continued: a string or several. Arrays of token numbers,
// which the API knows too, are refused.
type Prompt []string

var errPrompt = errors.New("want a string or an array of strings; token numbers are not taken")

// UnmarshalJSONFrom implements json.UnmarshalerFrom.
func (p *Prompt) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	if k := d.PeekKind(); k != '"' && k != '[' && k != 'n' {
		return errPrompt
	}
	if (*Strings)(p).UnmarshalJSONFrom(d) != nil {
		return errPrompt
	}
	return nil
}

// MarshalJSONTo implements json.MarshalerTo.
func (p Prompt) MarshalJSONTo(e *jsontext.Encoder) error { return Strings(p).MarshalJSONTo(e) }

// Text is the answer to a TextRequest, and, when streamed, each of its events.
type Text struct {
	ID                string       `json:"id"`
	Object            string       `json:"object"` // ObjectText
	Created           int64        `json:"created"`
	Model             string       `json:"model"`
	Choices           []TextChoice `json:"choices"`
	Usage             *Usage       `json:"usage,omitzero"`
	SystemFingerprint string       `json:"system_fingerprint,omitzero"`
}

// TextChoice is one answer, or what has been added to it.
type TextChoice struct {
	Index        int           `json:"index"`
	Text         string        `json:"text"`
	Logprobs     *TextLogprobs `json:"logprobs"`
	FinishReason *string       `json:"finish_reason"` // null until the end
}

// TextLogprobs has lists of equal length, an element for each token of the answer.
type TextLogprobs struct {
	Tokens        []string             `json:"tokens"`
	TokenLogprobs []float64            `json:"token_logprobs"`
	TopLogprobs   []map[string]float64 `json:"top_logprobs"`
	TextOffset    []int                `json:"text_offset"` // of the token in the answer
}
