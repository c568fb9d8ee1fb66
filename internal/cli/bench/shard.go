package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"atoll/internal/core"
	"atoll/internal/identity"
	"atoll/internal/llm"
	"atoll/internal/llm/quant"
	"atoll/internal/llm/weights"
	"atoll/internal/peer"
	"atoll/internal/repro"
	"atoll/internal/shard"
)

// ShardConfig says what to measure of models that several processes hold.
type ShardConfig struct {
	Model    string // name of one of [Shapes]
	Stages   []int  // processes of a line, this one among them
	Threads  int    // of each process
	Rounds   int
	Contexts []int     // tokens at which a stage is killed; none: not measured
	Log      io.Writer // of the processes
	Watch    func(done, total int, what string)
}

// ShardReport is what it costs to have a model's layers in several processes, which
// speak TLS on loopback. Its JSON keys are stable. Numbers are medians of all rounds.
type ShardReport struct {
	Bench   string      `json:"bench"`
	Machine Machine     `json:"machine"`
	Model   string      `json:"model"`
	Threads int         `json:"threads"`
	Rounds  int         `json:"rounds"`
	Rows    []ShardRow  `json:"rows"`
	Lost    []LostStage `json:"lost,omitempty"`
}

// ShardRow is a line of so many stages; 1 is the model as a whole in this process.
// Ratios are to that.
type ShardRow struct {
	Stages      int     `json:"stages"`
	Decode      float64 `json:"decode_per_s"` // one answer
	DecodeRatio float64 `json:"decode_ratio"`
	Eight       float64 `json:"eight_per_s"` // eight at a time, all tokens
	EightRatio  float64 `json:"eight_ratio"`
	FirstToken  float64 `json:"first_token_ms"` // of a prompt of 128
	TokenBytes  int     `json:"token_bytes"`    // between the stages, all links together
}

// LostStage is a stage's SIGKILL in the middle of an answer.
type LostStage struct {
	Context int     `json:"context"`  // tokens that the sequence had
	PauseMs float64 `json:"pause_ms"` // until the next token
}

const eight = 8

// Shard runs the benchmark. Each line answers what the model as a whole answers, or
// it fails.
func Shard(ctx context.Context, cfg ShardConfig) (r *ShardReport, err error) {
	shapes, err := chosen([]string{cfg.Model})
	if err != nil {
		return nil, err
	}
	n, err := newShardBench(ctx, &cfg, shapes[0])
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, n.close()) }()
	measures, err := n.rounds(ctx)
	if err != nil {
		return nil, err
	}
	r = &ShardReport{Bench: "shard", Machine: machine(), Model: cfg.Model, Threads: cfg.Threads, Rounds: cfg.Rounds}
	for i, m := range measures {
		row := ShardRow{Stages: 1, Decode: middle(m.decode), Eight: middle(m.eight), FirstToken: middle(m.first)}
		if i > 0 {
			row.Stages = cfg.Stages[i-1]
			row.TokenBytes = (row.Stages-1)*4*shapes[0].Dim + 21
			row.DecodeRatio, row.EightRatio = row.Decode/r.Rows[0].Decode, row.Eight/r.Rows[0].Eight
		} else {
			row.DecodeRatio, row.EightRatio = 1, 1
		}
		r.Rows = append(r.Rows, row)
	}
	for _, c := range cfg.Contexts {
		cfg.Watch(0, 1, fmt.Sprintf("SIGKILL at %d tokens", c))
		lost, err := n.lose(ctx, c)
		if err != nil {
			return nil, err
		}
		r.Lost = append(r.Lost, *lost)
	}
	return r, nil
}

// shardMeasure is what all rounds gave.
type shardMeasure struct{ decode, eight, first []float64 }

// shardBench is a folder with the model's file, and a process for each node.
type shardBench struct {
	cfg     *ShardConfig
	dir     string
	ca      *identity.CA
	self    *shardNode
	layers  int
	members []*memberProcess
	started int     // processes so far
	golden  []int32 // of the one request that all answer
}

type memberProcess struct {
	cmd     *exec.Cmd
	address peer.Address
}

func newShardBench(ctx context.Context, cfg *ShardConfig, s Shape) (_ *shardBench, err error) {
	n := &shardBench{cfg: cfg, layers: s.Layers}
	if n.dir, err = os.MkdirTemp("", "atoll-bench-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, n.close())
		}
	}()
	cfg.Watch(0, 1, cfg.Model+": weights")
	s.Context = 8192 // only caches grow with it
	w, err := weights.Random(s.Config, 1)
	if err != nil {
		return nil, err
	}
	f, err := os.Create(filepath.Join(n.dir, modelFile))
	if err != nil {
		return nil, err
	}
	if err := errors.Join(w.Export(ctx, f, quant.Q8_0), f.Close()); err != nil {
		return nil, err
	}
	if n.ca, err = identity.LoadOrCreateCA(n.dir, time.Now); err != nil {
		return nil, err
	}
	head := filepath.Join(n.dir, "head")
	if err := prepareMember(n.ca, head, "head"); err != nil {
		return nil, err
	}
	if n.self, err = openMember(head, cfg.Threads); err != nil {
		return nil, err
	}
	for range slices.Max(cfg.Stages) { // one more than a line needs
		if err := n.start(ctx); err != nil {
			return nil, err
		}
	}
	return n, nil
}

// start starts another process.
func (n *shardBench) start(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	n.started++
	name := fmt.Sprintf("stage-%d", n.started)
	dir := filepath.Join(n.dir, name)
	if err := prepareMember(n.ca, dir, core.NodeID(name)); err != nil {
		return err
	}
	m := &memberProcess{cmd: exec.Command(self, "bench", "shard-member", dir, "--threads", strconv.Itoa(n.cfg.Threads))} //nolint:noctx // it is killed in the end
	m.cmd.Stderr = n.cfg.Log
	if err := m.cmd.Start(); err != nil {
		return err
	}
	n.members = append(n.members, m)
	m.address, err = addressOf(ctx, dir)
	return err
}

func (n *shardBench) close() error {
	var errs []error
	for _, m := range n.members {
		_ = m.cmd.Process.Kill() // one may have been killed before
		_ = m.cmd.Wait()
	}
	if n.self != nil {
		errs = append(errs, n.self.close())
	}
	return errors.Join(append(errs, os.RemoveAll(n.dir))...)
}

// generator answers requests: llm.Batcher, or the head of a line.
type generator interface {
	Generate(ctx context.Context, r llm.Request) iter.Seq2[llm.Token, error]
}

// rounds measures the whole model and each line in turn.
func (n *shardBench) rounds(ctx context.Context) ([]*shardMeasure, error) {
	all := make([]*shardMeasure, 1+len(n.cfg.Stages))
	for i := range all {
		all[i] = new(shardMeasure)
	}
	whole, err := loadLayers(ctx, filepath.Join(n.dir, modelFile), llm.Options{})
	if err != nil {
		return nil, err
	}
	for i := range n.cfg.Rounds {
		n.cfg.Watch(i*len(all), n.cfg.Rounds*len(all), "one process")
		b := &modelBench{model: whole, pool: n.self.pool}
		if err := b.serve(ctx, func(ctx context.Context, b *llm.Batcher) error { return n.measure(ctx, b, all[0]) }); err != nil {
			return nil, err
		}
		for j, stages := range n.cfg.Stages {
			n.cfg.Watch(i*len(all)+1+j, n.cfg.Rounds*len(all), fmt.Sprintf("%d stages", stages))
			if err := n.line(ctx, stages, func(ctx context.Context, h *shard.Head) error { return n.measure(ctx, h, all[1+j]) }); err != nil {
				return nil, err
			}
		}
	}
	return all, nil
}

// line has f use a line of so many stages, of about as many layers each.
func (n *shardBench) line(ctx context.Context, stages int, f func(context.Context, *shard.Head) error) error {
	cut := func(i int) int { return n.layers * i / stages }
	m, err := loadLayers(ctx, filepath.Join(n.dir, modelFile), llm.Options{First: 0, Last: cut(1)})
	if err != nil {
		return err
	}
	pages := (m.Config.Context + repro.PagePositions - 1) / repro.PagePositions * 2
	h, err := shard.NewHead(shard.StageConfig{Model: m, Pool: n.self.pool, Pages: pages, Batch: promptTokens}, 16)
	if err != nil {
		return err
	}
	c := shard.LineConfig{Head: h, Member: n.self.Member, Self: n.self.address, Seat: shard.Seat{Profile: llm.Q8, Pages: pages, Batch: promptTokens}}
	for i := 1; i < stages; i++ {
		c.Posts = append(c.Posts, shard.Post{Node: n.members[i-1].address, First: cut(i), Last: cut(i + 1)})
	}
	for _, m := range n.members[stages-1:] {
		c.Spares = append(c.Spares, m.address)
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
			return f(ctx, h)
		case <-ctx.Done():
			return nil
		}
	})
	return g.Wait()
}

// measure has one answer drawn by itself, and then eight together.
func (n *shardBench) measure(ctx context.Context, g generator, m *shardMeasure) error {
	began := time.Now()
	var first time.Duration
	var ids []int32
	for t, err := range g.Generate(ctx, request(100, prompt(0), answerTokens)) {
		if err != nil {
			return err
		}
		if ids = append(ids, t.ID); len(ids) == 1 {
			first = time.Since(began)
		}
	}
	m.first = append(m.first, first.Seconds()*1000)
	m.decode = append(m.decode, float64(len(ids)-1)/(time.Since(began)-first).Seconds())
	if n.golden == nil {
		n.golden = ids
	}
	if !slices.Equal(ids, n.golden) {
		return fmt.Errorf("a line has drawn %v, the whole model %v", ids, n.golden)
	}
	counts := make([]int, eight)
	began = time.Now()
	all, ctx := errgroup.WithContext(ctx)
	for i := range eight {
		all.Go(func() error {
			ids, err := collect(g.Generate(ctx, request(i, prompt(i)[:16], answerTokens)))
			counts[i] = len(ids)
			return err
		})
	}
	if err := all.Wait(); err != nil {
		return err
	}
	total := 0
	for _, c := range counts {
		total += c
	}
	m.eight = append(m.eight, float64(total)/time.Since(began).Seconds())
	return nil
}

// lose kills the last stage of two in the middle of an answer.
func (n *shardBench) lose(ctx context.Context, tokens int) (*LostStage, error) {
	out := &LostStage{Context: tokens}
	long := make([]int32, tokens)
	for i := range long {
		long[i] = int32(3 + i%256)
	}
	err := n.line(ctx, 2, func(ctx context.Context, h *shard.Head) error {
		drawn := 0
		var killed time.Time
		for _, err := range h.Generate(ctx, request(0, long, 8)) {
			if err != nil {
				return err
			}
			if !killed.IsZero() {
				out.PauseMs = time.Since(killed).Seconds() * 1000
				return nil
			}
			if drawn++; drawn == 4 {
				killed = time.Now()
				if err := n.members[0].cmd.Process.Kill(); err != nil {
					return err
				}
				_ = n.members[0].cmd.Wait()
			}
		}
		return errors.New("the answer was too short to lose a stage in it")
	})
	n.members = n.members[1:]
	return out, errors.Join(err, n.start(ctx))
}
