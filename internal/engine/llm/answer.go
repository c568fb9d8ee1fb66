package llm

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"

	"atoll/internal/core"
	"atoll/internal/engine"
	"atoll/internal/engine/completion"
	"atoll/internal/llm"
	"atoll/internal/llm/chat"
	"atoll/internal/llm/tokenizer"
)

// answer is what came of one line.
type answer struct {
	refused  error // instead of all else
	text     []byte
	finish   string
	prompt   int // tokens
	tokens   []llm.Token
	known    int                  // of the tokens: those that were not drawn
	logprobs *tokenizer.Tokenizer // that spells them; nil if they are not asked for
}

// prompt returns the tokens that a line asks to continue. No stranger's text is
// taken for control tokens, neither as it is nor within a conversation.
func (s *served) prompt(l *completion.Line, template string) ([]int32, error) {
	if l.Prompt != nil {
		return s.model.Tokens.Encode(*l.Prompt, tokenizer.Options{Whole: true}), nil
	}
	messages, err := chat.ReadMessages(l.Messages)
	if err != nil {
		return nil, fmt.Errorf("%w: messages: %w", engine.ErrInput, err)
	}
	t, err := chat.New(s.model.Tokens, template)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", engine.ErrInput, err)
	}
	tokens, err := t.Encode(chat.Request{Messages: messages, Answer: true})
	if err != nil {
		return nil, fmt.Errorf("%w: messages: %w", engine.ErrInput, err)
	}
	return tokens, nil
}

// answer continues one text. more is told of it as it grows.
func (s *served) answer(ctx context.Context, scope core.AccountID, l *completion.Line, template string, more func(text string)) (*answer, error) {
	if l.Refused != nil {
		return nil, l.Refused
	}
	prompt, err := s.prompt(l, template)
	if err != nil {
		return nil, err
	}
	form, err := l.Form()
	if err != nil {
		return nil, err
	}
	r := llm.Request{
		Scope: string(scope), Prompt: prompt, MaxTokens: completion.Value(l.MaxTokens, completion.DefaultTokens), Sampling: l.Sampling(), Logprobs: completion.Value(l.Logprobs, -1), Form: form,
	}
	a := &answer{finish: "length", prompt: len(prompt)}
	if l.Logprobs != nil {
		a.logprobs = s.model.Tokens
	}
	text := llm.NewText(s.model.Tokens, l.Stop)
	for token, err := range s.tokens(ctx, r, l.Known) {
		if err != nil {
			return nil, failed(err)
		}
		a.tokens = append(a.tokens, token)
		if token.Position == known {
			a.known++
		}
		if s.model.Tokens.Stops(token.ID) {
			a.finish = "stop"
			break
		}
		next, stopped := text.Next(token.ID)
		a.text = append(a.text, next...)
		more(next)
		if stopped {
			a.finish = "stop"
			return a, nil
		}
	}
	a.text = append(a.text, text.Flush()...)
	return a, nil
}

// known is the position of tokens that were not drawn.
const known = -1

// tokens yields the answer's tokens: all drawn, or some known.
func (s *served) tokens(ctx context.Context, r llm.Request, k *completion.Known) iter.Seq2[llm.Token, error] {
	if k == nil {
		return s.batcher.Generate(ctx, r)
	}
	return func(yield func(llm.Token, error) bool) {
		for _, id := range slices.Concat(k.Before, k.After) {
			if id < 0 || int(id) >= s.model.Config.Vocab {
				yield(llm.Token{}, core.Errorf(core.Invalid, "known: token %d; the vocabulary has %d", id, s.model.Config.Vocab))
				return
			}
		}
		all := slices.Clone(r.Prompt)
		end := min(len(r.Prompt)+r.MaxTokens, s.model.Config.Context)
		give := func(ids []int32) bool {
			for _, id := range ids {
				if all = append(all, id); !yield(llm.Token{ID: id, Position: known}, nil) {
					return false
				}
			}
			return true
		}
		draw := func(n int) bool {
			r.Prompt, r.MaxTokens = all, n
			for t, err := range s.batcher.Generate(ctx, r) {
				if !yield(t, err) || err != nil {
					return false
				}
				all = append(all, t.ID)
			}
			return true
		}
		if give(k.Before) && draw(k.Draw) && give(k.After) && len(all) < end {
			draw(end - len(all))
		}
	}
}

// failed says whose fault it is that there is no answer.
func failed(err error) error {
	switch kind := core.KindOf(err); {
	case kind == core.TooLarge:
		return fmt.Errorf("%w: %w", engine.ErrTooLarge, err)
	case kind == core.Invalid:
		return fmt.Errorf("%w: %w", engine.ErrInput, err)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%w: %w", engine.ErrDeadline, err)
	case errors.Is(err, context.Canceled), errors.Is(err, llm.ErrBusy), errors.Is(err, llm.ErrEnded):
		return err
	}
	return fmt.Errorf("%w: %w", engine.ErrCrashed, err) // the model's numbers went out of range
}

// append writes the answer's line. Floats are written as the shortest decimals
// that give the same binary32, which is the same everywhere.
func (a *answer) append(b []byte, id jsontext.Value) []byte {
	if a.refused != nil {
		return completion.AppendRefusal(b, id, a.refused)
	}
	b = completion.AppendText(completion.AppendHead(b, id), a.text)
	b = fmt.Appendf(b, `,"finish_reason":%q,"usage":{"prompt_tokens":%d,"completion_tokens":%d},"tokens":[`, a.finish, a.prompt, len(a.tokens))
	for i, t := range a.tokens {
		b = strconv.AppendInt(comma(b, i), int64(t.ID), 10)
	}
	b = append(b, ']')
	if a.logprobs != nil {
		b = append(b, `,"logprobs":[`...)
		for i, t := range a.tokens {
			b = number(append(comma(b, i), `{"logprob":`...), t.Logprob)
			b = append(b, `,"bytes":`...)
			b = a.bytes(b, t.ID)
			b = append(b, `,"top":[`...)
			for j, o := range t.Top {
				b = fmt.Appendf(comma(b, j), "[%d,", o.ID)
				b = append(number(b, o.Logprob), ',')
				b = append(a.bytes(b, o.ID), ']')
			}
			b = append(b, "]}"...)
		}
		b = append(b, ']')
	}
	return append(b, "}\n"...)
}

// bytes writes the bytes that a token adds to the text, in base64: they need not be
// whole characters. A control token's are none.
func (a *answer) bytes(b []byte, id int32) []byte {
	var plain []byte
	if v := a.logprobs.Vocab(); v.Tokens[id].Kind != tokenizer.Control {
		plain = a.logprobs.Bytes(id)
	}
	return append(base64.StdEncoding.AppendEncode(append(b, '"'), plain), '"')
}

func number(b []byte, v float32) []byte { return strconv.AppendFloat(b, float64(v), 'g', -1, 32) }

func comma(b []byte, i int) []byte {
	if i > 0 {
		b = append(b, ',')
	}
	return b
}
