package shard

import (
	"context"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"atoll/internal/llm"
	"atoll/internal/llm/llmtest"
	"atoll/internal/llm/tokenizer"
	"atoll/internal/llm/weights"
	"atoll/internal/repro"
)

// line is a line of stages in this process, between which there are pipes.
type line struct {
	t       testing.TB
	file    *weights.Model
	profile llm.Profile
	head    *Head
	stages  []*Stage // the head first
	stop    []context.CancelFunc
	epoch   uint32
	mu      sync.Mutex // guards streams
	streams []net.Conn
	lasts   func() int // how many bytes a stream lasts; nil: all
}

// fragile is a stream that breaks after so many bytes, within whatever is written.
type fragile struct {
	net.Conn
	left int
}

func (f *fragile) Write(b []byte) (int, error) {
	if len(b) <= f.left {
		f.left -= len(b)
		return f.Conn.Write(b)
	}
	n, _ := f.Conn.Write(b[:f.left])
	_ = f.Close()
	return n, io.ErrClosedPipe
}

func newPool(t testing.TB) *repro.Pool {
	t.Helper()
	isa, err := repro.SelectISA("")
	if err != nil {
		t.Fatal(err)
	}
	pool, err := repro.NewPool(1, isa)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

func (l *line) load(first, last int) StageConfig {
	l.t.Helper()
	m, err := llm.Load(l.t.Context(), l.file, llm.Options{Profile: l.profile, First: first, Last: last})
	if err != nil {
		l.t.Fatal(err)
	}
	return StageConfig{Model: m, Pool: newPool(l.t), Pages: 64, Batch: 24}
}

// newLine cuts our own model before the given layers.
func newLine(t testing.TB, cuts ...int) *line {
	t.Helper()
	return newLineOf(t, llmtest.Coral(t), llm.Q8, cuts...)
}

func newLineOf(t testing.TB, file *weights.Model, profile llm.Profile, cuts ...int) *line {
	t.Helper()
	l := &line{t: t, file: file, profile: profile}
	cuts = append(append([]int{0}, cuts...), l.file.Config.Layers)
	for i := range len(cuts) - 1 {
		l.add(cuts[i], cuts[i+1])
	}
	l.assign()
	t.Cleanup(func() {
		for _, stop := range l.stop {
			stop()
		}
	})
	return l
}

func (l *line) add(first, last int) {
	l.t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	l.stop = append(l.stop, stop)
	if first == 0 {
		h, err := NewHead(l.load(first, last), 16)
		if err != nil {
			l.t.Fatal(err)
		}
		l.head = h
		l.stages = append(l.stages, h.Stage)
		go h.Run(ctx)
		return
	}
	s, err := NewStage(l.load(first, last))
	if err != nil {
		l.t.Fatal(err)
	}
	l.stages = append(l.stages, s)
	go s.Run(ctx)
}

// assign begins an epoch.
func (l *line) assign() {
	l.t.Helper()
	l.epoch++
	live := l.head.Live()
	for i, s := range l.stages {
		next := l.stages[(i+1)%len(l.stages)]
		err := s.Assign(Assignment{Line: LineID{1}, Epoch: l.epoch, Place: uint16(i), Live: live, Next: func(context.Context) (io.ReadWriteCloser, error) {
			a, b := net.Pipe()
			l.mu.Lock()
			l.streams = append(l.streams, a)
			if l.lasts != nil {
				a = &fragile{a, l.lasts()}
			}
			l.mu.Unlock()
			go func() { _ = next.Accept(b) }()
			return a, nil
		}})
		if err != nil {
			l.t.Fatal(err)
		}
	}
}

// replace kills a stage and has a fresh one take its place.
func (l *line) replace(i int) {
	l.t.Helper()
	m := l.stages[i].cfg.Model
	l.stop[i]()
	spare, stops := l.stages[:i:i], l.stop[:i:i]
	rest, restStops := l.stages[i+1:], l.stop[i+1:]
	l.stages, l.stop = spare, stops
	l.add(m.First, m.Last)
	l.stages, l.stop = append(l.stages, rest...), append(l.stop, restStops...)
	l.assign()
}

// cut breaks some of the streams.
func (l *line) cut(r *rand.Rand) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.streams {
		if r.IntN(2) == 0 {
			_ = s.Close()
		}
	}
}

func requests(file *weights.Model, t testing.TB, n, tokens int) []llm.Request {
	t.Helper()
	m, err := llm.Load(t.Context(), file, llm.Options{First: 0, Last: 1})
	if err != nil {
		t.Fatal(err)
	}
	var out []llm.Request
	for i := range n {
		prompt := m.Tokens.Encode(fmt.Sprintf("It was %d days before the ball that she", i), tokenizer.Options{Whole: true})
		out = append(out, llm.Request{Prompt: prompt, MaxTokens: tokens + i, Logprobs: i%3 - 1, Sampling: repro.Sampling{Temperature: float32(i%2) * 0.8, Seed: uint64(i), TopP: 0.95}})
	}
	return out
}

// alone is what the whole model answers.
func alone(t testing.TB, file *weights.Model, profile llm.Profile, rs []llm.Request) [][]llm.Token {
	t.Helper()
	m, err := llm.Load(t.Context(), file, llm.Options{Profile: profile})
	if err != nil {
		t.Fatal(err)
	}
	b, err := llm.NewBatcher(m, newPool(t), llm.BatcherConfig{})
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = b.Run(t.Context()) }()
	var out [][]llm.Token
	for _, r := range rs {
		var tokens []llm.Token
		for token, err := range b.Generate(t.Context(), r) {
			if err != nil {
				t.Fatal(err)
			}
			tokens = append(tokens, token)
		}
		out = append(out, tokens)
	}
	return out
}

// all has all requests answered at once; each hears of every token.
func (l *line) all(rs []llm.Request, each func()) [][]llm.Token {
	out := make([][]llm.Token, len(rs))
	var wg sync.WaitGroup
	for i, r := range rs {
		wg.Go(func() {
			for token, err := range l.head.Generate(l.t.Context(), r) {
				if err != nil {
					l.t.Error(err)
					return
				}
				out[i] = append(out[i], token)
				each()
			}
		})
	}
	wg.Wait()
	return out
}

func same(t testing.TB, got, want [][]llm.Token) {
	t.Helper()
	for i := range want {
		if !slices.EqualFunc(got[i], want[i], func(a, b llm.Token) bool {
			return a.ID == b.ID && a.Position == b.Position && a.Logprob == b.Logprob && slices.Equal(a.Top, b.Top)
		}) {
			t.Errorf("request %d: other tokens, %d of them, want %d", i, len(got[i]), len(want[i]))
		}
	}
}

// The text never depends on the plan, nor on what is answered beside it.
func TestPlanDoesNotChangeTheText(t *testing.T) {
	t.Parallel()
	file := llmtest.Coral(t)
	rs := requests(file, t, 5, 12)
	wants := map[llm.Profile][][]llm.Token{}
	for _, p := range []llm.Profile{"q8", "q8/2", "q8/1,2,3", "f32/1,3"} {
		wants[p] = alone(t, file, p, rs)
	}
	layers := file.Config.Layers
	rapid.Check(t, func(rt *rapid.T) {
		profile := rapid.SampledFrom(slices.Sorted(maps.Keys(wants))).Draw(rt, "profile")
		want := wants[profile]
		allowed := profile.Cuts()
		if len(allowed) == 0 {
			for i := 1; i < layers; i++ {
				allowed = append(allowed, i)
			}
		}
		cuts := rapid.SliceOfNDistinct(rapid.SampledFrom(allowed), 1, len(allowed), rapid.ID[int]).Draw(rt, "cuts")
		slices.Sort(cuts)
		l := newLineOf(t, file, profile, cuts...)
		order := rapid.Permutation(rs).Draw(rt, "order")
		got := l.all(order, func() {})
		for i, r := range order {
			k := slices.IndexFunc(rs, func(o llm.Request) bool { return slices.Equal(o.Prompt, r.Prompt) })
			same(rt2{t, rt}, got[i:i+1], want[k:k+1])
		}
	})
}

type rt2 struct {
	testing.TB
	rt *rapid.T
}

func (r rt2) Errorf(f string, args ...any) { r.rt.Errorf(f, args...) }
func (r rt2) Helper()                      {}

// Stages die and streams break in the middle of answers, and nobody can see it in
// the texts.
func TestStagesAreReplaced(t *testing.T) {
	t.Parallel()
	file := llmtest.Coral(t)
	rs := requests(file, t, 4, 40)
	want := alone(t, file, llm.Q8, rs)
	for seed := range uint64(6) {
		r := rand.New(rand.NewPCG(seed, 1))
		l := newLine(t, 1, 2, 3)
		var mu sync.Mutex
		heard, next := 0, 5
		got := l.all(rs, func() {
			mu.Lock()
			defer mu.Unlock()
			if heard++; heard < next {
				return
			}
			next += 10 + r.IntN(20)
			switch r.IntN(4) {
			case 0:
				l.cut(r)
			case 1: // two in a row
				l.replace(1 + r.IntN(2))
				l.replace(2)
			default:
				l.replace(1 + r.IntN(len(l.stages)-1))
			}
		})
		same(t, got, want)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// Streams break within a message, all of them and again and again, and a stage with
// them, and nobody can see it in the texts.
func TestStreamsBreakWithinAMessage(t *testing.T) {
	t.Parallel()
	file := llmtest.Coral(t)
	rs := requests(file, t, 3, 24)
	want := alone(t, file, llm.Q8, rs)
	for seed := range uint64(3) {
		r := rand.New(rand.NewPCG(seed, 2))
		l := newLine(t, 1, 3)
		l.mu.Lock()
		l.lasts = func() int { // some are long enough for everything at once
			if r.IntN(3) == 0 {
				return r.IntN(1 << 18)
			}
			return r.IntN(1 << 13)
		}
		l.mu.Unlock()
		l.assign() // now they are fragile
		var once sync.Once
		got := l.all(rs, func() { once.Do(func() { l.replace(2) }) })
		same(t, got, want)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// What has ended leaves no pages behind anywhere.
func TestNothingIsLeft(t *testing.T) {
	t.Parallel()
	l := newLine(t, 2)
	rs := requests(l.file, t, 3, 200)
	for _, r := range rs {
		ctx, stop := context.WithCancel(t.Context())
		n := 0
		for _, err := range l.head.Generate(ctx, r) {
			if err != nil {
				break
			}
			if n++; n == 3 {
				stop()
			}
		}
		stop()
	}
	for _, s := range l.stages {
		for deadline := time.Now().Add(10 * time.Second); ; {
			s.mu.Lock()
			left := len(s.seqs)
			free := s.cache.Available()
			idle := !s.busy
			s.mu.Unlock()
			if left == 0 && free == s.cfg.Pages && idle {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%d sequences and %d of %d pages are held", left, s.cfg.Pages-free, s.cfg.Pages)
			}
			time.Sleep(time.Millisecond)
		}
	}
}
