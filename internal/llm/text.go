package llm

import (
	"strings"

	"atoll/internal/llm/tokenizer"
)

// Text turns an answer's tokens into text as they come and ends it before the
// first of the stop strings. What might be the beginning of one is held back
// until it is known.
type Text struct {
	d     *tokenizer.Decoder
	stops []string
	held  string
	ended bool
}

// NewText returns the text of an answer that ends before any of the stops, none
// of which may be empty.
func NewText(t *tokenizer.Tokenizer, stops []string) *Text {
	return &Text{d: t.NewDecoder(), stops: stops}
}

// Next returns the text that is certain with this token. It is true when a stop
// string has come: the answer is over.
func (t *Text) Next(id int32) (text string, stopped bool) { return t.add(t.d.Next(id)) }

// Flush returns what is left when the answer has ended otherwise.
func (t *Text) Flush() string {
	text, stopped := t.add(t.d.Flush())
	if !stopped {
		text += t.held
	}
	t.held, t.ended = "", true
	return text
}

func (t *Text) add(more string) (text string, stopped bool) {
	if t.ended {
		return "", true
	}
	t.held += more
	at := -1
	for _, s := range t.stops {
		if i := strings.Index(t.held, s); i >= 0 && (at < 0 || i < at) {
			at = i
		}
	}
	if at >= 0 {
		text, t.held, t.ended = t.held[:at], "", true
		return text, true
	}
	keep := 0
	for _, s := range t.stops {
		for n := min(len(s)-1, len(t.held)); n > keep; n-- {
			if strings.HasSuffix(t.held, s[:n]) {
				keep = n
			}
		}
	}
	text, t.held = t.held[:len(t.held)-keep], t.held[len(t.held)-keep:]
	return text, false
}
