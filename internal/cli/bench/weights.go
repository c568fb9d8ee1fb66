package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"atoll/internal/blob"
	"atoll/internal/blob/swarm"
	"atoll/internal/core"
	"atoll/internal/identity"
	"atoll/internal/peer"
)

// WeightsConfig says what to measure of a model's file on its way to several nodes.
type WeightsConfig struct {
	Size   int64 // bytes
	Nodes  int   // that fetch it at the same time, besides the one who has it
	Rounds int
	Log    io.Writer // of the processes
	Watch  func(done, total int, what string)
}

// WeightsReport is how long nodes take to fetch a file from one who has it, each a process
// of its own with TLS on loopback. Its JSON keys are stable. Numbers are medians.
type WeightsReport struct {
	Bench   string       `json:"bench"`
	Machine Machine      `json:"machine"`
	Bytes   int64        `json:"bytes"`
	Nodes   int          `json:"nodes"`
	Rounds  int          `json:"rounds"`
	Rows    []WeightsRow `json:"rows"`
}

// WeightsRow is one way of fetching.
type WeightsRow struct {
	Way     string  `json:"way"`     // alone: all from the first holder; together: from one another, too
	Seconds float64 `json:"seconds"` // until the last node has all of it, checked and synced
	Copies  float64 `json:"copies"`  // of the file that left the first holder
	Ratio   float64 `json:"ratio"`   // of seconds, to alone
}

// Weights runs the benchmark.
func Weights(ctx context.Context, cfg WeightsConfig) (*WeightsReport, error) {
	r := &WeightsReport{Bench: "weights", Machine: machine(), Bytes: cfg.Size, Nodes: cfg.Nodes, Rounds: cfg.Rounds}
	var seconds, copies [2][]float64
	ways := [2]string{"alone", "together"}
	for round := range cfg.Rounds {
		for way, name := range ways {
			cfg.Watch(2*round+way, 2*cfg.Rounds, name)
			s, c, err := weightsRound(ctx, &cfg, name == "together")
			if err != nil {
				return nil, err
			}
			seconds[way], copies[way] = append(seconds[way], s), append(copies[way], c)
		}
	}
	var ratios []float64
	for i := range seconds[0] {
		ratios = append(ratios, seconds[1][i]/seconds[0][i])
	}
	for way, name := range ways {
		row := WeightsRow{Way: name, Seconds: middle(seconds[way]), Copies: middle(copies[way]), Ratio: 1}
		if way > 0 {
			row.Ratio = middle(ratios)
		}
		r.Rows = append(r.Rows, row)
	}
	return r, nil
}

// weightsOrder tells a process what to fetch, and from whom: its first holder has it.
type weightsOrder struct {
	Digest core.Digest    `json:"digest"`
	Size   int64          `json:"size"`
	From   []peer.Address `json:"from"`
}

// weightsProcess is a node. It says its address, is given an order, says when it has
// fetched, and after the end of its input what has moved.
type weightsProcess struct {
	cmd     *exec.Cmd
	in      io.WriteCloser
	out     *bufio.Reader
	address peer.Address
}

const weightsManifest = "manifest"

// weightsRound has all nodes fetch once.
func weightsRound(ctx context.Context, cfg *WeightsConfig, together bool) (seconds, copies float64, err error) {
	dir, err := os.MkdirTemp("", "atoll-bench-")
	if err != nil {
		return 0, 0, err
	}
	var nodes []*weightsProcess
	defer func() {
		for _, n := range nodes {
			_ = n.cmd.Process.Kill() // it may have ended
			_ = n.cmd.Wait()
		}
		err = errors.Join(err, os.RemoveAll(dir))
	}()
	ca, err := identity.LoadOrCreateCA(dir, time.Now)
	if err != nil {
		return 0, 0, err
	}
	order := weightsOrder{Size: cfg.Size}
	for i := range cfg.Nodes + 1 {
		home := filepath.Join(dir, fmt.Sprintf("node-%d", i))
		if err := prepareMember(ca, home, core.NodeID(filepath.Base(home))); err != nil {
			return 0, 0, err
		}
		if i == 0 {
			if order.Digest, err = putNoise(ctx, home, cfg.Size); err != nil {
				return 0, 0, err
			}
		}
		n, err := startWeights(ctx, home, cfg.Log)
		if err != nil {
			return 0, 0, err
		}
		nodes = append(nodes, n)
		if i == 0 || together {
			order.From = append(order.From, n.address)
		}
	}
	began := time.Now()
	for _, n := range nodes {
		if err := json.NewEncoder(n.in).Encode(order); err != nil {
			return 0, 0, err
		}
	}
	for _, n := range nodes {
		if err := n.hear(&struct{}{}); err != nil {
			return 0, 0, err
		}
	}
	seconds = time.Since(began).Seconds()
	var moved swarm.Moved
	if err := errors.Join(nodes[0].in.Close(), nodes[0].hear(&moved)); err != nil {
		return 0, 0, err
	}
	return seconds, float64(moved.Sent) / float64(cfg.Size), nil
}

// putNoise gives the first holder its file, and all nodes the manifest.
func putNoise(ctx context.Context, home string, size int64) (core.Digest, error) {
	store, err := openWeights(home)
	if err != nil {
		return core.Digest{}, err
	}
	noise := rand.NewChaCha8([32]byte{1})
	d, _, err := store.Put(ctx, io.LimitReader(noise, size), core.Digest{}, size)
	if err != nil {
		return d, err
	}
	m, err := store.Manifest(ctx, d)
	if err != nil {
		return d, err
	}
	b, err := m.AppendBinary(nil)
	if err != nil {
		return d, err
	}
	return d, os.WriteFile(filepath.Join(filepath.Dir(home), weightsManifest), b, 0o600)
}

func openWeights(home string) (*blob.Store, error) {
	return blob.Open(filepath.Join(home, "cache"), blob.Options{})
}

func startWeights(ctx context.Context, home string, log io.Writer) (*weightsProcess, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	n := &weightsProcess{cmd: exec.CommandContext(ctx, self, "bench", "weights-member", home)}
	n.cmd.Stderr = log
	if n.in, err = n.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := n.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	n.out = bufio.NewReader(out)
	if err := n.cmd.Start(); err != nil {
		return nil, err
	}
	if err := n.hear(&n.address); err != nil {
		return nil, errors.Join(err, n.cmd.Process.Kill(), n.cmd.Wait())
	}
	return n, nil
}

// hear reads the next line of a process.
func (n *weightsProcess) hear(v any) error {
	line, err := n.out.ReadString('\n')
	if err != nil {
		return fmt.Errorf("a process of the benchmark has ended: %w", err)
	}
	return json.NewDecoder(strings.NewReader(line)).Decode(v)
}
