package shard

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"

	"atoll/internal/llm"
	"atoll/internal/shard/record"
)

// job is a span of one sequence that is computed, and what has come of it.
type job struct {
	q     *sequence
	span  llm.Span
	n     int
	in    []byte // its rows, of which Span.Hidden are the numbers
	rows  []byte // that come of it
	drawn []token
	// logits are what each was drawn from, in short: record.Fingerprint.
	logits []uint64
	err    error
}

// gather takes positions that wait: one of each sequence, and then as many as there
// is room for; mu is held. Who was left out comes first the next time.
func (s *Stage) gather() (work []job) {
	waiting := s.waiting()
	if s.hold != nil && len(waiting) > 0 {
		waiting = s.hold(waiting)
	}
	waiting = waiting[:min(len(waiting), s.cfg.Batch)]
	room, hidden := s.cfg.Batch-len(waiting), s.hidden
	for _, q := range waiting {
		more := min(q.received-q.computed-1, room)
		room -= more
		n := 1 + more
		j := job{q: q, n: n, span: llm.Span{Pages: q.pages.Pages(), First: q.computed, Want: n}}
		if s.first {
			j.span.Tokens = q.tokens[q.computed : q.computed+n]
		} else {
			j.in = q.in[:n*s.rowsIn.Bytes()]
			j.span.Hidden, hidden = hidden[:n*s.dim], hidden[n*s.dim:]
		}
		if s.last {
			j.span.Want = q.wanted(q.computed, q.computed+n)
		}
		work = append(work, j)
		s.turn = q.Sequence
	}
	return work
}

// waiting are the sequences that have positions to be computed, beginning after the
// last one that had its turn; mu is held.
func (s *Stage) waiting() (out []*sequence) {
	after := slices.Index(s.order, s.turn) + 1
	for i := range s.order {
		q := s.seqs[s.order[(after+i)%len(s.order)]]
		if q.why == "" && q.received > q.computed {
			out = append(out, q)
		}
	}
	return out
}

// compute takes the jobs through the layers. If somebody's numbers go out of range
// each is computed by itself, so that only that one fails: the others get the same
// bits the second time. If its team has broken up nothing is known of any, which is the
// error.
func (s *Stage) compute(work []job) error {
	spans := make([]llm.Span, len(work))
	for i := range work {
		if j := &work[i]; !s.first {
			s.rowsIn.Restore(j.span.Hidden, j.in)
		}
		spans[i] = work[i].span
	}
	out, err := s.forward(spans)
	switch {
	case errors.Is(err, errTeam):
		return err
	case err == nil:
		s.share(work, out)
		return nil
	}
	for i := range work {
		out, err := s.forward(spans[i : i+1])
		switch {
		case errors.Is(err, errTeam):
			return err
		case err == nil:
			s.share(work[i:i+1], out)
		default:
			work[i].err = fmt.Errorf("position %d: %w", work[i].span.First, err)
		}
	}
	return nil
}

// share gives each job its rows of the result, or the tokens drawn from them: several
// jobs' at a time, for over a large vocabulary a draw costs as much as some layers.
func (s *Stage) share(work []job, out []float32) {
	width := s.dim
	if s.last {
		width = s.cfg.Model.Config.Vocab
	}
	var g errgroup.Group
	g.SetLimit(s.cfg.Pool.Threads())
	for i := range work {
		j := &work[i]
		mine := out[:j.span.Want*width]
		out = out[len(mine):]
		switch {
		case !s.last:
			j.rows, j.err = s.rowsOut.Append(nil, mine)
		case len(work) == 1:
			j.draw(mine, width)
		default:
			g.Go(func() error { j.draw(mine, width); return nil })
		}
	}
	_ = g.Wait() // errors are each job's own
}

// draw draws a token from each row of logits.
func (j *job) draw(logits []float32, vocab int) {
	for at := j.span.First + j.n - j.span.Want + 1; len(logits) > 0; at++ {
		from := record.Fingerprint(logits[:vocab]) // before it is changed
		t, err := j.q.drawer.Draw(logits[:vocab], at)
		if err != nil {
			j.err = fmt.Errorf("position %d: %w", at, err)
			return
		}
		j.drawn, j.logits = append(j.drawn, token{j.q.Sequence, t}), append(j.logits, from)
		logits = logits[vocab:]
	}
}

// store adds what was computed to the logs; mu is held.
func (s *Stage) store(work []job) {
	for i := range work {
		j := &work[i]
		q := j.q
		if j.err != nil {
			q.why = j.err.Error()
			continue
		}
		j.recorded()
		q.computed += j.n
		s.total += int64(j.n)
		if !s.first {
			q.in = q.in[len(j.in):]
		}
		q.out = append(q.out, j.rows...)
		q.drawn = append(q.drawn, j.drawn...)
	}
}
