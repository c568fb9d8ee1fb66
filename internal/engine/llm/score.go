package llm

import (
	"context"
	"fmt"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"atoll/internal/engine"
	"atoll/internal/engine/completion"
	"atoll/internal/engine/jsonl"
	"atoll/internal/llm/tokenizer"
)

// scoreLine is a line of input whose answer was drawn elsewhere.
type scoreLine struct {
	ID          jsontext.Value `json:"id"`
	Prompt      *string        `json:"prompt"`
	Messages    jsontext.Value `json:"messages"`
	Text        string         `json:"text"`
	Tokens      [][]byte       `json:"tokens"`
	Ended       bool           `json:"ended"` // by the model itself
	Temperature float64        `json:"temperature"`
}

// score reads each line's answer, and tells of its tokens what the model makes of
// them: see llm.Scored. It reads them one after the other, for each needs room for
// the keys and values of its whole text.
func (s *served) score(ctx context.Context, in *instance, input engine.Input, template string, use *engine.Usage) (out []byte, err error) {
	if len(input.Data) > completion.MaxInput {
		return nil, fmt.Errorf("%w: %d bytes of input, at most %d", engine.ErrTooLarge, len(input.Data), completion.MaxInput)
	}
	for n, b := range jsonl.Lines(input.Data) {
		line, err := s.scoreLine(ctx, in, b, template, use)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		if out = append(out, line...); len(out) > completion.MaxOutput {
			return nil, fmt.Errorf("line %d: %w: over %d bytes of output", n, engine.ErrTooLarge, completion.MaxOutput)
		}
	}
	if len(out) == 0 {
		return nil, jsonl.ErrEmpty
	}
	return out, nil
}

func (s *served) scoreLine(ctx context.Context, in *instance, b []byte, template string, use *engine.Usage) ([]byte, error) {
	var l scoreLine
	if err := jsonl.Decode(b, len(b), &l, json.RejectUnknownMembers(true)); err != nil {
		return nil, err
	}
	if l.ID == nil || (l.Prompt == nil) == (l.Messages == nil) {
		return nil, fmt.Errorf(`%w: want "id" and either "prompt" or "messages"`, engine.ErrInput)
	}
	if err := jsonl.CheckID(l.ID); err != nil {
		return nil, err
	}
	prompt, err := s.prompt(&completion.Line{Prompt: l.Prompt, Messages: l.Messages}, template)
	if err != nil {
		return nil, err
	}
	tokens, told := s.numbers(&l)
	line := append([]byte{'{'}, `"id":`...)
	line = append(line, l.ID...)
	line = fmt.Appendf(line, `,"prompt_tokens":%d,"context":%d,"told":%t,"scores":[`, len(prompt), s.model.Config.Context, told)
	use.TokensIn += int64(len(prompt) + len(tokens))
	if ends := s.model.Tokens.Vocab().Stop; len(tokens) > 0 || l.Ended && len(ends) > 0 {
		scored, err := s.model.Score(ctx, in.e.pool, prompt, tokens, l.Ended, l.Temperature)
		if err != nil {
			return nil, failed(err)
		}
		for i, t := range scored {
			line = fmt.Appendf(comma(line, i), "[%.6g,%.6g,%.6g,%.6g,%.6g]", t.Margin, t.Logprob, t.Drawn, t.Entropy, t.Variance)
		}
	}
	return append(line, "]}\n"...), nil
}

// numbers are the tokens of an answer: those that are told by their bytes, if the
// model has them all, or else those that its text is read as.
func (s *served) numbers(l *scoreLine) (tokens []int32, told bool) {
	byBytes := s.byBytes()
	for _, b := range l.Tokens {
		id, ok := byBytes[string(b)]
		if !ok {
			tokens = nil
			break
		}
		tokens = append(tokens, id)
	}
	if len(l.Tokens) > 0 && tokens != nil {
		return tokens, true
	}
	return s.model.Tokens.Encode(l.Text, tokenizer.Options{}), false
}

// tokensByBytes finds tokens by what they add to a text. Of several that add the same
// a whole word comes before a lone byte, and the first before others.
func tokensByBytes(t *tokenizer.Tokenizer) map[string]int32 {
	v := t.Vocab()
	out := make(map[string]int32, len(v.Tokens))
	for _, kind := range []tokenizer.Kind{tokenizer.Normal, tokenizer.User, tokenizer.Byte} {
		for id, token := range v.Tokens {
			if token.Kind != kind {
				continue
			}
			b := string(t.Bytes(int32(id)))
			if _, had := out[b]; !had && b != "" {
				out[b] = int32(id)
			}
		}
	}
	return out
}
