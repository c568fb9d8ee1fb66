//go:build unix

package e2e

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
	"syscall"
	"testing"
	"time"

	"atoll/api"
	"atoll/client"
	"atoll/internal/core"
	"atoll/internal/llm/llmtest"
	"atoll/internal/llm/quant"
	"atoll/internal/openaiwire"
)

var (
	lineRounds = flag.Int("line-rounds", 2, "how often TestLineKill loses nodes of a line")
	lineSeed   = flag.Uint64("line-seed", 1, "seed of what is killed, and when")
)

const lineName = "story3"

// TestLineKill has three processes hold a model, and kills of them, at random moments of
// three answers drawn at random, a stage, then another or who has taken its place, and
// in every other round the head. The first stage is stopped now and then: it does not
// die, but says and does nothing. Each client's stream goes on, and its text is what one process gives.
//
//	go test ./internal/e2e -run LineKill -line-rounds 20 -v
func TestLineKill(t *testing.T) {
	n, c := startTest(t, testConfig(t, 6))
	blob, err := c.PutBlob(t.Context(), llmtest.CoralFile(t, quant.Q8_0))
	if err != nil {
		t.Fatal(err)
	}
	model, err := c.RegisterModel(t.Context(), client.NewModel{Name: "storyteller", Engine: "llm", Digest: blob.Digest})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.PutService(t.Context(), lineName, api.ServiceSpec{Model: model.ID, Pipeline: "3"}); err != nil {
		t.Fatal(err)
	}
	want := make([]string, 3)
	for i := range want {
		if want[i], err = write(t.Context(), c, model.ID, i, nil); err != nil {
			t.Fatal(err)
		}
	}
	rng := rand.New(rand.NewPCG(*lineSeed, 0))
	for round := range *lineRounds {
		k := &lineKiller{t: t, n: n, c: c, head: round%2 == 1, next: 1 + rng.IntN(500), rng: rng}
		k.line(func(l *api.Line) bool { return l.State == "ready" })
		got, errs := make([]string, len(want)), make([]error, len(want))
		var wg sync.WaitGroup
		for i := range want {
			wg.Go(func() { got[i], errs[i] = write(t.Context(), c, lineName, i, k.grown) })
		}
		wg.Wait()
		for i := range want {
			if errs[i] != nil || got[i] != want[i] {
				t.Fatalf("round %d, after %v: %v: %q, want %q", round, k.killed, errs[i], got[i], want[i])
			}
		}
		if len(k.killed) == 0 {
			t.Errorf("round %d: nobody was killed", round)
		}
		t.Logf("round %d: killed %v", round, k.killed)
		for _, p := range k.killed {
			if err := k.process(p).Kill(); err != nil { // one that was stopped
				t.Fatal(err)
			}
			if err := k.process(p).Start(); err != nil {
				t.Fatal(err)
			}
		}
		if err := n.WaitUp(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// lineKiller kills nodes of a line while texts grow.
type lineKiller struct {
	t    *testing.T
	n    *Network
	c    *client.Client
	head bool // at last the head

	mu     sync.Mutex
	rng    *rand.Rand
	heard  int // bytes, of all texts
	next   int // at so many of them somebody is killed
	killed []core.NodeID
}

// grown is told of more of a text.
func (k *lineKiller) grown(more int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.heard += more; k.heard < k.next || len(k.killed) >= 3 {
		return
	}
	k.next += 50 + k.rng.IntN(300)
	s, err := k.c.Service(k.t.Context(), lineName)
	if err != nil || s.Line == nil || len(s.Line.Stages) == 0 {
		k.t.Error(err)
		return
	}
	victim := s.Line.Stages[1+k.rng.IntN(len(s.Line.Stages)-1)].Node
	switch {
	case len(k.killed) == 2 && k.head:
		victim = s.Line.Stages[0].Node
	case len(k.killed) == 2:
		return // two are enough
	}
	p := k.process(victim)
	if p == nil || p.cmd == nil {
		return // the head has not told yet that it was replaced
	}
	lose := p.Kill
	if len(k.killed) == 0 && !k.head {
		lose = func() error { return p.cmd.Process.Signal(syscall.SIGSTOP) }
	}
	if err := lose(); err != nil {
		k.t.Error(err)
	}
	k.killed = append(k.killed, victim)
}

func (k *lineKiller) process(id core.NodeID) *Process {
	for _, p := range k.n.Nodes {
		if p.Name == string(id) {
			return p
		}
	}
	return nil
}

// line waits for a state of the line.
func (k *lineKiller) line(want func(*api.Line) bool) {
	k.t.Helper()
	err := poll(k.t.Context(), "the line", func() (bool, error) {
		s, err := k.c.Service(k.t.Context(), lineName)
		return err == nil && s.Line != nil && want(s.Line), err
	})
	if err != nil {
		k.t.Fatal(err)
	}
}

// write streams a text, drawn with a seed.
func write(ctx context.Context, c *client.Client, model string, seed int, grown func(more int)) (text string, err error) {
	ctx, stop := context.WithTimeout(ctx, time.Minute)
	defer stop()
	body, err := json.Marshal(map[string]any{
		"model": model, "prompt": "It was a fine morning", "max_tokens": 220, "temperature": 1, "seed": seed, "stream": true,
		"atoll": map[string]any{"disconnect": map[string]string{"lost_after": "1s"}, "retry": map[string]int{"max_attempts": 5}},
	})
	if err != nil {
		return "", err
	}
	stream, err := c.Post(ctx, "/v1/completions", body)
	if err != nil {
		return "", err
	}
	defer stream.Close()
	for event, err := range openaiwire.Events(stream) {
		if err != nil {
			return text, err
		}
		var e struct {
			openaiwire.ErrorBody
			Choices []struct {
				Text string `json:"text"`
			} `json:"choices"`
		}
		if err := json.Unmarshal(event, &e); err != nil {
			return text, err
		}
		if e.Error.Message != "" {
			return text, fmt.Errorf("after %d bytes: %w", len(text), &e.Error)
		}
		more := 0
		for _, choice := range e.Choices {
			text += choice.Text
			more += len(choice.Text)
		}
		if grown != nil {
			grown(more)
		}
	}
	return text, nil
}
