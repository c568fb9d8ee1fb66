package llm

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"os"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"atoll/internal/core"
	"atoll/internal/engine"
	"atoll/internal/engine/completion"
	"atoll/internal/llm"
	"atoll/internal/llm/weights"
	"atoll/internal/repro"
	"atoll/internal/shard/audit"
)

// Config says what a node lends to language models. Zero fields have defaults.
type Config struct {
	Threads  int           // that compute; default: one per core
	MaxModel int64         // bytes of a model's file; default 8 GiB
	Idle     time.Duration // after which an unused model leaves memory; default 1 minute
	// Lines of one part that are answered at once; default 32.
	Lines int
	Log   *slog.Logger // default: none
}

// Engine serves models. Weights are in memory once, however many tenants use
// them; what tenants ask is kept apart.
type Engine struct {
	cfg  Config
	pool *repro.Pool

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	lines *lines // nil until Join

	mu     sync.Mutex
	closed bool
	models map[key]*served
}

var _ engine.Engine = (*Engine)(nil)

type key struct {
	digest  core.Digest
	profile llm.Profile
}

// served is a model in memory with the goroutine that computes it.
type served struct {
	ready   chan struct{} // closed when loading has ended
	err     error
	model   *llm.Model
	byBytes func() map[string]int32 // see tokensByBytes
	batcher generator
	line    *head // that is the batcher; nil: the whole model is here
	stop    context.CancelFunc

	users int // guarded by Engine.mu
	idle  *time.Timer
}

// generator continues texts: a llm.Batcher, or a line.
type generator interface {
	Generate(ctx context.Context, r llm.Request) iter.Seq2[llm.Token, error]
}

// New returns an engine that has nothing loaded yet.
func New(cfg Config) (*Engine, error) {
	if cfg.Threads == 0 {
		cfg.Threads = runtime.GOMAXPROCS(0)
	}
	if cfg.MaxModel == 0 {
		cfg.MaxModel = 8 << 30
	}
	if cfg.Idle == 0 {
		cfg.Idle = time.Minute
	}
	if cfg.Lines == 0 {
		cfg.Lines = 32
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	isa, err := repro.SelectISA(os.Getenv(repro.Variable))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", repro.Variable, err)
	}
	e := &Engine{cfg: cfg, models: map[key]*served{}}
	if e.pool, err = repro.NewPool(cfg.Threads, isa); err != nil {
		return nil, err
	}
	e.ctx, e.cancel = context.WithCancel(context.Background())
	return e, nil
}

// Name implements engine.Engine.
func (*Engine) Name() string { return "llm" }

// Reproducible implements engine.Engine.
func (*Engine) Reproducible() bool { return true }

// Close implements engine.Engine. Parts that run fail.
func (e *Engine) Close() error {
	e.mu.Lock()
	first := !e.closed
	e.closed = true
	e.mu.Unlock()
	if first {
		e.cancel()
		e.wg.Wait()
		e.pool.Close()
	}
	return nil
}

// Load implements engine.Engine. The model is loaded in the default profile, so
// that a bad file is refused here.
func (e *Engine) Load(ctx context.Context, m engine.Model) (engine.Instance, error) {
	switch {
	case !m.Line.IsZero():
		return e.instanceOf(m)
	case m.Audit:
		return &instance{e: e, m: m}, nil // it reads no more than the layers that it is about
	}
	in := &instance{e: e, m: m}
	s, err := e.use(ctx, m, llm.Q8)
	if err != nil {
		return nil, err
	}
	in.used = append(in.used, held{key{m.Digest, llm.Q8}, s})
	return in, nil
}

var errClosed = errors.New("llm: the engine is closed")

// use returns a model that stays in memory until it is given back.
func (e *Engine) use(ctx context.Context, m engine.Model, p llm.Profile) (*served, error) {
	k := key{m.Digest, p}
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		return nil, errClosed
	}
	s := e.models[k]
	if s == nil {
		s = &served{ready: make(chan struct{})}
		e.models[k] = s
		e.wg.Go(func() { e.serve(k, s, m) })
	}
	s.users++
	if s.idle != nil {
		s.idle.Stop()
		s.idle = nil
	}
	e.mu.Unlock()
	select {
	case <-s.ready:
	case <-ctx.Done():
		e.giveBack(k, s)
		return nil, failed(ctx.Err())
	}
	if s.err != nil {
		e.giveBack(k, s)
		return nil, s.err
	}
	return s, nil
}

// giveBack lets a model that nobody uses leave memory after a while, and one that
// did not load at once.
func (e *Engine) giveBack(k key, s *served) {
	e.mu.Lock()
	defer e.mu.Unlock()
	s.users--
	switch {
	case s.users > 0 || e.models[k] != s:
	case s.err != nil:
		delete(e.models, k)
	default:
		s.idle = time.AfterFunc(e.cfg.Idle, func() { e.unload(k, s) })
	}
}

func (e *Engine) unload(k key, s *served) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if s.users == 0 && e.models[k] == s {
		delete(e.models, k)
		s.stop()
	}
}

// serve loads a model and computes with it until it is unloaded.
func (e *Engine) serve(k key, s *served, m engine.Model) {
	ctx, stop := context.WithCancel(e.ctx)
	defer stop()
	s.stop = stop
	began := time.Now()
	var batcher *llm.Batcher
	batcher, s.err = s.load(ctx, e, m, k.profile)
	s.batcher = batcher
	close(s.ready)
	if s.err != nil {
		return
	}
	e.cfg.Log.Info("language model loaded", "model", k.digest.Short(), "profile", k.profile, "layers", s.model.Config.Layers, "took", time.Since(began))
	if err := batcher.Run(ctx); err != nil {
		e.cfg.Log.Error("language model", "model", k.digest.Short(), "error", err)
	}
}

func (s *served) load(ctx context.Context, e *Engine, m engine.Model, p llm.Profile) (b *llm.Batcher, err error) {
	f, err := os.Open(m.Path)
	if err != nil {
		return nil, fmt.Errorf("llm: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("llm: %w", err)
	}
	if info.Size() > e.cfg.MaxModel {
		return nil, fmt.Errorf("%w: %d bytes, this node takes %d", engine.ErrModel, info.Size(), e.cfg.MaxModel)
	}
	h := sha256.New()
	if _, err := io.Copy(h, io.NewSectionReader(f, 0, info.Size())); err != nil {
		return nil, fmt.Errorf("llm: %w", err)
	}
	if got := core.Digest(h.Sum(nil)); got != m.Digest {
		return nil, fmt.Errorf("%w: its digest is %s, not %s", engine.ErrModel, got, m.Digest)
	}
	w, err := weights.FromGGUF("the model", f, info.Size())
	if err == nil {
		s.model, err = llm.Load(ctx, w, llm.Options{Profile: p})
	}
	if err == nil {
		s.byBytes = sync.OnceValue(func() map[string]int32 { return tokensByBytes(s.model.Tokens) })
		b, err = llm.NewBatcher(s.model, e.pool, llm.BatcherConfig{})
	}
	if err != nil && ctx.Err() == nil {
		err = fmt.Errorf("%w: %w", engine.ErrModel, err)
	}
	return b, err
}

type held struct {
	k key
	s *served
}

// instance is one tenant's use of a model.
type instance struct {
	e    *Engine
	m    engine.Model
	line *head // nil: the model is in memory here

	mu   sync.Mutex
	used []held // one for each profile that was asked for
}

// Close implements engine.Instance.
func (in *instance) Close(context.Context) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	for _, h := range in.used {
		in.e.giveBack(h.k, h.s)
	}
	in.used = nil
	return nil
}

// profiled returns the model in a profile.
func (in *instance) profiled(ctx context.Context, p llm.Profile) (*served, error) {
	if h := in.line; h != nil {
		if p != h.model.Profile {
			return nil, fmt.Errorf("%w: the line computes in profile %s, not %s", engine.ErrInput, h.model.Profile, p)
		}
		return h.served, nil
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	for _, h := range in.used {
		if h.k.profile == p {
			return h.s, nil
		}
	}
	s, err := in.e.use(ctx, in.m, p)
	if err == nil {
		in.used = append(in.used, held{key{in.m.Digest, p}, s})
	}
	return s, err
}

// Run implements engine.Instance. Usage.CPU is the part's wall-clock time: the
// threads work for several parts at once, and nobody can tell whose share is
// whose. It is what Limits.CPU is held against.
func (in *instance) Run(ctx context.Context, input engine.Input) (engine.Output, engine.Usage, error) {
	began := time.Now()
	ctx, cancel := input.Limits.Within(ctx)
	defer cancel()
	use := engine.Usage{BytesIn: int64(len(input.Data))}
	out, err := in.run(ctx, input, &use)
	use.CPU, use.BytesOut = time.Since(began), int64(len(out.Data))
	return out, use, err
}

func (in *instance) run(ctx context.Context, input engine.Input, use *engine.Usage) (out engine.Output, err error) {
	if err := ctx.Err(); err != nil {
		return out, failed(err)
	}
	params, err := parseParams(input.Params)
	if err != nil {
		return out, err
	}
	switch {
	case in.line != nil && params.mode != "":
		return out, fmt.Errorf("%w: a model on several nodes continues texts, and does nothing else", engine.ErrInput)
	case in.m.Audit != (params.mode == audit.Mode):
		return out, fmt.Errorf("%w: mode %q", engine.ErrInput, params.mode)
	case in.m.Audit:
		out.Data, err = in.audit(ctx, input, use)
		return out, err
	}
	s, err := in.profiled(ctx, params.profile)
	if err != nil {
		return out, err
	}
	switch params.mode {
	case modeScore:
		out.Data, err = s.score(ctx, in, input, params.template, use)
	case modeEmbed:
		out.Data, err = s.embed(ctx, in, input, &params, use)
	default:
		out, err = s.continueTexts(ctx, in, input, &params, use)
	}
	return out, err
}

// continueTexts answers lines.
func (s *served) continueTexts(ctx context.Context, in *instance, input engine.Input, params *taskParams, use *engine.Usage) (out engine.Output, err error) {
	lines, err := completion.Parse(input.Data, &params.Params)
	if err != nil {
		return out, err
	}
	told := completion.NewProgress(input.Progress, len(lines))
	answers, err := s.all(ctx, in.m.Tenant, lines, params, in.e.cfg.Lines, told)
	if err != nil {
		return out, err
	}
	most := int64(completion.MaxOutput)
	if n := input.Limits.Output; n > 0 {
		most = n
	}
	for i, a := range answers {
		out.Data = a.append(out.Data, lines[i].ID)
		use.TokensIn += int64(a.prompt + a.known)
		use.TokensOut += int64(len(a.tokens) - a.known)
		if int64(len(out.Data)) > most {
			return engine.Output{}, fmt.Errorf("line %d: %w: over %d bytes of output", lines[i].Number, engine.ErrTooLarge, most)
		}
	}
	if s.line != nil {
		out.Accounts, err = accounts(answers)
	}
	return out, err
}

// all answers lines, some at a time. If several fail it reports the first in the
// input, as every node does: when one fails those before it are still answered.
func (s *served) all(ctx context.Context, tenant core.AccountID, lines []completion.Line, p *taskParams, atOnce int, told *completion.Progress) ([]*answer, error) {
	answers := make([]*answer, len(lines))
	var g errgroup.Group
	g.SetLimit(atOnce)
	var mu sync.Mutex
	first, failure := len(lines), error(nil)
	for i := range lines {
		g.Go(func() error {
			mu.Lock()
			late := i > first
			mu.Unlock()
			if late {
				return nil
			}
			l := &lines[i]
			a, err := s.answer(ctx, tenant, l, p.template, grown{
				text:  func(more string) { told.Text(i, l.ID, more) },
				token: func(element []byte) { told.Token(i, l.ID, element) },
			})
			if p.Answers(err) {
				a, err = &answer{refused: err}, nil
			}
			if err == nil {
				told.End(i, a.append(nil, l.ID))
			}
			answers[i] = a
			mu.Lock()
			defer mu.Unlock()
			if err != nil && i < first {
				first, failure = i, fmt.Errorf("line %d: %w", lines[i].Number, err)
			}
			return nil
		})
	}
	_ = g.Wait() // failures are kept above
	return answers, failure
}
