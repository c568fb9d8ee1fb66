package openai

import (
	"fmt"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"atoll/api"
	"atoll/internal/httpapi/atoll"
	"atoll/internal/openaiwire"
)

// chatTokens is how long an answer may become if the request does not say: a
// model's whole context would keep memory from others that is rarely used.
const chatTokens = 1024

// chat is POST /v1/chat/completions.
func (s *server) chat(x *atoll.Exchange) error {
	body, err := x.JSON(s.cfg.MaxBody)
	if err != nil {
		return err
	}
	w, err := s.readChat(body)
	if err != nil {
		return err
	}
	return s.complete(x, w, body, chatForm{})
}

// readChat reads and checks a request.
func (s *server) readChat(body []byte) (*work, error) {
	var r openaiwire.ChatRequest
	if err := api.Decode(body, &r); err != nil {
		return nil, err
	}
	if err := refuseOthers(r.Extra); err != nil {
		return nil, err
	}
	l := line{MaxTokens: chatTokens}
	if r.MaxCompletionTokens != nil {
		if r.MaxTokens != nil && *r.MaxTokens != *r.MaxCompletionTokens {
			return nil, invalid("max_completion_tokens", "max_tokens says otherwise")
		}
		r.MaxTokens = r.MaxCompletionTokens
	}
	if err := s.settings(&r.Request, &l); err != nil {
		return nil, err
	}
	switch logprobs := r.Logprobs != nil && *r.Logprobs; {
	case r.TopLogprobs != nil && !logprobs:
		return nil, invalid("top_logprobs", "only with logprobs: true")
	case r.TopLogprobs != nil:
		l.Logprobs = r.TopLogprobs
	case logprobs:
		l.Logprobs = new(int)
	}
	if l.Logprobs != nil && (*l.Logprobs < 0 || *l.Logprobs > 20) {
		return nil, invalid("top_logprobs", "want 0 to 20")
	}
	var err error
	if l.Schema, err = schemaOf(r.ResponseFormat); err != nil {
		return nil, err
	}
	if l.Messages, err = readMessages(r.Messages); err != nil {
		return nil, err
	}
	return s.newWork(&r.Request, r.Extra, []line{l})
}

// schemaOf returns the JSON schema that a format asks for; nil for any text.
func schemaOf(f *openaiwire.ResponseFormat) (jsontext.Value, error) {
	switch {
	case f == nil || f.Type == "text":
		return nil, nil
	case f.Type == "json_object":
		return jsontext.Value(`{"type":"object"}`), nil
	case f.Type != "json_schema":
		return nil, invalid("response_format.type", "%.40q is not one of text, json_object and json_schema", f.Type)
	case f.JSONSchema == nil || f.JSONSchema.Schema.Kind() != '{':
		return nil, invalid("response_format.json_schema.schema", "want a JSON schema")
	}
	return f.JSONSchema.Schema, nil
}

func readMessages(list []openaiwire.Message) ([]message, error) {
	if len(list) == 0 {
		return nil, invalid("messages", "a conversation has at least one message")
	}
	out := make([]message, len(list))
	for i, m := range list {
		text := m.Content.Text
		if m.Content.Parts != nil {
			var b strings.Builder
			for j, p := range m.Content.Parts {
				if p.Type != "text" {
					return nil, invalid(fmt.Sprintf("messages[%d].content[%d].type", i, j), "a part of type %.40q: models here read text alone", p.Type)
				}
				b.WriteString(p.Text)
			}
			text = b.String()
		}
		out[i] = message{Role: m.Role, Content: text, Name: m.Name}
	}
	return out, nil
}

// chatForm writes answers as chat completions.
type chatForm struct{}

func (chatForm) whole(h head, answers []answer, usage openaiwire.Usage) any {
	out := openaiwire.Chat{ID: h.id, Object: openaiwire.ObjectChat, Created: h.created, Model: h.model, SystemFingerprint: h.fingerprint, Usage: usage}
	for i := range answers {
		a := &answers[i]
		out.Choices = append(out.Choices, openaiwire.ChatChoice{
			Index: i, Message: openaiwire.Answer{Role: "assistant", Content: a.Text}, Logprobs: chatLogprobs(a.told()), FinishReason: a.Finish,
		})
	}
	return &out
}

func (chatForm) chunks(h head, d *delta, first bool) (out []any) {
	chunk := func(c openaiwire.ChatChunkChoice) {
		c.Index = d.index
		out = append(out, chatChunk(h, c))
	}
	if first {
		chunk(openaiwire.ChatChunkChoice{Delta: openaiwire.Delta{Role: "assistant", Content: new("")}})
	}
	if d.text != "" || d.logprobs != nil {
		chunk(openaiwire.ChatChunkChoice{Delta: openaiwire.Delta{Content: &d.text}, Logprobs: chatLogprobs(d.logprobs)})
	}
	if d.done != nil {
		chunk(openaiwire.ChatChunkChoice{FinishReason: &d.done.Finish})
	}
	return out
}

func (chatForm) usage(h head, u openaiwire.Usage) any {
	c := chatChunk(h)
	c.Usage = &u
	return c
}

func chatChunk(h head, choices ...openaiwire.ChatChunkChoice) *openaiwire.ChatChunk {
	return &openaiwire.ChatChunk{ID: h.id, Object: openaiwire.ObjectChatChunk, Created: h.created, Model: h.model, SystemFingerprint: h.fingerprint, Choices: choices}
}
