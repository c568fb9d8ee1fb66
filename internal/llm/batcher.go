package llm

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"atoll/internal/repro"

	"golang.org/x/sync/errgroup"
)

// BatcherConfig bounds a batcher. Zero fields have defaults.
type BatcherConfig struct {
	Pages   int // of keys and values; default: four whole contexts
	Batch   int // positions computed at once; default 128
	Active  int // sequences answered at once; default 64
	Waiting int // requests that wait beside those; default 1024
	Context int // the longest sequence; default the model's
}

// Batcher answers many requests with one decoder. Each step takes the next
// position of every answer under way and, as far as there is room, a piece of a
// new prompt: short answers do not wait for long prompts, and weights are read
// once for all. What a request is answered does not depend on the others.
//
// A request gets its pages when it begins, for its whole length, so that nothing
// ever has to be thrown out half-way; until there are enough it waits in line.
type Batcher struct {
	m     *Model
	d     *Decoder
	pool  *repro.Pool
	c     BatcherConfig
	queue chan *answer
	ended chan struct{} // closed when Run has ended

	// Owned by Run:
	cache  *Cache
	wait   *answer // taken from the queue; there were not enough pages
	active []*answer
	spans  []Span
	of     []*answer // whose spans these are
}

// answer is a request under way.
type answer struct {
	ctx    context.Context
	r      Request
	drawer *Drawer
	out    chan Token // room for all: a slow reader holds up nobody
	err    error      // set before out is closed

	seq    *Sequence
	tokens []int32 // prompt and answer
	cached int
	limit  int // of len(tokens)
}

// NewBatcher makes room; Run must follow.
func NewBatcher(m *Model, pool *repro.Pool, c BatcherConfig) (*Batcher, error) {
	def := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	def(&c.Context, m.Config.Context)
	def(&c.Pages, 4*(c.Context+repro.PagePositions-1)/repro.PagePositions)
	def(&c.Batch, 128)
	def(&c.Active, 64)
	def(&c.Waiting, 1024)
	if !m.HasEmbedding() || !m.HasOutput() {
		return nil, fmt.Errorf("batcher: layers %d to %d of %d: want the whole model", m.First, m.Last, m.Config.Layers)
	}
	if c.Active < 1 || c.Active > c.Batch || c.Waiting < 0 || c.Pages*repro.PagePositions < c.Context {
		return nil, fmt.Errorf("batcher: %d answers at once in steps of %d positions, %d pages for sequences of %d: want at least one answer, no more than positions, and pages for one sequence", c.Active, c.Batch, c.Pages, c.Context)
	}
	d, err := NewDecoder(m, pool, DecoderConfig{Pages: c.Pages, Batch: c.Batch, Context: c.Context})
	if err != nil {
		return nil, err
	}
	return &Batcher{m: m, d: d, pool: pool, c: c, queue: make(chan *answer, c.Waiting), ended: make(chan struct{}), cache: NewCache(c.Pages)}, nil
}

// Generate continues a text, token by token, until the model ends it, the limit
// or the context is reached, or ctx ends (which is then the error). It fails with
// ErrBusy if too many wait already.
func (b *Batcher) Generate(ctx context.Context, r Request) iter.Seq2[Token, error] {
	return func(yield func(Token, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel() // a reader that stops early ends the work
		a, err := b.submit(ctx, r)
		if err != nil {
			yield(Token{}, err)
			return
		}
		for {
			select {
			case t, ok := <-a.out:
				if !ok {
					if a.err != nil {
						yield(Token{}, a.err)
					}
					return
				}
				if !yield(t, nil) {
					return
				}
			case <-b.ended:
				yield(Token{}, ErrEnded)
				return
			}
		}
	}
}

// ErrEnded means that the batcher has stopped.
var ErrEnded = errors.New("the model is no longer served")

func (b *Batcher) submit(ctx context.Context, r Request) (*answer, error) {
	if err := r.Check(b.m.Config.Vocab, b.c.Context); err != nil {
		return nil, err
	}
	a := &answer{ctx: ctx, r: r, limit: r.Length(b.c.Context)}
	var err error
	if a.drawer, err = b.m.NewDrawer(&a.r, b.pool.ISA()); err != nil {
		return nil, err
	}
	a.tokens = append(make([]int32, 0, a.limit), r.Prompt...)
	a.out = make(chan Token, a.limit-len(r.Prompt))
	select {
	case b.queue <- a:
		return a, nil
	default:
		return nil, ErrBusy
	}
}

// Run works until ctx ends; what is not answered then fails with its error.
func (b *Batcher) Run(ctx context.Context) error {
	defer close(b.ended)
	defer func() {
		for _, a := range b.active {
			if a.seq != nil { // those that ended with the last step are still among them
				b.end(a, context.Cause(ctx))
			}
		}
	}()
	for ctx.Err() == nil {
		if !b.admit(ctx) {
			return nil
		}
		b.step()
	}
	return nil
}

// admit begins what waits, as far as there is room. It blocks while there is
// nothing to do at all, and is false when ctx has ended.
func (b *Batcher) admit(ctx context.Context) bool {
	for len(b.active) < b.c.Active {
		if b.wait == nil {
			if len(b.active) == 0 {
				select {
				case b.wait = <-b.queue:
				case <-ctx.Done():
					return false
				}
			} else {
				select {
				case b.wait = <-b.queue:
				default:
					return true
				}
			}
		}
		a := b.wait
		if a.ctx.Err() != nil {
			b.end(a, context.Cause(a.ctx))
			b.wait = nil
			continue
		}
		var stored int
		a.seq, stored = b.cache.Begin(a.r.Scope, a.r.Prompt)
		if a.seq.Grow(a.limit) != nil { // others give pages back: alone it always fits
			a.seq.End()
			return true
		}
		a.cached = stored
		b.active, b.wait = append(b.active, a), nil
	}
	return true
}

// step computes the next positions of all that is under way.
func (b *Batcher) step() {
	b.drop()
	b.spans, b.of = b.spans[:0], b.of[:0]
	room := b.c.Batch - len(b.active) // one position is kept for each
	for _, a := range b.active {
		n := len(a.tokens) - a.seq.Len()
		if n > 1 {
			more := min(n-1, room)
			room -= more
			n = 1 + more
		}
		s := Span{Pages: a.seq.Pages(), First: a.seq.Len(), Tokens: a.tokens[a.seq.Len() : a.seq.Len()+n]}
		if s.First+n == len(a.tokens) {
			s.Want = 1
		}
		b.spans, b.of = append(b.spans, s), append(b.of, a)
	}
	if len(b.spans) == 0 {
		return
	}
	logits, err := b.d.Forward(b.spans)
	if err == nil {
		b.deliver(b.spans, b.of, logits)
		return
	}
	// Somebody's numbers have gone out of range: each by itself, so that only that
	// one fails. What was computed once has the same bits the second time.
	for i, a := range b.of {
		logits, err := b.d.Forward(b.spans[i : i+1])
		if err != nil {
			b.end(a, fmt.Errorf("position %d: %w", b.spans[i].First, err))
			continue
		}
		b.deliver(b.spans[i:i+1], b.of[i:i+1], logits)
	}
}

// drop ends the answers that nobody waits for any more, and forgets those that
// have ended.
func (b *Batcher) drop() {
	kept := b.active[:0]
	for _, a := range b.active {
		if a.seq != nil && a.ctx.Err() != nil {
			b.end(a, context.Cause(a.ctx))
		}
		if a.seq != nil {
			kept = append(kept, a)
		}
	}
	clear(b.active[len(kept):])
	b.active = kept
}

// deliver draws a token for each span that asked for logits, several at a time:
// over a large vocabulary a draw costs as much as some layers.
func (b *Batcher) deliver(spans []Span, of []*answer, logits []float32) {
	vocab := b.m.Config.Vocab
	drawn := make([]Token, len(of))
	errs := make([]error, len(of))
	var g errgroup.Group
	g.SetLimit(b.pool.Threads())
	for i, a := range of {
		a.seq.Stored(spans[i].Tokens...)
		if spans[i].Want == 0 {
			continue
		}
		row := logits[:vocab]
		logits = logits[vocab:]
		g.Go(func() error {
			drawn[i], errs[i] = a.drawer.Draw(row, len(a.tokens))
			return nil
		})
	}
	_ = g.Wait() // errors are each answer's own
	for i, a := range of {
		switch {
		case spans[i].Want == 0:
		case errs[i] != nil:
			b.end(a, fmt.Errorf("position %d: %w", len(a.tokens), errs[i]))
		default:
			b.append(a, drawn[i])
		}
	}
}

// append hands out a token and ends the answer if it is the last.
func (b *Batcher) append(a *answer, t Token) {
	if t.Position == len(a.r.Prompt) {
		t.Cached = a.cached
	}
	a.tokens = append(a.tokens, t.ID)
	a.out <- t // has room
	if b.m.Tokens.Stops(t.ID) || len(a.tokens) >= a.limit {
		b.end(a, nil)
	}
}

// end closes an answer and gives its pages back.
func (b *Batcher) end(a *answer, err error) {
	if a.seq != nil {
		a.seq.End()
		a.seq = nil
	}
	a.err = err
	close(a.out)
}
