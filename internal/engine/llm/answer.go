package llm

import (
	"bytes"
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
	"atoll/internal/shard"
)

// answer is what came of one line.
type answer struct {
	refused  error // instead of all else
	text     []byte
	finish   string
	prompt   int // tokens
	tokens   []llm.Token
	known    int // of the tokens: those that were not drawn
	speller  *tokenizer.Tokenizer
	explain  bool   // logprobs are asked for
	logprobs []byte // the list's elements

	accounts    shard.Accounts // of a line's stages
	unaccounted error
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

// grown is told how an answer goes on: by text, or, if logprobs are asked for, by an
// element of that list.
type grown struct {
	text  func(more string)
	token func(element []byte)
}

// answer continues one text. more is told of it as it grows.
func (s *served) answer(ctx context.Context, scope core.AccountID, l *completion.Line, template string, more grown) (*answer, error) {
	if l.Refused != nil {
		return nil, l.Refused
	}
	r, err := s.request(l, template)
	if err != nil {
		return nil, err
	}
	r.Scope = string(scope)
	a := &answer{finish: "length", prompt: len(r.Prompt), speller: s.model.Tokens, explain: l.Logprobs != nil}
	text := llm.NewText(s.model.Tokens, l.Stop)
	for token, err := range s.tokens(ctx, r, l.Known, a) {
		if err != nil {
			return nil, failed(err)
		}
		if stopped := a.grow(token, text, more); stopped {
			a.finish = "stop"
			break
		}
	}
	a.text = append(a.text, text.Flush()...)
	if a.unaccounted != nil {
		return nil, fmt.Errorf("the line has answered, but not accounted for it: %w", a.unaccounted)
	}
	return a, nil
}

// request is what a line asks of the model.
func (s *served) request(l *completion.Line, template string) (r llm.Request, err error) {
	prompt, err := s.prompt(l, template)
	if err != nil {
		return r, err
	}
	form, err := l.Form()
	return llm.Request{
		Prompt: prompt, MaxTokens: completion.Value(l.MaxTokens, completion.DefaultTokens), Sampling: l.Sampling(), Logprobs: completion.Value(l.Logprobs, -1), Form: form,
	}, err
}

// grow takes the next token and reports whether the answer ends with it.
func (a *answer) grow(t llm.Token, text *llm.Text, more grown) (stopped bool) {
	a.tokens = append(a.tokens, t)
	if t.Position == known {
		a.known++
	}
	var next string
	if stopped = a.speller.Stops(t.ID); !stopped {
		next, stopped = text.Next(t.ID)
	}
	a.text = append(a.text, next...)
	if !a.explain {
		more.text(next)
		return stopped
	}
	from := len(a.logprobs)
	a.logprobs = a.element(comma(a.logprobs, from), &t, next)
	more.token(bytes.TrimPrefix(a.logprobs[from:], []byte{','}))
	return stopped
}

// known is the position of tokens that were not drawn.
const known = -1

// tokens yields the answer's tokens: all drawn, or some known.
func (s *served) tokens(ctx context.Context, r llm.Request, k *completion.Known, a *answer) iter.Seq2[llm.Token, error] {
	switch {
	case k == nil && s.line != nil:
		return s.line.answer(ctx, r, func(said shard.Accounts, err error) { a.accounts, a.unaccounted = said, err })
	case k == nil:
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
	if a.explain {
		b = append(completion.AppendHead(b, id, completion.Logprobs), '[')
		b = append(append(b, a.logprobs...), `],"text":`...)
	} else {
		b = completion.AppendHead(b, id, completion.Text)
	}
	b = completion.AppendText(b, a.text)
	b = fmt.Appendf(b, `,"finish_reason":%q,"usage":{"prompt_tokens":%d,"completion_tokens":%d},"tokens":[`, a.finish, a.prompt, len(a.tokens))
	for i, t := range a.tokens {
		b = strconv.AppendInt(comma(b, i), int64(t.ID), 10)
	}
	return append(b, "]}\n"...)
}

// element writes a token of the list of logprobs, with the text that it made certain.
func (a *answer) element(b []byte, t *llm.Token, text string) []byte {
	b = number(append(b, `{"logprob":`...), t.Logprob)
	b = a.bytes(append(b, `,"bytes":`...), t.ID)
	b = append(b, `,"top":[`...)
	for j, o := range t.Top {
		b = fmt.Appendf(comma(b, j), "[%d,", o.ID)
		b = append(number(b, o.Logprob), ',')
		b = append(a.bytes(b, o.ID), ']')
	}
	return append(completion.AppendText(append(b, `],"text":`...), text), '}')
}

// bytes writes the bytes that a token adds to the text, in base64: they need not be
// whole characters. A control token's are none.
func (a *answer) bytes(b []byte, id int32) []byte {
	var plain []byte
	if v := a.speller.Vocab(); v.Tokens[id].Kind != tokenizer.Control {
		plain = a.speller.Bytes(id)
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
