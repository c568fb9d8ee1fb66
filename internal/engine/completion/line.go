package completion

import (
	"fmt"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"atoll/internal/engine"
	"atoll/internal/engine/jsonl"
	"atoll/internal/llm/grammar"
	"atoll/internal/repro"
)

// Limits of one part.
const (
	MaxInput  = 16 << 20 // bytes
	MaxOutput = 16 << 20 // bytes
	maxLine   = 4 << 20
	maxStops  = 8
	maxStop   = 256 // bytes
	maxLines  = 10_000
)

// DefaultTokens is how long an answer becomes at most if nothing is said.
const DefaultTokens = 128

// Settings say how a text is to be continued. A nil field is not said.
type Settings struct {
	MaxTokens   *int     `json:"max_tokens"`
	Temperature *float32 `json:"temperature"`
	TopK        *int     `json:"top_k"`
	TopP        *float32 `json:"top_p"`
	MinP        *float32 `json:"min_p"`
	Seed        *uint64  `json:"seed"`
	Stop        Stops    `json:"stop"`
	Logprobs    *int     `json:"logprobs"`

	Regex  *string        `json:"regex"`
	Schema jsontext.Value `json:"schema"`
}

// Line is one line of input. Either Prompt or Messages is set.
type Line struct {
	Number   int            `json:"-"` // in the input, from 1
	Refused  error          `json:"-"` // why it cannot be answered, if that is an answer
	ID       jsontext.Value `json:"id"`
	Prompt   *string        `json:"prompt"`
	Messages jsontext.Value `json:"messages"`
	Known    *Known         `json:"known"`
	Settings `json:",inline"`
}

// Known are tokens of the answer that are not to be drawn again. The answer is
// Before, then Draw tokens, then After, and then whatever follows until it ends:
// so the whole of an answer can be had, and checked, by drawing a piece of it.
type Known struct {
	Before []int32 `json:"before"`
	Draw   int     `json:"draw"`
	After  []int32 `json:"after"`
}

func (k *Known) check(s *Settings) error {
	most := Value(s.MaxTokens, DefaultTokens)
	switch {
	case k.Draw < 1 || len(k.Before)+k.Draw+len(k.After) > most:
		return fmt.Errorf("%w: known: want 1 token or more to draw, and no more of all than max_tokens, %d", engine.ErrInput, most)
	case s.Logprobs != nil || s.Regex != nil || s.Schema != nil:
		return fmt.Errorf("%w: known: not with logprobs, regex or schema, which need every token drawn", engine.ErrInput)
	}
	return nil
}

// Stops is a string or several.
type Stops []string

// UnmarshalJSONFrom implements json.UnmarshalerFrom.
func (s *Stops) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	if d.PeekKind() == '"' {
		*s = make(Stops, 1)
		return json.UnmarshalDecode(d, &(*s)[0])
	}
	return json.UnmarshalDecode(d, (*[]string)(s))
}

// strict refuses fields that are not known.
var strict = json.RejectUnknownMembers(true)

// Parse reads all lines, before any is answered, and fills what they do not say
// from the params.
func Parse(data []byte, params *Params) (lines []Line, err error) {
	if len(data) > MaxInput {
		return nil, fmt.Errorf("%w: %d bytes of input, at most %d", engine.ErrTooLarge, len(data), MaxInput)
	}
	for n, b := range jsonl.Lines(data) {
		l, err := parseLine(b, &params.Settings)
		switch {
		case params.Answers(err) && l.ID != nil:
			l.Refused = err
		case err != nil:
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		l.Number = n
		if lines = append(lines, l); len(lines) > maxLines {
			return nil, fmt.Errorf("%w: over %d lines", engine.ErrTooLarge, maxLines)
		}
	}
	if len(lines) == 0 {
		return nil, jsonl.ErrEmpty
	}
	return lines, nil
}

// parseLine also returns the line if that is refused, as long as it can be told
// which one it is.
func parseLine(b []byte, defaults *Settings) (Line, error) {
	var l Line
	if err := jsonl.Decode(b, maxLine, &l, strict); err != nil {
		return Line{}, err
	}
	if err := jsonl.CheckID(l.ID); err != nil {
		return Line{}, err
	}
	if (l.Prompt == nil) == (l.Messages == nil) {
		return l, fmt.Errorf(`%w: want either "prompt" or "messages"`, engine.ErrInput)
	}
	l.fill(defaults)
	if l.Known != nil {
		if err := l.Known.check(&l.Settings); err != nil {
			return l, err
		}
	}
	return l, l.Check()
}

// fill takes over what is not said.
func (s *Settings) fill(d *Settings) {
	or(&s.MaxTokens, d.MaxTokens)
	or(&s.Temperature, d.Temperature)
	or(&s.TopK, d.TopK)
	or(&s.TopP, d.TopP)
	or(&s.MinP, d.MinP)
	or(&s.Seed, d.Seed)
	or(&s.Logprobs, d.Logprobs)
	if s.Stop == nil {
		s.Stop = d.Stop
	}
	if s.Regex == nil && s.Schema == nil {
		s.Regex, s.Schema = d.Regex, d.Schema
	}
}

func or[T any](v **T, d *T) {
	if *v == nil {
		*v = d
	}
}

// Check refuses what no engine does.
func (s *Settings) Check() error {
	bad := func(name, want string) error { return fmt.Errorf("%w: %s: want %s", engine.ErrInput, name, want) }
	switch {
	case s.MaxTokens != nil && *s.MaxTokens < 1:
		return bad("max_tokens", "1 or more")
	case s.Temperature != nil && !(*s.Temperature >= 0 && *s.Temperature <= 2):
		return bad("temperature", "0 to 2")
	case s.Seed != nil && *s.Seed >= 1<<63:
		return bad("seed", "0 to 2^63-1")
	case s.Logprobs != nil && (*s.Logprobs < 0 || *s.Logprobs > 20):
		return bad("logprobs", "0 to 20")
	case s.Regex != nil && s.Schema != nil:
		return bad("regex, schema", "one of them at most")
	case len(s.Stop) > maxStops:
		return bad("stop", fmt.Sprintf("at most %d strings", maxStops))
	}
	for _, stop := range s.Stop {
		if stop == "" || len(stop) > maxStop {
			return bad("stop", fmt.Sprintf("strings of 1 to %d bytes", maxStop))
		}
	}
	if err := s.Sampling().Check(); err != nil {
		return fmt.Errorf("%w: %w", engine.ErrInput, err)
	}
	return nil
}

// Sampling is how tokens are to be drawn.
func (s *Settings) Sampling() repro.Sampling {
	return repro.Sampling{Temperature: Value(s.Temperature, 0), TopK: Value(s.TopK, 0), TopP: Value(s.TopP, 0), MinP: Value(s.MinP, 0), Seed: Value(s.Seed, 0)}
}

// Form is what answers are held to; nil for any text.
func (s *Settings) Form() (g *grammar.Grammar, err error) {
	switch {
	case s.Regex != nil:
		g, err = grammar.FromRegex(*s.Regex)
	case s.Schema != nil:
		g, err = grammar.FromSchema(s.Schema)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", engine.ErrInput, err)
	}
	return g, nil
}

// Value is what a setting says, or else or.
func Value[T any](p *T, or T) T {
	if p == nil {
		return or
	}
	return *p
}
