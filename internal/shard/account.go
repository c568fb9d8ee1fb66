package shard

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"atoll/internal/core"
	"atoll/internal/shard/record"
)

// statement is what the stage has done for a sequence, up to so many positions.
func (s *Stage) statement(id uint32, positions int) (*record.Statement, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := s.seqs[id]
	switch {
	case q == nil:
		return nil, core.Errorf(core.NotFound, "the stage has no sequence %d", id)
	case positions < 1 || positions > q.computed || s.last && positions < int(q.Prompt):
		return nil, core.Errorf(core.Invalid, "an account of %d positions: the stage has computed %d, the prompt has %d", positions, q.computed, q.Prompt)
	}
	out := positions
	if s.last {
		out -= int(q.Prompt) - 1
	}
	st := &record.Statement{Sequence: id, Start: q.start, Prompt: int(q.Prompt), Computed: positions, In: q.chainIn.Links(positions), Out: q.chainOut.Links(out)}
	if s.last {
		st.Logits = q.chainLogits.Links(out)
	}
	return st, nil
}

// Accounts are the sealed statements of a line's stages on one answer, in the order of
// the layers, the head first.
type Accounts []record.Signed

// Account collects what all stages have done for a sequence. It is to be asked before
// the sequence is forgotten: see Head.Answer. A stage that is replaced meanwhile is
// asked again, once it has caught up.
func (l *Line) Account(ctx context.Context, sequence uint32, positions int) (Accounts, error) {
	seat := l.cfg.Seat
	seat.Line, seat.First, seat.Last = l.id, l.cfg.Head.cfg.Model.First, l.cfg.Head.cfg.Model.Last
	own, err := l.cfg.Member.account(l.cfg.Head.Stage, &seat, &account{sequence, positions})
	if err != nil {
		return nil, err
	}
	all := make(Accounts, len(l.cfg.Posts)+1)
	all[0] = record.Signed{Node: l.cfg.Self.Node, Statement: own}
	errs := make([]error, len(l.cfg.Posts))
	var wg sync.WaitGroup
	for i := range l.cfg.Posts {
		wg.Go(func() { all[i+1], errs[i] = l.accountOf(ctx, i, &account{sequence, positions}) })
	}
	wg.Wait()
	return all, errors.Join(errs...)
}

// accountOf asks one stage, whoever has it, until it has answered or ctx ends.
func (l *Line) accountOf(ctx context.Context, i int, a *account) (record.Signed, error) {
	for {
		p := l.post(i)
		// An order that is given up ends the stage: who asked must not do that.
		r, err := p.order(context.WithoutCancel(ctx), l.cfg.Patience, &order{Account: a})
		if err == nil {
			return record.Signed{Node: p.Node.Node, Statement: r.Statement}, nil
		}
		select {
		case <-ctx.Done():
			return record.Signed{}, fmt.Errorf("%s does not account for layers %d to %d: %w", p.Node.Node, p.First, p.Last-1, err)
		case <-time.After(accountAgain):
		}
	}
}

// accountAgain is how long a stage is left to catch up before it is asked again.
const accountAgain = 50 * time.Millisecond

// post is who has a place now.
func (l *Line) post(i int) *post {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.posts[i]
}
