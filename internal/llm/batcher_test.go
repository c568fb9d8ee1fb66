package llm

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"atoll/internal/core"
	"atoll/internal/llm/tokenizer"
	"atoll/internal/repro"
)

func serve(t testing.TB, m *Model, threads int, c BatcherConfig) *Batcher {
	t.Helper()
	b, err := NewBatcher(m, newPool(t, threads), c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := b.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { cancel(); wg.Wait() })
	return b
}

func collect(b *Batcher, r Request) (ids []int32, cached int, err error) {
	for token, err := range b.Generate(context.Background(), r) {
		if err != nil {
			return ids, cached, err
		}
		cached += token.Cached
		ids = append(ids, token.ID)
	}
	return ids, cached, nil
}

// requests are prompts of many lengths, some with a common beginning.
func requests(m *Model, n int) (list []Request) {
	rng := rand.New(rand.NewPCG(1, 2))
	common := m.Tokens.Encode("Once upon a time, there was a little dog. His name was Tim and he liked to run in the big green park all the long day.", tokenizer.Options{Whole: true})
	for i := range n {
		r := Request{Scope: "a", MaxTokens: 1 + rng.IntN(40), Logprobs: -1, Sampling: repro.Sampling{Temperature: 0.8, TopK: 40 * (i % 2), TopP: 0.95, Seed: uint64(i)}}
		r.Prompt = slices.Clone(common[:1+rng.IntN(len(common)-1)])
		for range rng.IntN(90) {
			r.Prompt = append(r.Prompt, int32(3+rng.IntN(m.Config.Vocab-3)))
		}
		list = append(list, r)
	}
	return list
}

// The promise of the package: an answer is the same alone and among others, in
// whatever pieces its prompt is computed, by however many threads, with a cold
// cache and a warm one.
func TestAnswersDependOnNothingElse(t *testing.T) {
	t.Parallel()
	for _, p := range []Profile{Q8, F32} {
		t.Run(string(p), func(t *testing.T) {
			t.Parallel()
			m := ownModel(t, Options{Profile: p})
			list := requests(m, 24)
			want := make([][]int32, len(list))
			for i, r := range list {
				alone := serve(t, m, 1, BatcherConfig{Batch: 1, Active: 1, Pages: 16})
				var err error
				if want[i], _, err = collect(alone, r); err != nil {
					t.Fatal(err)
				}
			}
			for _, c := range []BatcherConfig{{}, {Batch: 5, Active: 3, Pages: 24}, {Batch: 61, Active: 24, Pages: 200}} {
				crowd := serve(t, m, 3, c)
				shared := 0
				for round := range 2 {
					var wg sync.WaitGroup
					var mu sync.Mutex
					for i, r := range list {
						wg.Go(func() {
							got, cached, err := collect(crowd, r)
							if err != nil || !slices.Equal(got, want[i]) {
								t.Errorf("%+v, round %d, request %d: %v, %v, alone %v", c, round, i, got, err, want[i])
							}
							mu.Lock()
							shared += cached
							mu.Unlock()
						})
					}
					wg.Wait()
				}
				if shared == 0 {
					t.Errorf("%+v: no beginning was found again", c)
				}
			}
		})
	}
}

func TestScopesShareNothing(t *testing.T) {
	t.Parallel()
	m := ownModel(t, Options{})
	b := serve(t, m, 1, BatcherConfig{})
	r := Request{Scope: "a", Prompt: make([]int32, 100), MaxTokens: 1, Logprobs: -1}
	for i := range r.Prompt {
		r.Prompt[i] = int32(3 + i)
	}
	for _, step := range []struct {
		scope string
		want  int
	}{{"a", 0}, {"a", 96}, {"b", 0}, {"b", 96}} {
		r.Scope = step.scope
		if _, cached, err := collect(b, r); err != nil || cached != step.want {
			t.Errorf("scope %s: %d cached, want %d (%v)", step.scope, cached, step.want, err)
		}
	}
}

func TestBadRequests(t *testing.T) {
	t.Parallel()
	m := ownModel(t, Options{})
	b := serve(t, m, 1, BatcherConfig{})
	good := Request{Prompt: []int32{1}, MaxTokens: 1}
	for name, edit := range map[string]func(*Request){
		"no prompt":     func(r *Request) { r.Prompt = nil },
		"long prompt":   func(r *Request) { r.Prompt = make([]int32, m.Config.Context) },
		"no answer":     func(r *Request) { r.MaxTokens = 0 },
		"token":         func(r *Request) { r.Prompt = []int32{int32(m.Config.Vocab)} },
		"negative":      func(r *Request) { r.Prompt = []int32{-1} },
		"temperature":   func(r *Request) { r.Sampling.Temperature = -1 },
		"too much told": func(r *Request) { r.Logprobs = 21 },
	} {
		r := good
		edit(&r)
		if _, _, err := collect(b, r); core.KindOf(err) != core.Invalid && core.KindOf(err) != core.TooLarge {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, _, err := collect(b, good); err != nil {
		t.Error(err)
	}
}

// A batcher may be stopped right after an answer's last token.
func TestStopAfterTheLastToken(t *testing.T) {
	t.Parallel()
	b, err := NewBatcher(ownModel(t, Options{}), newPool(t, 1), BatcherConfig{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var answers []*answer
	for _, n := range []int{1, 2} {
		a, err := b.submit(ctx, Request{Prompt: []int32{300}, MaxTokens: n, Logprobs: -1})
		if err != nil {
			t.Fatal(err)
		}
		answers = append(answers, a)
	}
	b.admit(ctx)
	b.step() // one has all its tokens now
	stop()
	if err := b.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if answers[0].err != nil || !errors.Is(answers[1].err, context.Canceled) {
		t.Errorf("%v and %v, want the first whole and the second ended", answers[0].err, answers[1].err)
	}
}

// Who hangs up, and who reads slowly, does not disturb the others.
func TestHangingUp(t *testing.T) {
	t.Parallel()
	m := ownModel(t, Options{})
	b := serve(t, m, 1, BatcherConfig{Pages: 16, Active: 2, Batch: 4})
	r := Request{Prompt: []int32{1}, MaxTokens: 400, Logprobs: -1}
	want, _, err := collect(b, r)
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		for range b.Generate(t.Context(), r) {
			break
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, err := range b.Generate(ctx, r) {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("a request that was over before it began: %v", err)
		}
	}
	if got, _, err := collect(b, r); err != nil || !slices.Equal(got, want) {
		t.Errorf("afterwards %v, %v, want %v", got, err, want)
	}
}

func TestText(t *testing.T) {
	t.Parallel()
	m := ownModel(t, Options{})
	ids := m.Tokens.Encode("Tim saw a big red ball. He ran.", tokenizer.Options{})
	for _, tt := range []struct {
		stops []string
		want  string
		stop  bool
	}{
		{nil, "Tim saw a big red ball. He ran.", false},
		{[]string{"red"}, "Tim saw a big ", true},
		{[]string{"ran.x", "red ball?"}, "Tim saw a big red ball. He ran.", false},
		{[]string{"He", "ball"}, "Tim saw a big red ", true},
	} {
		x := NewText(m.Tokens, tt.stops)
		var got strings.Builder
		stopped := false
		for _, id := range ids {
			more, end := x.Next(id)
			got.WriteString(more)
			if stopped = end; end {
				break
			}
		}
		got.WriteString(x.Flush())
		if got.String() != tt.want || stopped != tt.stop {
			t.Errorf("stops %q: %q, stopped %v; want %q, %v", tt.stops, got.String(), stopped, tt.want, tt.stop)
		}
	}
}
