package llm

import (
	"errors"

	"atoll/internal/core"
	"atoll/internal/llm/grammar"
	"atoll/internal/repro"
)

// Request is a text to be continued.
type Request struct {
	// Scope keeps what is shared apart: a prompt's beginning is found again only by
	// requests of the same scope, so that nobody can tell from the time an answer
	// takes what others have asked.
	Scope     string
	Prompt    []int32
	MaxTokens int // of the answer
	Sampling  repro.Sampling
	// Logprobs asks for the drawn token's logarithm of probability, before
	// temperature and choice, and for those of so many best tokens besides. −1
	// means none at all.
	Logprobs int
	// Form, if set, is what the answer is held to, byte by byte: tokens that would
	// leave it are not drawn, and the answer may end only within it. The limit of
	// tokens may still cut it off.
	Form *grammar.Grammar
}

// Token is one token of an answer.
type Token struct {
	ID       int32
	Position int     // in the sequence, the prompt's first being 0
	Logprob  float32 // if Request.Logprobs ≥ 0
	Top      []Alternative
	// Cached counts the tokens of the prompt that were not computed anew; it is set
	// in the first token.
	Cached int
}

// Alternative is a token that could have been drawn.
type Alternative struct {
	ID      int32
	Logprob float32
}

const maxTop = 20

// ErrBusy means that as many requests wait as may wait.
var ErrBusy = errors.New("too many requests wait for the model")

// Check refuses what a model with such a vocabulary and context cannot do.
func (r *Request) Check(vocab, context int) error {
	switch {
	case len(r.Prompt) == 0:
		return core.Errorf(core.Invalid, "the prompt is empty").At("prompt")
	case len(r.Prompt) >= context:
		return core.Errorf(core.TooLarge, "the prompt has %d tokens; the model's context is %d, and an answer needs at least one", len(r.Prompt), context).At("prompt").WithHint("shorten the prompt")
	case r.MaxTokens < 1:
		return core.Errorf(core.Invalid, "an answer of %d tokens: want at least 1", r.MaxTokens).At("max_tokens")
	case r.Logprobs < -1 || r.Logprobs > maxTop:
		return core.Errorf(core.Invalid, "%d best tokens: want 0 to %d", r.Logprobs, maxTop).At("top_logprobs")
	}
	for i, id := range r.Prompt {
		if id < 0 || int(id) >= vocab {
			return core.Errorf(core.Invalid, "token %d at position %d: the vocabulary has %d", id, i, vocab).At("prompt")
		}
	}
	if err := r.Sampling.Check(); err != nil {
		return core.Errorf(core.Invalid, "%w", err)
	}
	return nil
}

// Length is the most positions that the request's sequence may come to.
func (r *Request) Length(context int) int { return min(len(r.Prompt)+r.MaxTokens, context) }
