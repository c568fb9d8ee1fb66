package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"atoll/internal/core"
	"atoll/internal/identity"
	"atoll/internal/llm"
	"atoll/internal/llm/quant"
	"atoll/internal/llm/weights"
	"atoll/internal/peer"
)

// ShardConfig says what to measure of models that several processes hold.
type ShardConfig struct {
	Model    string // name of one of [Shapes]
	Stages   []int  // processes of a line, this one among them
	Threads  int    // of each process
	Rounds   int
	Contexts []int     // tokens at which a stage is killed; none: not measured
	Links    []Link    // between two stages; none: not measured
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
	Links   []LinkRow   `json:"links,omitempty"`
	Lost    []LostStage `json:"lost,omitempty"`
}

// ShardRow is a line of so many stages; 1 is the model as a whole in this process.
// Ratios are to that, medians of the rounds' own.
type ShardRow struct {
	Stages      int     `json:"stages"`
	Decode      float64 `json:"decode_per_s"` // one answer
	DecodeRatio float64 `json:"decode_ratio"`
	Eight       float64 `json:"eight_per_s"` // eight at a time, all tokens
	EightRatio  float64 `json:"eight_ratio"`
	FirstToken  float64 `json:"first_token_ms"` // of a prompt of 128
	TokenBytes  int     `json:"token_bytes"`    // between the stages, all links together
}

// LostStage is a stage that a signal has hit in the middle of an answer. A spare has
// its layers already, and computes anew what the sequence had: half of what the prompt
// took, and the time in which the line notices.
type LostStage struct {
	Signal  string  `json:"signal"`
	Context int     `json:"context"`        // tokens that the sequence had
	FirstMs float64 `json:"first_token_ms"` // of that prompt, both stages together
	PauseMs float64 `json:"pause_ms"`       // from the signal to the next token
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
	speeds, err := n.rounds(ctx)
	if err != nil {
		return nil, err
	}
	r = &ShardReport{Bench: "shard", Machine: machine(), Model: cfg.Model, Threads: cfg.Threads, Rounds: cfg.Rounds}
	for i := range speeds {
		row := shardRow(speeds[0], speeds[i])
		row.Stages = 1
		if i > 0 {
			row.Stages = cfg.Stages[i-1]
			row.TokenBytes = n.tokenBytes(row.Stages, llm.Q8)
		}
		r.Rows = append(r.Rows, row)
	}
	for _, l := range cfg.Links {
		for _, p := range []llm.Profile{llm.Q8, n.thin()} {
			rows, err := n.link(ctx, l, p)
			if err != nil {
				return nil, err
			}
			r.Links = append(r.Links, rows...)
		}
	}
	if r.Lost, err = n.losses(ctx); err != nil {
		return nil, err
	}
	return r, nil
}

// losses loses a stage for each context, and has one stand still.
func (n *shardBench) losses(ctx context.Context) (all []LostStage, err error) {
	for i, c := range n.cfg.Contexts {
		signals := []os.Signal{os.Kill}
		if i == 0 && standstill != nil {
			signals = append(signals, standstill)
		}
		for _, s := range signals {
			n.cfg.Watch(0, 1, fmt.Sprintf("%s at %d tokens", s, c))
			lost, err := n.lose(ctx, c, s)
			if err != nil {
				return nil, err
			}
			all = append(all, *lost)
		}
	}
	return all, nil
}

// shardRow sums up all rounds, beside those of the whole model.
func shardRow(whole, line []shardSpeed) ShardRow {
	median := func(of func(whole, line shardSpeed) float64) float64 {
		var all []float64
		for i := range line {
			all = append(all, of(whole[i], line[i]))
		}
		return middle(all)
	}
	return ShardRow{
		Decode:      median(func(_, l shardSpeed) float64 { return l.decode }),
		DecodeRatio: median(func(w, l shardSpeed) float64 { return l.decode / w.decode }),
		Eight:       median(func(_, l shardSpeed) float64 { return l.eight }),
		EightRatio:  median(func(w, l shardSpeed) float64 { return l.eight / w.eight }),
		FirstToken:  median(func(_, l shardSpeed) float64 { return l.first }),
	}
}

// shardBench is a folder with the model's file, and a process for each node.
type shardBench struct {
	cfg     *ShardConfig
	dir     string
	ca      *identity.CA
	self    *shardNode
	shape   weights.Config
	members []*memberProcess
	started int // processes so far
	asked   int
	golden  [][]int32 // what all answer
	mu      sync.Mutex
	longer  map[asked][]int32 // what all answer to linkSequences' requests; guarded by mu
}

// tokenBytes is what goes between so many stages for each token: a row over each link,
// and the token back to the head.
func (n *shardBench) tokenBytes(stages int, p llm.Profile) int {
	return (stages-1)*p.RowsBefore(n.cut(1, 2), &n.shape).Bytes() + 21
}

// asked is one of linkSequences' requests, in a profile.
type asked struct {
	profile llm.Profile
	request int
}

// cut is where a stage of so many begins.
func (n *shardBench) cut(stage, stages int) int { return n.shape.Layers * stage / stages }

// thin is the profile that sends int8 between two stages.
func (n *shardBench) thin() llm.Profile {
	return llm.Profile(fmt.Sprintf("%s/%d", llm.Q8, n.cut(1, 2)))
}

type memberProcess struct {
	cmd     *exec.Cmd
	address peer.Address
}

func newShardBench(ctx context.Context, cfg *ShardConfig, s Shape) (_ *shardBench, err error) {
	n := &shardBench{cfg: cfg, shape: s.Config, longer: map[asked][]int32{}}
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
	if err := prepareMember(n.ca, filepath.Join(n.dir, farNode), farNode); err != nil {
		return nil, err
	}
	if n.self, err = openMember(head, cfg.Threads, loopback); err != nil {
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
