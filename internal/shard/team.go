package shard

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sync/errgroup"

	"atoll/internal/llm"
	"atoll/internal/shard/charter"
)

// Mate is a node of a team.
type Mate = charter.Mate

// team is the followers of a stage, as its leader has them. It computes as they do, and
// all parts go through it.
type team struct {
	links  []*teamLink // to member i+1
	step   uint32
	gather uint32 // of the step
	parts  [][]byte
}

// gatherTeam has the followers of a seat load their shares, and returns when all have, or
// loading ends. The streams to them end with ctx.
func (m *Member) gatherTeam(ctx, loading context.Context, s *Seat) (*team, error) {
	t := &team{links: make([]*teamLink, len(s.Team)-1), parts: make([][]byte, len(s.Team))}
	g, loading := errgroup.WithContext(loading)
	for i, mate := range s.Team[1:] {
		g.Go(func() (err error) {
			if t.links[i], err = m.ask(ctx, loading, s, i+1); err != nil {
				return fmt.Errorf("%s: %w", mate.Node.Node, err)
			}
			return nil
		})
	}
	return t, g.Wait()
}

// ask has a follower load its share.
func (m *Member) ask(ctx, loading context.Context, s *Seat, member int) (*teamLink, error) {
	stream, err := m.cfg.Open(loading, s.Team[member].Node, ProtocolTeam)
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, func() { _ = stream.Close() }) // also if no stage comes of it
	defer context.AfterFunc(loading, func() { _ = stream.Close() })()
	seat, r := *s, report{}
	seat.Member = member
	if err := errors.Join(writeJSON(stream, &seat), readJSON(stream, &r)); err != nil {
		return nil, errors.Join(err, context.Cause(loading))
	}
	if r.Error != "" {
		return nil, errors.New(r.Error)
	}
	return newTeamLink(stream), nil
}

// lead is Decoder.Forward of all members together, d being of the leader's share. An error
// that is errTeam has broken the team.
func (t *team) lead(d *llm.Decoder, form stepForm) func([]llm.Span) ([]float32, error) {
	return func(spans []llm.Span) ([]float32, error) {
		step, err := form.write(spans)
		if err != nil {
			return nil, err
		}
		t.step, t.gather = t.step+1, 0
		if err := t.all(func(l *teamLink) error { return l.step(t.step, step) }); err != nil {
			return nil, err
		}
		out, err := d.Forward(spans)
		switch {
		case err == nil || errors.Is(err, errTeam):
		case errors.Is(err, llm.ErrPart):
			err = broken(err)
		default: // the next step goes on, for other sequences
			err = errors.Join(err, t.all(func(l *teamLink) error { return l.giveUp(t.step, err) }))
		}
		return out, err
	}
}

// watch says when a link ends, once at most of each, until stop, which ends all.
func (t *team) watch(ended func(error)) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for i, l := range t.links {
		l.heads, l.rest = make(chan teamHead, 1), make(chan struct{}, 1)
		wg.Go(func() {
			if err := l.watch(ctx); ctx.Err() == nil {
				ended(fmt.Errorf("member %d: %w", i+1, err))
			}
		})
	}
	return func() {
		cancel()
		for _, l := range t.links {
			_ = l.stream.Close()
		}
		wg.Wait()
	}
}

// all does something with each link at once.
func (t *team) all(f func(*teamLink) error) error {
	errs := make([]error, len(t.links))
	var wg sync.WaitGroup
	for i, l := range t.links {
		wg.Go(func() { errs[i] = f(l) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// Gather implements llm.Gatherer: the leader sends its part to all, and every other's to
// those that lack it as soon as it is here.
func (t *team) Gather(mine []byte, sizes []int) ([][]byte, error) {
	t.gather++
	t.parts[0] = mine
	errs := make([]error, 2*len(t.links))
	var wg sync.WaitGroup
	for i, l := range t.links {
		t.parts[i+1] = sized(t.parts[i+1], sizes[i+1])
		wg.Go(func() { errs[2*i] = l.part(t.step, t.gather, 0, mine) })
		wg.Go(func() { errs[2*i+1] = t.relay(i) })
	}
	wg.Wait()
	return t.parts, errors.Join(errs...)
}

// relay takes the part of a follower and passes it on.
func (t *team) relay(i int) error {
	if _, err := t.links[i].take(t.step, t.gather, t.parts, 1<<(i+1)); err != nil {
		return fmt.Errorf("member %d: %w", i+1, err)
	}
	for j, l := range t.links {
		if j == i {
			continue
		}
		if err := l.part(t.step, t.gather, i+1, t.parts[i+1]); err != nil {
			return fmt.Errorf("member %d: %w", j+1, err)
		}
	}
	return nil
}

// sized is a slice of n bytes, the same as before if that is long enough.
func sized(b []byte, n int) []byte {
	if cap(b) < n {
		return make([]byte, n)
	}
	return b[:n]
}
