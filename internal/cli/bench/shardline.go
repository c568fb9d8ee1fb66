package bench

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"atoll/internal/llm"
	"atoll/internal/peer"
	"atoll/internal/repro"
	"atoll/internal/shard"
)

// generator answers requests: llm.Batcher, or the head of a line.
type generator interface {
	Generate(ctx context.Context, r llm.Request) iter.Seq2[llm.Token, error]
}

// shardLine is a line that runs.
type shardLine struct {
	*shard.Head
	*shard.Line
}

// shardSpeed is what one round gave.
type shardSpeed struct{ decode, eight, first float64 }

// rounds measures the whole model and each line in turn: one speed of each for each
// round. All stay as they are between, so that a round is short and what else the
// machine does meets all of them.
func (n *shardBench) rounds(ctx context.Context) (all [][]shardSpeed, err error) {
	whole, err := loadLayers(ctx, filepath.Join(n.dir, modelFile), llm.Options{})
	if err != nil {
		return nil, err
	}
	all = make([][]shardSpeed, 1+len(n.cfg.Stages))
	b := &modelBench{model: whole, pool: n.self.pool}
	err = b.serve(ctx, func(ctx context.Context, b *llm.Batcher) error {
		return n.lines(ctx, n.cfg.Stages, []generator{b}, func(ctx context.Context, gs []generator) error {
			return n.turns(ctx, gs, all)
		})
	})
	return all, err
}

// lines has f use lines of so many stages, and the generators that are there already.
func (n *shardBench) lines(ctx context.Context, stages []int, gs []generator, f func(context.Context, []generator) error) error {
	if len(stages) == 0 {
		return f(ctx, gs)
	}
	return n.processes(ctx, stages[0], func(ctx context.Context, l shardLine) error {
		return n.lines(ctx, stages[1:], append(gs, l), f)
	})
}

// turns measures each generator in each round; the first round only warms up.
func (n *shardBench) turns(ctx context.Context, gs []generator, all [][]shardSpeed) error {
	for i := range n.cfg.Rounds + 1 {
		for j := range gs {
			j = (i + j) % len(gs)
			n.cfg.Watch(i*len(gs), (n.cfg.Rounds+1)*len(gs), fmt.Sprintf("round %d", i))
			speed, err := n.measure(ctx, gs[j])
			if err != nil {
				return err
			}
			if i > 0 {
				all[j] = append(all[j], *speed)
			}
		}
	}
	return nil
}

// processes has f use a line of so many processes, this one among them; the others
// are spares.
func (n *shardBench) processes(ctx context.Context, stages int, f func(context.Context, shardLine) error) error {
	var others []peer.Address
	for _, m := range n.members {
		others = append(others, m.address)
	}
	return n.line(ctx, llm.Q8, n.self, others[:stages-1], others[stages-1:], f)
}

// line has f use a line of a head and others, of about as many layers each.
func (n *shardBench) line(ctx context.Context, p llm.Profile, self *shardNode, others, spares []peer.Address, f func(context.Context, shardLine) error) error {
	stages := 1 + len(others)
	m, err := loadLayers(ctx, filepath.Join(n.dir, modelFile), llm.Options{Profile: p, First: 0, Last: n.cut(1, stages)})
	if err != nil {
		return err
	}
	pages := (m.Config.Context + repro.PagePositions - 1) / repro.PagePositions * 2
	h, err := shard.NewHead(shard.StageConfig{Model: m, Pool: self.pool, Pages: pages, Batch: promptTokens}, slices.Max(linkSequences))
	if err != nil {
		return err
	}
	c := shard.LineConfig{Head: h, Member: self.Member, Self: self.address, Spares: spares, Seat: shard.Seat{Profile: p, Pages: pages, Batch: promptTokens}}
	for i, o := range others {
		c.Posts = append(c.Posts, shard.Post{Node: o, First: n.cut(i+1, stages), Last: n.cut(i+2, stages)})
	}
	l, err := shard.NewLine(c)
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	running, stop := context.WithCancel(ctx)
	ready := make(chan struct{})
	g.Go(func() error { h.Run(running); return nil })
	g.Go(func() error {
		if err := l.Run(running, func() { close(ready) }); !errors.Is(err, context.Canceled) {
			return err
		}
		return nil
	})
	g.Go(func() error {
		defer stop()
		select {
		case <-ready:
			return f(ctx, shardLine{h, l})
		case <-ctx.Done():
			return nil
		}
	})
	return g.Wait()
}

// measure has one answer drawn by itself, and then eight together.
func (n *shardBench) measure(ctx context.Context, g generator) (*shardSpeed, error) {
	n.asked++ // each its own scope: no prompt is found in a cache
	began := time.Now()
	var first time.Duration
	answers := make([][]int32, 1+eight)
	for t, err := range g.Generate(ctx, request(n.asked, prompt(0), answerTokens)) {
		if err != nil {
			return nil, err
		}
		if answers[0] = append(answers[0], t.ID); len(answers[0]) == 1 {
			first = time.Since(began)
		}
	}
	speed := &shardSpeed{first: first.Seconds() * 1000, decode: float64(len(answers[0])-1) / (time.Since(began) - first).Seconds()}
	began = time.Now()
	all, ctx := errgroup.WithContext(ctx)
	for i := range eight {
		all.Go(func() (err error) {
			answers[1+i], err = collect(g.Generate(ctx, request(i, prompt(i)[:16], answerTokens)))
			return err
		})
	}
	if err := all.Wait(); err != nil {
		return nil, err
	}
	total := 0
	for _, a := range answers[1:] {
		total += len(a)
	}
	speed.eight = float64(total) / time.Since(began).Seconds()
	if n.golden == nil {
		n.golden = answers
	}
	if !slices.EqualFunc(answers, n.golden, slices.Equal) {
		return nil, fmt.Errorf("a line has drawn %v, the whole model %v", answers, n.golden)
	}
	return speed, nil
}

// lose kills or stops the last stage of two in the middle of an answer, when the spare
// has loaded.
func (n *shardBench) lose(ctx context.Context, tokens int, signal os.Signal) (*LostStage, error) {
	out := &LostStage{Signal: signal.String(), Context: tokens}
	long := make([]int32, tokens)
	for i := range long {
		long[i] = int32(3 + i%256)
	}
	victim := -1 // of n.members
	err := n.processes(ctx, 2, func(ctx context.Context, l shardLine) error {
		<-l.Warm()
		drawn, replaced := 0, 0
		began, last := time.Now(), time.Time{}
		for _, err := range l.Generate(ctx, request(0, long, 8)) {
			if err != nil {
				return err
			}
			switch drawn++; drawn {
			case 1:
				out.FirstMs = time.Since(began).Seconds() * 1000
			case 4:
				replaced = l.Replaced()
				victim = slices.IndexFunc(n.members, func(m *memberProcess) bool { return m.address.Node == l.Held()[0].Node.Node })
				last = time.Now()
				if err := n.members[victim].cmd.Process.Signal(signal); err != nil {
					return err
				}
			case 5:
				out.PauseMs = time.Since(last).Seconds() * 1000
			}
		}
		if victim < 0 || l.Replaced() == replaced {
			return errors.New("the answer was too short to lose a stage in it")
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	_ = n.members[victim].cmd.Process.Kill() // it may be gone already
	_ = n.members[victim].cmd.Wait()
	n.members = slices.Delete(n.members, victim, victim+1)
	return out, n.start(ctx)
}
