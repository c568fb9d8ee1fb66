package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"atoll/internal/llm"
	"atoll/internal/peer"
)

// Link is what the line between two stages is like.
type Link struct {
	RTT       time.Duration
	Bandwidth int64 // bits a second, in each direction
}

// LinkRow is a line of two stages with such a link between them, in this process. Its
// bound is what one could have at most by link and computing, with n sequences in the
// number g of groups that makes it largest:
//
//	n / max(g·C(n/g), C(n/g) + RTT + 8·B·n/g / bandwidth)
//
// C(k) is how long the model as a whole takes for a step with k sequences, measured in
// the same minute, and B the bytes of a token between the stages: a group cannot be
// back before it was computed and sent, and no core can compute two at a time.
type LinkRow struct {
	RTTMs     float64 `json:"rtt_ms"`
	Mbit      float64 `json:"mbit_per_s"`
	Form      string  `json:"form"` // of rows: f32, or int8 at a boundary of the profile
	Bytes     int     `json:"token_bytes"`
	Sequences int     `json:"sequences"`
	PerS      float64 `json:"tokens_per_s"`
	Bound     float64 `json:"bound_per_s"`
	Share     float64 `json:"share_of_bound"`
}

// linkSequences are how many answers are drawn at a time. The bound tries the halves
// of each, too.
var linkSequences = []int{1, 8, 32}

const (
	farNode    = "far"
	linkPrompt = 16
	// A line finds out in how many groups sequences go round best: only the second half
	// of long answers counts.
	linkTokens = 192
	boundAfter = 32 // tokens of the whole model's answers
)

// link measures one link in a profile.
func (n *shardBench) link(ctx context.Context, l Link, p llm.Profile) (rows []LinkRow, err error) {
	form, bytes := "f32", n.tokenBytes(2, p)
	if len(p.Cuts()) > 0 {
		form = "int8"
	}
	name := fmt.Sprintf("%s, %d Mbit/s, %s", l.RTT, l.Bandwidth/1e6, form)
	n.cfg.Watch(0, 1, name+": bound")
	steps, err := n.steps(ctx, p)
	if err != nil {
		return nil, err
	}
	over := newMemory(l)
	near, err := openMember(filepath.Join(n.dir, "head"), n.cfg.Threads, over)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, near.close()) }()
	far, err := openMember(filepath.Join(n.dir, farNode), n.cfg.Threads, over)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, far.close()) }()
	err = n.line(ctx, p, near, []peer.Address{far.address}, nil, func(ctx context.Context, line shardLine) error {
		for i, k := range linkSequences {
			n.cfg.Watch(i, len(linkSequences), fmt.Sprintf("%s, %d together", name, k))
			rate, err := n.steady(ctx, line, p, k, linkTokens)
			if err != nil {
				return err
			}
			row := LinkRow{RTTMs: l.RTT.Seconds() * 1000, Mbit: float64(l.Bandwidth) / 1e6, Form: form, Bytes: bytes, Sequences: k, PerS: rate, Bound: l.bound(k, bytes, steps)}
			row.Share = row.PerS / row.Bound
			rows = append(rows, row)
		}
		return nil
	})
	return rows, err
}

// newMemory is a network in memory of which each line is such a link.
func newMemory(l Link) carrier {
	m := peer.NewMemory()
	m.Line("head", farNode, peer.Conditions{RTT: l.RTT, Bandwidth: l.Bandwidth})
	return carrier{listen: func(node string) (net.Listener, error) { return m.Listen(node) }, dial: m.Dialler}
}

// bound is LinkRow's.
func (l Link) bound(n, tokenBytes int, steps map[int]float64) (best float64) {
	for size := n; size >= 1; size /= 2 {
		groups := float64(n) / float64(size)
		sent := float64(8*tokenBytes*size) / float64(l.Bandwidth)
		best = max(best, float64(n)/max(groups*steps[size], steps[size]+l.RTT.Seconds()+sent))
	}
	return best
}

// steps is how long the whole model takes for a step with so many sequences, in
// seconds.
func (n *shardBench) steps(ctx context.Context, p llm.Profile) (map[int]float64, error) {
	steps := map[int]float64{}
	whole, err := loadLayers(ctx, filepath.Join(n.dir, modelFile), llm.Options{Profile: p})
	if err != nil {
		return nil, err
	}
	b := &modelBench{model: whole, pool: n.self.pool}
	return steps, b.serve(ctx, func(ctx context.Context, b *llm.Batcher) error {
		for k := slices.Max(linkSequences); k >= 1; k /= 2 {
			rate, err := n.steady(ctx, b, p, k, boundAfter)
			if err != nil {
				return err
			}
			steps[k] = float64(k) / rate
		}
		return nil
	})
}

// steady is how many tokens a second come of so many answers drawn at a time, in the
// second half of each.
func (n *shardBench) steady(ctx context.Context, g generator, p llm.Profile, sequences, tokens int) (float64, error) {
	rates := make([]float64, sequences)
	all, ctx := errgroup.WithContext(ctx)
	for i := range sequences {
		all.Go(func() error {
			var half time.Time
			drawn := 0
			for t, err := range g.Generate(ctx, request(i, prompt(i)[:linkPrompt], tokens)) {
				if err != nil {
					return err
				}
				if drawn++; drawn == tokens/2 {
					half = time.Now()
				}
				if err := n.agree(asked{p, i}, drawn-1, t.ID); err != nil {
					return err
				}
			}
			if drawn < tokens {
				return fmt.Errorf("an answer has ended after %d tokens", drawn)
			}
			rates[i] = float64(tokens-tokens/2) / time.Since(half).Seconds()
			return nil
		})
	}
	if err := all.Wait(); err != nil {
		return 0, err
	}
	total := 0.0
	for _, r := range rates {
		total += r
	}
	return total, nil
}

// agree holds the token at a place of an answer against what was drawn there before.
func (n *shardBench) agree(q asked, at int, id int32) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if was := n.longer[q]; at == len(was) {
		n.longer[q] = append(was, id)
	} else if was[at] != id {
		return fmt.Errorf("token %d of answer %d is %d, and was %d before", at, q.request, id, was[at])
	}
	return nil
}
