package llm

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"math"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"atoll/internal/engine"
	"atoll/internal/engine/completion"
	"atoll/internal/engine/jsonl"
	"atoll/internal/llm/tokenizer"
)

// embedLine is a line of input whose vector is asked for.
type embedLine struct {
	ID     jsontext.Value `json:"id"`
	Prompt *string        `json:"prompt"`
}

// embed answers each line with its vector, one after the other: each needs room for
// the keys and values of its whole text.
func (s *served) embed(ctx context.Context, in *instance, input engine.Input, params *taskParams, use *engine.Usage) (out []byte, err error) {
	if len(input.Data) > completion.MaxInput {
		return nil, fmt.Errorf("%w: %d bytes of input, at most %d", engine.ErrTooLarge, len(input.Data), completion.MaxInput)
	}
	most := int64(completion.MaxOutput)
	if n := input.Limits.Output; n > 0 {
		most = n
	}
	for n, b := range jsonl.Lines(input.Data) {
		l, err := parseEmbedLine(b)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		tokens := s.model.Tokens.Encode(*l.Prompt, tokenizer.Options{Whole: true})
		vector, err := s.model.Embed(ctx, in.e.pool, tokens)
		if err != nil {
			err = failed(err)
		}
		switch {
		case err == nil:
			use.TokensIn += int64(len(tokens))
			out = appendVector(out, l.ID, vector, len(tokens))
		case params.Answers(err):
			out = completion.AppendRefusal(out, l.ID, err)
		default:
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		if int64(len(out)) > most {
			return nil, fmt.Errorf("line %d: %w: over %d bytes of output", n, engine.ErrTooLarge, most)
		}
	}
	if len(out) == 0 {
		return nil, jsonl.ErrEmpty
	}
	return out, nil
}

func parseEmbedLine(b []byte) (l embedLine, err error) {
	if err := jsonl.Decode(b, len(b), &l, json.RejectUnknownMembers(true)); err != nil {
		return l, err
	}
	if l.Prompt == nil {
		return l, fmt.Errorf(`%w: want "prompt"`, engine.ErrInput)
	}
	return l, jsonl.CheckID(l.ID)
}

func appendVector(b []byte, id jsontext.Value, vector []float32, tokens int) []byte {
	var raw []byte
	for _, v := range vector {
		raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(v))
	}
	b = append(b, '{')
	if id != nil {
		b = append(append(append(b, `"id":`...), id...), ',')
	}
	b = append(b, `"embedding":"`...)
	b = base64.StdEncoding.AppendEncode(b, raw)
	return fmt.Appendf(b, `","usage":{"prompt_tokens":%d}}`+"\n", tokens)
}
