package bench

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"atoll/internal/llm"
	"atoll/internal/llm/weights"
	"atoll/internal/repro"
)

// ModelRow is a model with a number of threads. Speeds are tokens a second.
type ModelRow struct {
	Model   string  `json:"model"`
	Bytes   int64   `json:"bytes"` // that one token reads: all weights
	Threads int     `json:"threads"`
	Prefill float64 `json:"prefill_tokens_per_s"` // of 128 at once
	Decode  float64 `json:"decode_tokens_per_s"`  // of 64 after nothing, one by one
	// Read is how many GB/s so many threads can read from memory, and Share how
	// much of that decoding comes to.
	Read  float64 `json:"read_gb_per_s"`
	Share float64 `json:"decode_share_of_read"`
	// Together are answers drawn at the same time, with continuous batching.
	Together []TogetherRow `json:"together"`
	// Check is what it costs to check a span of an answer by computing it again.
	Check CheckRow `json:"check"`

	Rival *RivalRow `json:"rival,omitempty"`
}

// TogetherRow is so many sequences at once: prompts of 128 tokens, answers of 64.
type TogetherRow struct {
	Sequences  int     `json:"sequences"`
	Tokens     float64 `json:"answer_tokens_per_s"` // of all, prompts' time included
	FirstToken float64 `json:"first_token_ms"`      // median of the sequences
}

// CheckRow is a whole answer (a prompt of 128 tokens, 64 drawn) and the last 16 of
// its tokens computed again from prompt and answer so far.
type CheckRow struct {
	AnswerMs float64 `json:"answer_ms"`
	SpanMs   float64 `json:"span_ms"`
	Share    float64 `json:"share"` // of the work checked
}

// RivalRow is what another program does with the same file between our rounds.
type RivalRow struct {
	Prefill      float64 `json:"prefill_tokens_per_s"`
	Decode       float64 `json:"decode_tokens_per_s"`
	PrefillRatio float64 `json:"prefill_ratio"` // ours to its
	DecodeRatio  float64 `json:"decode_ratio"`
}

const (
	promptTokens = 128
	answerTokens = 64
	spanTokens   = 16
)

var together = []int{1, 4, 16}

// modelBench measures one model with one number of threads.
type modelBench struct {
	model  *llm.Model
	pool   *repro.Pool
	memory []uint64 // to read
	row    ModelRow

	prefill, decode, read, answer, span []float64
	tokens, first                       [][]float64 // by the number of sequences
	rival                               struct{ prefill, decode []float64 }
}

// models measures a model with each number of threads, round by round in turn.
func models(ctx context.Context, cfg *LLMConfig, s Shape, isa repro.ISA, memory []uint64) (rows []ModelRow, rivalName string, err error) {
	cfg.Watch(0, 1, s.Name+": weights")
	w, err := weights.Random(s.Config, 1)
	if err != nil {
		return nil, "", err
	}
	m, err := llm.Load(ctx, w, llm.Options{})
	if err != nil {
		return nil, "", err
	}
	var rival *rivalModel
	if cfg.Rival != "" {
		if rival, err = newRival(ctx, cfg.Rival, w); err != nil {
			return nil, "", err
		}
		defer func() { err = errors.Join(err, rival.remove()) }()
	}
	var all []*modelBench
	for _, threads := range cfg.Threads {
		b := &modelBench{model: m, memory: memory, row: ModelRow{Model: s.Name, Bytes: size(&s.Config), Threads: threads}, tokens: make([][]float64, len(together)), first: make([][]float64, len(together))}
		if b.pool, err = repro.NewPool(threads, isa); err != nil {
			return nil, "", err
		}
		defer b.pool.Close()
		all = append(all, b)
	}
	for i := range cfg.Rounds {
		for j, b := range all {
			cfg.Watch(i*len(all)+j, cfg.Rounds*len(all), fmt.Sprintf("%s, %d threads", s.Name, b.row.Threads))
			if err := b.round(ctx, rival); err != nil {
				return nil, "", err
			}
		}
	}
	for _, b := range all {
		rows = append(rows, b.result(rival))
	}
	if rival != nil {
		rivalName = rival.name
	}
	return rows, rivalName, nil
}

// size is how many bytes of weights a token goes through.
func size(c *weights.Config) (n int64) {
	for _, id := range c.Tensors() {
		rows, cols := c.Shape(id.Part)
		if rows == 1 {
			n += int64(4 * cols)
		} else {
			n += int64(rows * repro.RowBytes(cols))
		}
	}
	return n
}

func (b *modelBench) round(ctx context.Context, rival *rivalModel) error {
	if err := b.alone(); err != nil {
		return err
	}
	if rival != nil {
		prefill, decode, err := rival.run(ctx, b.row.Threads)
		if err != nil {
			return err
		}
		b.rival.prefill, b.rival.decode = append(b.rival.prefill, prefill), append(b.rival.decode, decode)
	}
	b.read = append(b.read, readSpeed(b.memory, b.row.Threads))
	for i, n := range together {
		if err := b.together(ctx, i, n); err != nil {
			return err
		}
	}
	return b.check(ctx)
}

// alone measures the decoder: what one sequence costs without anything around it.
func (b *modelBench) alone() error {
	d, err := llm.NewDecoder(b.model, b.pool, llm.DecoderConfig{Pages: 8, Batch: promptTokens, Context: promptTokens})
	if err != nil {
		return err
	}
	pages := []int32{0, 1, 2, 3, 4, 5, 6, 7}
	prompt := make([]int32, promptTokens)
	run := func(first int, tokens []int32) error {
		_, err := d.Forward([]llm.Span{{Pages: pages, First: first, Tokens: tokens, Want: 1}})
		return err
	}
	if err := run(0, prompt[:1]); err != nil { // weights are touched before anything is counted
		return err
	}
	began := time.Now()
	if err := run(0, prompt); err != nil {
		return err
	}
	b.prefill = append(b.prefill, promptTokens/time.Since(began).Seconds())
	began = time.Now()
	for i := range answerTokens {
		if err := run(i, prompt[i:i+1]); err != nil {
			return err
		}
	}
	b.decode = append(b.decode, answerTokens/time.Since(began).Seconds())
	return nil
}

// together measures the batcher with n requests that come at the same time.
func (b *modelBench) together(ctx context.Context, row, n int) error {
	return b.serve(ctx, func(ctx context.Context, batcher *llm.Batcher) error {
		firsts := make([]float64, n)
		drawn := make([]int, n)
		began := time.Now()
		g, ctx := errgroup.WithContext(ctx)
		for i := range n {
			g.Go(func() error {
				for _, err := range batcher.Generate(ctx, request(i, prompt(i), answerTokens)) {
					if err != nil {
						return err
					}
					if drawn[i]++; drawn[i] == 1 {
						firsts[i] = time.Since(began).Seconds() * 1000
					}
				}
				return nil
			})
		}
		if err := g.Wait(); err != nil {
			return err
		}
		total := 0
		for _, k := range drawn {
			total += k
		}
		b.tokens[row] = append(b.tokens[row], float64(total)/time.Since(began).Seconds())
		b.first[row] = append(b.first[row], middle(firsts))
		return nil
	})
}

// check draws an answer, and its last tokens once more as a checker would: by
// continuing prompt and answer so far. Both bring the same tokens, or it fails.
func (b *modelBench) check(ctx context.Context) error {
	return b.serve(ctx, func(ctx context.Context, batcher *llm.Batcher) error {
		began := time.Now()
		answer, err := collect(batcher.Generate(ctx, request(0, prompt(0), answerTokens)))
		if err != nil {
			return err
		}
		b.answer = append(b.answer, time.Since(began).Seconds()*1000)
		from := max(0, len(answer)-spanTokens)
		began = time.Now()
		again, err := collect(batcher.Generate(ctx, request(1, append(prompt(0), answer[:from]...), len(answer)-from)))
		if err != nil {
			return err
		}
		b.span = append(b.span, time.Since(began).Seconds()*1000)
		if !slices.Equal(answer[from:], again) {
			return fmt.Errorf("a span computed again has the tokens %v, the answer %v", again, answer[from:])
		}
		return nil
	})
}

func (b *modelBench) serve(ctx context.Context, f func(context.Context, *llm.Batcher) error) error {
	batcher, err := llm.NewBatcher(b.model, b.pool, llm.BatcherConfig{})
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	serving, stop := context.WithCancel(ctx)
	g.Go(func() error {
		if err := batcher.Run(serving); !errors.Is(err, context.Canceled) {
			return err
		}
		return nil
	})
	g.Go(func() error {
		defer stop()
		return f(ctx, batcher)
	})
	return g.Wait()
}

// request has a scope of its own, so that no prompt is found in the cache.
func request(i int, prompt []int32, n int) llm.Request {
	return llm.Request{Scope: fmt.Sprint(i), Prompt: prompt, MaxTokens: n, Sampling: repro.Sampling{Temperature: 1, Seed: 7}, Logprobs: -1}
}

func prompt(i int) []int32 {
	p := make([]int32, promptTokens)
	for j := range p {
		p[j] = int32(3 + (7*i+j)%256)
	}
	return p
}

func collect(tokens iter.Seq2[llm.Token, error]) (ids []int32, err error) {
	for t, err := range tokens {
		if err != nil {
			return nil, err
		}
		ids = append(ids, t.ID)
	}
	return ids, nil
}

func (b *modelBench) result(rival *rivalModel) ModelRow {
	r := b.row
	r.Prefill, r.Decode, r.Read = middle(b.prefill), middle(b.decode), middle(b.read)
	r.Share = r.Decode * float64(r.Bytes) / 1e9 / r.Read
	for i, n := range together {
		r.Together = append(r.Together, TogetherRow{n, middle(b.tokens[i]), middle(b.first[i])})
	}
	r.Check = CheckRow{AnswerMs: middle(b.answer), SpanMs: middle(b.span)}
	r.Check.Share = r.Check.SpanMs / r.Check.AnswerMs
	if rival != nil {
		prefill, decode := middle(b.rival.prefill), middle(b.rival.decode)
		r.Rival = &RivalRow{prefill, decode, r.Prefill / prefill, r.Decode / decode}
	}
	return r
}

// readSpeed is how many GB/s so many threads read from memory together.
func readSpeed(x []uint64, threads int) float64 {
	part := len(x) / threads
	sums := make([]uint64, threads)
	return 8 * float64(part*threads) / perCall(func() {
		var g errgroup.Group
		for t := range threads {
			g.Go(func() error {
				sums[t] = sum(x[t*part : (t+1)*part])
				return nil
			})
		}
		_ = g.Wait()
		runtime.KeepAlive(sums)
	})
}
