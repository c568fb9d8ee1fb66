package shard

import (
	"atoll/internal/core"
	"atoll/internal/llm"
	"atoll/internal/planted"
	"atoll/internal/shard/record"
)

// sequence is one sequence at one stage: what has come in, and the log of what has
// gone out.
type sequence struct {
	opened
	pages  *llm.Sequence
	drawer *llm.Drawer // at the last stage

	tokens   []int32 // at the head: what stands at each position
	in       []byte  // elsewhere: rows that are not computed yet
	received int     // positions that have come
	computed int     // of them
	out      []byte  // the log: a row for each computed position
	drawn    []token // at the last stage: the log, from position Prompt on
	why      string  // if not empty, why it cannot go on

	// What the stage will sign for.
	start                          core.Digest // link 0
	chainIn, chainOut, chainLogits *record.Chain
}

// recorded adds what a job has computed, and from what, to the chains.
func (j *job) recorded() {
	q := j.q
	for _, id := range j.span.Tokens {
		q.chainIn.Token(id)
	}
	q.chainIn.Rows(j.in, j.n)
	q.chainOut.Rows(j.rows, j.n)
	for i := range j.drawn {
		q.chainOut.Token(j.drawn[i].ID)
		q.chainLogits.Logits(j.logits[i])
	}
}

// length is how far its log is, in positions of the receiver: rows, or at the last
// stage tokens.
func (q *sequence) logged(last bool) int {
	if last {
		return int(q.Prompt) + len(q.drawn)
	}
	return q.computed
}

// wanted is of how many of the positions from first to end a token is drawn: all
// from the prompt's last on.
func (q *sequence) wanted(first, end int) int {
	return max(0, end-max(first, int(q.Prompt)-1))
}

// take adds rows that have come, but for those that are there. gap reports that some
// are missing between.
func (q *sequence) take(first int, data []byte, row int) (gap bool) {
	n := len(data) / row
	if first > q.received {
		return true
	}
	have := q.received - first
	if planted.Twice {
		have = 0
	}
	if have < n {
		q.in = append(q.in, data[have*row:]...)
		q.received += n - have
	}
	return false
}
