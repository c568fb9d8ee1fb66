package shard

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"golang.org/x/sync/semaphore"

	"atoll/internal/llm"
)

// Head is the first stage of a line, which asks the whole line to continue texts.
type Head struct {
	*Stage
	active  *semaphore.Weighted
	answers map[uint32]*answer // guarded by Stage.mu
	next    uint32             // likewise
	groups  groups             // likewise
	heard   int64              // tokens so far; likewise
}

// answer is a request under way.
type answer struct {
	out chan llm.Token // room for all: a slow reader holds up nobody
	err error          // set before out is closed
}

// NewHead makes room for a head that answers at most so many requests at once.
func NewHead(c StageConfig, active int) (*Head, error) {
	s, err := NewStage(c)
	if err != nil {
		return nil, err
	}
	if !s.first {
		return nil, errors.New("shard: the head has the first layers")
	}
	h := &Head{Stage: s, active: semaphore.NewWeighted(int64(active)), answers: map[uint32]*answer{}}
	s.arrived, s.hold = h.arrived, h.group
	return h, nil
}

// Run computes until ctx ends; what is not answered then fails.
func (h *Head) Run(ctx context.Context) {
	h.Stage.Run(ctx)
	h.mu.Lock()
	defer h.mu.Unlock()
	for id, a := range h.answers {
		h.finish(id, a, llm.ErrEnded)
	}
}

// Generate continues a text as llm.Batcher.Generate does.
func (h *Head) Generate(ctx context.Context, r llm.Request) iter.Seq2[llm.Token, error] {
	return h.Answer(ctx, r, nil)
}

// Answer is Generate, and calls ended, if that is not nil, when the last token has been
// taken: the stages still know the sequence then, of which so many positions went
// through the layers for the tokens that were taken. It is not called if there were
// none, or the answer has failed.
func (h *Head) Answer(ctx context.Context, r llm.Request, ended func(sequence uint32, positions int)) iter.Seq2[llm.Token, error] {
	return func(yield func(llm.Token, error) bool) {
		if err := h.active.Acquire(ctx, 1); err != nil {
			yield(llm.Token{}, context.Cause(ctx))
			return
		}
		defer h.active.Release(1)
		id, a, err := h.begin(&r)
		if err != nil {
			yield(llm.Token{}, err)
			return
		}
		defer h.drop(id, a)
		taken := 0
		over := func() {
			if ended != nil && taken > 0 {
				ended(id, len(r.Prompt)+taken-1)
			}
		}
		for {
			select {
			case t, ok := <-a.out:
				switch {
				case !ok && a.err != nil:
					yield(llm.Token{}, a.err)
					return
				case !ok:
					over()
					return
				}
				taken++
				if !yield(t, nil) {
					over()
					return
				}
			case <-ctx.Done():
				yield(llm.Token{}, context.Cause(ctx))
				return
			}
		}
	}
}

// begin opens a sequence.
func (h *Head) begin(r *llm.Request) (uint32, *answer, error) {
	c := &h.cfg.Model.Config
	if err := r.Check(c.Vocab, c.Context); err != nil {
		return 0, nil, err
	}
	opening, err := openingOf(r)
	if err != nil {
		return 0, nil, err
	}
	limit := r.Length(c.Context)
	a := &answer{out: make(chan llm.Token, limit-len(r.Prompt))}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.stopped {
		return 0, nil, llm.ErrEnded
	}
	h.next++
	id := h.next
	tokens := append(make([]int32, 0, limit), r.Prompt...)
	if err := h.open(&opened{Sequence: id, Prompt: uint32(len(r.Prompt)), Limit: uint32(limit), Opening: opening}, tokens); err != nil {
		return 0, nil, llm.ErrBusy
	}
	h.answers[id] = a
	if why := h.seqs[id].why; why != "" {
		h.finish(id, a, errors.New(why))
		h.forget(id)
		return 0, nil, a.err
	}
	return id, a, nil
}

// drop forgets a sequence whose answer nobody reads any more.
func (h *Head) drop(id uint32, a *answer) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.finish(id, a, nil)
	h.forget(id)
}

// finish ends an answer that has not ended; mu is held.
func (h *Head) finish(id uint32, a *answer, err error) {
	if h.answers[id] != a {
		return
	}
	delete(h.answers, id)
	a.err = err
	close(a.out)
}

// waits says how many tokens were heard so far, and whether the head has done all that
// it can and waits for more.
func (h *Head) waits() (heard int64, waits bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.heard, len(h.answers) > 0 && !h.busy && len(h.waiting()) == 0
}

// group says which of those that wait make the next group, if there are enough: others
// would not catch up with it. Prompts wait for nobody. mu is held.
func (h *Head) group(waiting []*sequence) []*sequence {
	least, most := h.groups.size(len(h.answers))
	prompt := func(q *sequence) bool { return q.computed < int(q.Prompt) }
	if len(waiting) < least && !slices.ContainsFunc(waiting, prompt) {
		return nil
	}
	return waiting[:min(len(waiting), most)]
}

// arrived hands out tokens and has the line go on behind them; mu is held.
func (h *Head) arrived(tokens []token) {
	h.heard += int64(len(tokens))
	h.groups.drew(len(tokens), len(h.answers), time.Now())
	for i := range tokens {
		t := &tokens[i]
		q, a := h.seqs[t.Sequence], h.answers[t.Sequence]
		switch {
		case q == nil || a == nil || t.Position < len(q.tokens):
			continue // it has ended, or this was heard before
		case t.Position > len(q.tokens) || t.Position >= int(q.Limit) || t.ID < 0 || int(t.ID) >= h.cfg.Model.Config.Vocab:
			h.finish(t.Sequence, a, fmt.Errorf("the last stage has drawn token %d at position %d, after %d of %d", t.ID, t.Position, len(q.tokens), q.Limit))
			continue
		}
		q.tokens = append(q.tokens, t.ID)
		a.out <- t.Token // has room
		if h.cfg.Model.Tokens.Stops(t.ID) || len(q.tokens) == int(q.Limit) {
			h.finish(t.Sequence, a, nil)
		} else {
			q.received = len(q.tokens) // the line goes on
		}
	}
	for id, a := range h.answers {
		if why := h.seqs[id].why; why != "" {
			h.finish(id, a, errors.New(why))
		}
	}
	h.came.Signal()
}
