package openai

import (
	"atoll/api"
	"atoll/internal/httpapi/atoll"
	"atoll/internal/openaiwire"
)

// textTokens is how long a text becomes if the request does not say, as in
// OpenAI's API.
const textTokens = 16

// completions is POST /v1/completions.
func (s *server) completions(x *atoll.Exchange) error {
	body, err := x.JSON(s.cfg.MaxBody)
	if err != nil {
		return err
	}
	w, err := s.readText(body)
	if err != nil {
		return err
	}
	return s.complete(x, w, body, textForm{})
}

func (s *server) readText(body []byte) (*work, error) {
	var r openaiwire.TextRequest
	if err := api.Decode(body, &r); err != nil {
		return nil, err
	}
	if err := refuseOthers(r.Extra); err != nil {
		return nil, err
	}
	l := line{MaxTokens: textTokens, Logprobs: r.Logprobs}
	if err := s.settings(&r.Request, &l); err != nil {
		return nil, err
	}
	if l.Logprobs != nil && (*l.Logprobs < 0 || *l.Logprobs > 20) {
		return nil, invalid("logprobs", "want 0 to 20")
	}
	if len(r.Prompt) == 0 {
		return nil, invalid("prompt", "want a string or an array of strings")
	}
	lines := make([]line, len(r.Prompt))
	for i := range r.Prompt {
		lines[i] = l
		lines[i].Prompt = &r.Prompt[i]
	}
	return s.newWork(&r.Request, r.Extra, lines)
}

// textForm writes answers as plain completions.
type textForm struct{}

func (textForm) whole(h head, answers []answer, usage openaiwire.Usage) any {
	out := textChunk(h)
	out.Usage = &usage
	for i := range answers {
		a := &answers[i]
		out.Choices = append(out.Choices, openaiwire.TextChoice{Index: i, Text: a.Text, Logprobs: textLogprobs(a.told(), 0), FinishReason: &a.Finish})
	}
	return out
}

func (textForm) chunks(h head, d *delta, _ bool) []any {
	c := openaiwire.TextChoice{Index: d.index, Text: d.text, Logprobs: textLogprobs(d.logprobs, d.offset)}
	if d.done != nil {
		c.FinishReason = &d.done.Finish
	}
	return []any{textChunk(h, c)}
}

func (textForm) usage(h head, u openaiwire.Usage) any {
	c := textChunk(h)
	c.Usage = &u
	return c
}

func textChunk(h head, choices ...openaiwire.TextChoice) *openaiwire.Text {
	return &openaiwire.Text{ID: h.id, Object: openaiwire.ObjectText, Created: h.created, Model: h.model, SystemFingerprint: h.fingerprint, Choices: choices}
}
