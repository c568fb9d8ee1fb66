package openai

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"atoll/internal/engine/completion"
	"atoll/internal/openaiwire"
)

// answer is what comes of one line.
type answer struct {
	refused error // instead of all else

	line *completion.Line
	told func(more string) // hears the text as it comes
	key  string            // not to be told

	text     []byte
	thought  int // bytes of a reasoning model's thoughts, which are metered, but no answer
	finish   string
	usage    *openaiwire.Usage
	logprobs []logprob
}

func (a *answer) maxTokens() int {
	return completion.Value(a.line.MaxTokens, completion.DefaultTokens)
}

// event is one event of a stream, or a whole answer where the server did not
// stream: of chat and of plain completions alike.
type event struct {
	Choices []struct {
		Index        int       `json:"index"`
		Text         string    `json:"text"`
		Delta        said      `json:"delta"`
		Message      said      `json:"message"`
		Logprobs     *logprobs `json:"logprobs"`
		FinishReason string    `json:"finish_reason"`
	} `json:"choices"`
	Usage *openaiwire.Usage `json:"usage"`
	Error jsontext.Value    `json:"error"`
}

type said struct {
	Content   string `json:"content"`
	Reasoning string `json:"reasoning_content"` // vLLM, llama.cpp
	Thinking  string `json:"reasoning"`         // Ollama
}

// read takes the server's answer in. Once anything of it has come, failures are
// final: to ask again could give, and cost, something else.
func (a *answer) read(r *watched, contentType string) error {
	if !strings.HasPrefix(contentType, "text/event-stream") {
		whole, err := io.ReadAll(r)
		if err != nil {
			return fmt.Errorf("the server's answer broke off: %w", err)
		}
		return cmp.Or(a.add(whole), a.complete())
	}
	for data, err := range openaiwire.Events(r) {
		switch {
		case errors.Is(err, openaiwire.ErrCut) && a.finish != "" && a.usage != nil:
			// All is there but the last word.
		case err != nil && len(a.text) == 0 && !errors.Is(err, errFlood):
			return again{fmt.Errorf("the server's answer broke off before it began: %w", err), 0}
		case err != nil:
			return fmt.Errorf("the server's answer broke off after %d bytes: %w", len(a.text), err)
		default:
			if err := a.add(data); err != nil && r.failed != nil {
				continue // a piece of an event: what follows is why
			} else if err != nil {
				return err
			}
		}
	}
	return a.complete()
}

// add takes in an event.
func (a *answer) add(data []byte) error {
	var ev event
	if err := json.Unmarshal(data, &ev); err != nil {
		return fmt.Errorf("the server's answer is not that of the OpenAI API: %.80q", hide(data, a.key))
	}
	if ev.Error != nil && ev.Error.Kind() != 'n' {
		said, _ := errorWords(hide(ev.Error, a.key))
		return fmt.Errorf("the server gave up in the middle: %s", said)
	}
	if ev.Usage != nil {
		a.usage = ev.Usage
	}
	for i := range ev.Choices {
		c := &ev.Choices[i]
		if c.Index != 0 || a.finish != "" && c.Text+c.Delta.Content+c.Message.Content != "" {
			return errors.New("the server answered more than it was asked")
		}
		more := c.Text + c.Delta.Content + c.Message.Content
		a.text = append(a.text, more...)
		a.told(more)
		for _, s := range []said{c.Delta, c.Message} {
			a.thought += len(s.Reasoning) + len(s.Thinking)
		}
		a.logprobs = c.Logprobs.appendTo(a.logprobs)
		a.finish = cmp.Or(c.FinishReason, a.finish)
	}
	if len(a.text)+a.thought > a.mostText() {
		return fmt.Errorf("%w: over %d bytes for at most %d tokens", errFlood, a.mostText(), a.maxTokens())
	}
	return nil
}

// complete checks that nothing is missing.
func (a *answer) complete() error {
	switch {
	case a.finish == "":
		return errors.New("the server's answer has no end: no finish_reason")
	case a.finish != openaiwire.FinishStop && a.finish != openaiwire.FinishLength:
		return fmt.Errorf("the server ended the answer for the reason %.40q, want stop or length", a.finish)
	case a.usage == nil:
		return errors.New("the server does not say how many tokens it took (usage), so its work cannot be metered")
	}
	return nil
}

// append writes the answer's line.
func (a *answer) append(b []byte, id jsontext.Value) []byte {
	if a.refused != nil {
		return completion.AppendRefusal(b, id, a.refused)
	}
	b = completion.AppendText(completion.AppendHead(b, id, completion.Text), a.text) // was read as JSON, so it is UTF-8
	b = fmt.Appendf(b, `,"finish_reason":%q,"usage":{"prompt_tokens":%d,"completion_tokens":%d}`, a.finish, a.usage.PromptTokens, a.usage.CompletionTokens)
	if a.line.Logprobs != nil {
		b = append(b, `,"logprobs":[`...)
		for i := range a.logprobs {
			if i > 0 {
				b = append(b, ',')
			}
			b = a.logprobs[i].append(b, *a.line.Logprobs)
		}
		b = append(b, ']')
	}
	return append(b, "}\n"...)
}

// watched is a body that is bounded, and that is seen to live.
type watched struct {
	io.Reader
	n, most int
	alive   func()
	failed  error // of the last Read, but for a proper end
}

var errFlood = errors.New("the server sends more than an answer can have")

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.Reader.Read(p)
	if n > 0 {
		w.alive()
	}
	if w.n += n; w.n > w.most {
		n, err = 0, fmt.Errorf("%w: over %d bytes", errFlood, w.most)
	}
	if !errors.Is(err, io.EOF) {
		w.failed = err
	}
	return n, err
}
