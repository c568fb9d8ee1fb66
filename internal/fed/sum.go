package fed

import (
	"fmt"
	"slices"
	"time"

	"atoll/internal/codec"
	"atoll/internal/core"
	"atoll/internal/learn/merge"
)

// unmask ends a round with what its sum says.
func (m *Machine) unmask() error {
	words, err := m.server.Sum()
	if err != nil {
		return err
	}
	survivors, err := m.server.CloseVectors()
	if err != nil {
		return err
	}
	n := m.plan.Grid.Len()
	update := make([]float32, m.plan.Grid.Shape().Dim)
	if m.training() {
		modulus := m.plan.Words.Modulus
		if update, err = m.plan.Grid.Decode(words[:n], modulus, seed(m.order.id(), m.order.Keys)); err != nil {
			return err
		}
	}
	return m.finish(update, countsOf(words[n:]), survivors, digestWords(words))
}

// addPlain ends a round without masks.
func (m *Machine) addPlain() error {
	if len(m.plain) < m.plan.Threshold {
		return core.Errorf(core.Unavailable, "%d of %d sites have sent an update: %d must", len(m.plain), m.plan.Sites, m.plan.Threshold)
	}
	var sites []int
	for i := range m.plain {
		sites = append(sites, i)
	}
	slices.Sort(sites)
	dim := m.plan.Grid.Shape().Dim
	sum := make([]float64, dim)
	words := make([]uint32, counts*countWords)
	for _, i := range sites {
		update, tail, err := m.plan.readPlain(m.plain[i])
		if err != nil {
			return err
		}
		for j, v := range update {
			sum[j] += float64(v)
		}
		for j, w := range tail {
			words[j] += w
		}
	}
	update := make([]float32, dim)
	for i, v := range sum {
		update[i] = float32(v)
	}
	return m.finish(update, countsOf(words), sites, core.DigestOf(packFloats(update)))
}

// training reports whether the round is one in which the model is trained.
func (m *Machine) training() bool { return m.state.Round <= m.plan.Spec.Rounds }

// finish makes a step of the sum of the sites' updates.
func (m *Machine) finish(update []float32, c Counts, sites []int, sum core.Digest) error {
	next := m.state
	if m.training() {
		weight := float64(len(sites))
		if most := m.plan.Spec.Weights.Rows; most > 0 {
			weight = float64(c.Rows) / float64(most)
		}
		err := merge.Divide(update, weight)
		if err == nil {
			next.Params, next.Optimizer, err = m.plan.Spec.Server.Step(m.state.Params, update, m.state.Optimizer)
		}
		if err != nil {
			return fmt.Errorf("the sum of the updates: %w", err)
		}
	}
	r := Round{
		Number: m.state.Round, Attempts: m.state.Attempt, Sites: sites, Counts: c, Params: core.DigestOf(packFloats(next.Params)), Sum: sum,
		Sent: m.sent, BeganMs: m.began.UnixMilli(), EndedMs: m.deadline.Add(-time.Duration(m.plan.Spec.Deadline)).UnixMilli(),
	}
	for i := range m.members {
		if !slices.Contains(sites, i) {
			r.Out = append(r.Out, Out{i, m.out[i]})
		}
	}
	if v := m.plan.Spec.Privacy; v != nil {
		r.Epsilon, _ = m.plan.PerRound.Times(m.state.Round).Epsilon(v.Delta)
	}
	next.Rounds = append(slices.Clip(next.Rounds), r)
	next.Round, next.Attempt = next.Round+1, 0
	m.state = next
	return nil
}

func digestWords(words []uint32) core.Digest {
	b := make([]byte, 0, 4*len(words))
	for _, w := range words {
		b = append(b, byte(w), byte(w>>8), byte(w>>16), byte(w>>24))
	}
	return core.DigestOf(b)
}

// plainSize is the bytes of a vector without masks: the update as binary32, and the counts.
func (p *Plan) plainSize() int { return 4*p.Grid.Shape().Dim + counts*countWords }

func (p *Plan) appendPlain(update []float32, c Counts) []byte {
	out := packFloats(update)
	for _, w := range c.append(nil) {
		out = append(out, byte(w))
	}
	return out
}

func (p *Plan) readPlain(b []byte) (update []float32, words []uint32, err error) {
	n := 4 * p.Grid.Shape().Dim
	update, err = unpackFloats(b[:n], p.Grid.Shape().Dim)
	for _, x := range b[n:] {
		words = append(words, uint32(x))
	}
	if err == nil {
		_, err = codec.Norm(update)
	}
	return update, words, err
}
