package shard

import (
	"context"
	"errors"
	"io"
	"math/bits"
	"sync"

	"atoll/internal/core"
	"atoll/internal/llm"
	"atoll/internal/peer"
)

// follower computes its share of a stage for a leader.
type follower struct {
	link    *teamLink
	decoder *llm.Decoder
	form    stepForm
	member  int
	step    uint32
	quitted bool   // the step
	gather  uint32 // of the step
	parts   [][]byte
}

// follow serves a leader until its stream ends, and the share with it.
func (m *Member) follow(ctx context.Context, s peer.Stream) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	defer context.AfterFunc(ctx, func() { _ = s.Close() })()
	var seat Seat
	if readJSON(s, &seat) != nil {
		return
	}
	f, err := m.enlist(ctx, stop, s, &seat)
	if err != nil {
		_ = writeJSON(s, &report{Error: err.Error()})
		return
	}
	defer m.leave(seat.Line)
	if writeJSON(s, &report{}) != nil {
		return
	}
	if err := f.serve(); ctx.Err() == nil && !errors.Is(err, io.EOF) {
		m.cfg.Log.Info("a team has ended", "leader", s.Peer().Node, "line", seat.Line.Short(), "error", err)
	}
}

// enlist loads a share.
func (m *Member) enlist(ctx context.Context, stop context.CancelFunc, s peer.Stream, seat *Seat) (*follower, error) {
	if seat.Member < 1 || seat.Member >= len(seat.Team) {
		return nil, core.Errorf(core.Invalid, "member %d of a team of %d follows nobody", seat.Member, len(seat.Team))
	}
	f := &follower{link: newTeamLink(s), member: seat.Member, parts: make([][]byte, len(seat.Team))}
	return f, m.take(ctx, stop, s.Peer(), seat, func() error {
		model, err := m.cfg.Load(ctx, seat)
		if err != nil {
			return err
		}
		f.form = stepFormOf(model, seat.Batch, seat.Pages)
		f.decoder, err = llm.NewDecoder(model, m.cfg.Pool, llm.DecoderConfig{Pages: seat.Pages, Batch: seat.Batch, Context: model.Config.Context, Team: f})
		return err
	})
}

// serve computes one step after another.
func (f *follower) serve() error {
	for {
		spans, err := f.await()
		if err != nil {
			return err
		}
		_, err = f.decoder.Forward(spans)
		switch {
		case err == nil:
		case errors.Is(err, errTeam) || errors.Is(err, llm.ErrPart):
			return err
		default:
			if err := f.quit(err); err != nil {
				return err
			}
		}
	}
}

// quit ends a step, of which the leader has or gets to know. It is said once: then the
// leader knows that nothing more comes of the step.
func (f *follower) quit(why error) error {
	if f.quitted {
		return nil
	}
	f.quitted = true
	return f.link.quit(f.step, why)
}

// await reads what is to be computed next. What is left of a step that was quitted is
// passed over.
func (f *follower) await() ([]llm.Span, error) {
	for {
		h, err := f.link.head()
		switch {
		case err != nil:
			return nil, err
		case h.kind == teamQuit && h.step == f.step:
			if err := f.link.why(h); errors.Is(err, errTeam) {
				return nil, err
			} else if err := f.quit(err); err != nil {
				return nil, err
			}
		case h.kind == teamPart && h.step == f.step && f.quitted:
			if err := f.link.skip(h); err != nil {
				return nil, err
			}
		case h.kind != teamStep || h.step != f.step+1:
			return nil, broken(malformed("kind %d of step %d, after step %d", h.kind, h.step, f.step))
		case h.size > f.form.most():
			return nil, broken(malformed("a step of %d bytes", h.size))
		default:
			b := make([]byte, h.size)
			if err := f.link.body(b); err != nil {
				return nil, err
			}
			f.step, f.quitted, f.gather = h.step, false, 0
			spans, err := f.form.parse(b)
			if err != nil {
				return nil, broken(err)
			}
			return spans, nil
		}
	}
}

// Gather implements llm.Gatherer.
func (f *follower) Gather(mine []byte, sizes []int) ([][]byte, error) {
	f.gather++
	from := uint(1)<<len(sizes) - 1
	for i, n := range sizes {
		f.parts[i] = sized(f.parts[i], n)
	}
	f.parts[f.member] = mine
	var sent error
	var wg sync.WaitGroup
	wg.Go(func() { sent = f.link.part(f.step, f.gather, f.member, mine) })
	err := f.takeAll(from &^ (1 << f.member))
	wg.Wait()
	return f.parts, errors.Join(err, sent)
}

// takeAll takes the parts of a set of members.
func (f *follower) takeAll(from uint) error {
	for bits.OnesCount(from) > 0 {
		member, err := f.link.take(f.step, f.gather, f.parts, from)
		if err != nil {
			return err
		}
		from &^= 1 << member
	}
	return nil
}
