package llm

import (
	"bytes"
	"fmt"
	"maps"
	"slices"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"atoll/internal/engine"
	"atoll/internal/engine/jsonl"
	"atoll/internal/llm"
	"atoll/internal/llm/chat"
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

const defaultTokens = 128

// settings say how a text is to be continued. A nil field is not said.
type settings struct {
	MaxTokens   *int     `json:"max_tokens"`
	Temperature *float32 `json:"temperature"`
	TopK        *int     `json:"top_k"`
	TopP        *float32 `json:"top_p"`
	MinP        *float32 `json:"min_p"`
	Seed        *uint64  `json:"seed"`
	Stop        stops    `json:"stop"`
	Logprobs    *int     `json:"logprobs"`
}

// line is one line of input.
type line struct {
	number   int            // in the input, from 1
	ID       jsontext.Value `json:"id"`
	Prompt   *string        `json:"prompt"`
	Messages jsontext.Value `json:"messages"`
	settings `json:",inline"`
}

// stops is a string or several.
type stops []string

// UnmarshalJSONFrom implements json.UnmarshalerFrom.
func (s *stops) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	if d.PeekKind() == '"' {
		*s = make(stops, 1)
		return json.UnmarshalDecode(d, &(*s)[0])
	}
	return json.UnmarshalDecode(d, (*[]string)(s))
}

// strict refuses fields that are not known.
var strict = json.RejectUnknownMembers(true)

func parseLine(b []byte, defaults *settings) (line, error) {
	var l line
	if err := jsonl.Decode(b, maxLine, &l, strict); err != nil {
		return l, err
	}
	if (l.Prompt == nil) == (l.Messages == nil) {
		return l, fmt.Errorf(`%w: want either "prompt" or "messages"`, engine.ErrInput)
	}
	if err := jsonl.CheckID(l.ID); err != nil {
		return l, err
	}
	l.fill(defaults)
	return l, l.check()
}

// taskParams are what holds for all lines of a task.
type taskParams struct {
	settings
	profile  llm.Profile
	template string // of the chat templates' names; "" is the model's own
}

func parseParams(params map[string]string) (p taskParams, err error) {
	if p.profile, err = llm.ParseProfile(params["profile"]); err != nil {
		return p, fmt.Errorf("%w: %w", engine.ErrInput, err)
	}
	if p.template = params["template"]; p.template != "" && !slices.Contains(chat.Names(), p.template) {
		return p, fmt.Errorf("%w: template %.40q: want one of %v, or none for the model's own", engine.ErrInput, p.template, chat.Names())
	}
	var b bytes.Buffer
	b.WriteByte('{')
	for _, name := range slices.Sorted(maps.Keys(params)) {
		if name == "profile" || name == "template" {
			continue
		}
		if b.Len() > 1 {
			b.WriteByte(',')
		}
		value := []byte(params[name])
		if !jsontext.Value(value).IsValid() { // a bare string, such as a stop
			value, _ = jsontext.AppendQuote(nil, params[name])
		}
		quoted, _ := jsontext.AppendQuote(nil, name)
		fmt.Fprintf(&b, "%s:%s", quoted, value)
	}
	b.WriteByte('}')
	if err := json.Unmarshal(b.Bytes(), &p.settings, strict); err != nil {
		return p, fmt.Errorf("params: %w", jsonl.Refusal(err))
	}
	if err := p.check(); err != nil {
		return p, fmt.Errorf("params: %w", err)
	}
	return p, nil
}

// fill takes over what is not said.
func (s *settings) fill(d *settings) {
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
}

func or[T any](v **T, d *T) {
	if *v == nil {
		*v = d
	}
}

func (s *settings) check() error {
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
	case len(s.Stop) > maxStops:
		return bad("stop", fmt.Sprintf("at most %d strings", maxStops))
	}
	for _, stop := range s.Stop {
		if stop == "" || len(stop) > maxStop {
			return bad("stop", fmt.Sprintf("strings of 1 to %d bytes", maxStop))
		}
	}
	if err := s.sampling().Check(); err != nil {
		return fmt.Errorf("%w: %w", engine.ErrInput, err)
	}
	return nil
}

func (s *settings) sampling() repro.Sampling {
	return repro.Sampling{Temperature: value(s.Temperature, 0), TopK: value(s.TopK, 0), TopP: value(s.TopP, 0), MinP: value(s.MinP, 0), Seed: value(s.Seed, 0)}
}

func value[T any](p *T, or T) T {
	if p == nil {
		return or
	}
	return *p
}
