package openaiwire

import (
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// ChatRequest is the body of POST /v1/chat/completions.
type ChatRequest struct {
	Request
	Messages            []Message `json:"messages"`
	MaxCompletionTokens *int      `json:"max_completion_tokens,omitzero"` // the newer name of max_tokens
	Logprobs            *bool     `json:"logprobs,omitzero"`
	TopLogprobs         *int      `json:"top_logprobs,omitzero"` // 0 to 20; needs Logprobs

	ResponseFormat *ResponseFormat `json:"response_format,omitzero"`

	Extra map[string]jsontext.Value `json:",embed"` //nolint:staticcheck // it knows the options of encoding/json alone
}

// ResponseFormat says what form the answer is to have. Type is text, json_object or
// json_schema.
type ResponseFormat struct {
	Type       string      `json:"type"`
	JSONSchema *JSONSchema `json:"json_schema,omitzero"`
}

// JSONSchema is the schema of an answer.
type JSONSchema struct {
	Name        string         `json:"name"`
	Description string         `json:"description,omitzero"`
	Schema      jsontext.Value `json:"schema,omitzero"`
	Strict      *bool          `json:"strict,omitzero"` // here they all are
}

// Message is one turn of a conversation.
type Message struct {
	Role    string  `json:"role"`
	Content Content `json:"content"`
	Name    string  `json:"name,omitzero"`
	// Refusal is null or absent: no engine here refuses.
	Refusal *string `json:"refusal,omitzero"`
}

// Content is a JSON string, null, or an array of parts.
type Content struct {
	Text  string
	Parts []ContentPart // instead of Text
}

// ContentPart is a piece of a message. Type is "text"; Atoll has no other.
type ContentPart struct {
	Type string `json:"type"`
	Text string `json:"text"`
}

// UnmarshalJSONFrom implements json.UnmarshalerFrom.
func (c *Content) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	*c = Content{}
	switch d.PeekKind() {
	case 'n':
		return d.SkipValue()
	case '[':
		return json.UnmarshalDecode(d, &c.Parts)
	}
	return json.UnmarshalDecode(d, &c.Text)
}

// MarshalJSONTo implements json.MarshalerTo.
func (c Content) MarshalJSONTo(e *jsontext.Encoder) error {
	if c.Parts != nil {
		return json.MarshalEncode(e, c.Parts)
	}
	return e.WriteToken(jsontext.String(c.Text))
}

// Chat is the answer to a ChatRequest.
type Chat struct {
	ID                string       `json:"id"`
	Object            string       `json:"object"` // ObjectChat
	Created           int64        `json:"created"`
	Model             string       `json:"model"`
	Choices           []ChatChoice `json:"choices"`
	Usage             Usage        `json:"usage"`
	SystemFingerprint string       `json:"system_fingerprint,omitzero"`
}

// Values of object.
const (
	ObjectChat      = "chat.completion"
	ObjectChatChunk = "chat.completion.chunk"
	ObjectText      = "text_completion" // of chunks too
	ObjectList      = "list"
	ObjectModel     = "model"
	ObjectEmbedding = "embedding"
	ObjectFile      = "file"
	ObjectBatch     = "batch"
)

// ChatChoice is one answer.
type ChatChoice struct {
	Index        int           `json:"index"`
	Message      Answer        `json:"message"`
	Logprobs     *ChatLogprobs `json:"logprobs"`
	FinishReason string        `json:"finish_reason"`
}

// Answer is what the assistant said.
type Answer struct {
	Role    string  `json:"role"`
	Content string  `json:"content"`
	Refusal *string `json:"refusal"`
}

// ChatLogprobs has an element for each token of the answer.
type ChatLogprobs struct {
	Content []TokenLogprob `json:"content"`
	Refusal []TokenLogprob `json:"refusal,omitzero"`
}

// TokenLogprob is a drawn token, its natural logarithm of probability, and the
// likeliest tokens in its place.
type TokenLogprob struct {
	Token       string       `json:"token"`
	Logprob     float64      `json:"logprob"`
	Bytes       []int        `json:"bytes"` // of the token, which need not be UTF-8
	TopLogprobs []TopLogprob `json:"top_logprobs"`
}

// TopLogprob is a token that could have been drawn.
type TopLogprob struct {
	Token   string  `json:"token"`
	Logprob float64 `json:"logprob"`
	Bytes   []int   `json:"bytes"`
}

// ChatChunk is one event of a streamed answer.
type ChatChunk struct {
	ID                string            `json:"id"`
	Object            string            `json:"object"` // ObjectChatChunk
	Created           int64             `json:"created"`
	Model             string            `json:"model"`
	Choices           []ChatChunkChoice `json:"choices"`
	Usage             *Usage            `json:"usage,omitzero"` // on the last, if asked for
	SystemFingerprint string            `json:"system_fingerprint,omitzero"`
}

// ChatChunkChoice is what has been added to one answer.
type ChatChunkChoice struct {
	Index        int           `json:"index"`
	Delta        Delta         `json:"delta"`
	Logprobs     *ChatLogprobs `json:"logprobs,omitzero"`
	FinishReason *string       `json:"finish_reason"` // null until the end
}

// Delta is an addition to an answer. The first has the role.
type Delta struct {
	Role    string  `json:"role,omitzero"`
	Content *string `json:"content,omitzero"`
}
