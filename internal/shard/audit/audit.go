// Package audit checks the work of a line's stages one by one: see packages shard and
// record. A result that a line has computed comes with what each stage says of it,
// signed. That is always held against the result, and against itself. A sample is
// audited: another owner computes one stage of one answer again, from the rows that
// the stage before has sent, and its links are compared with what the stage has signed.
// It is pure but for keys.
//
//	accounts ─ Read ─> answers ─ Ask ─> Question ─ an auditor ─> Finding ─ Judge ─> Verdict
package audit

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/bits"
	"slices"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"atoll/internal/core"
	"atoll/internal/engine"
	"atoll/internal/engine/jsonl"
	"atoll/internal/identity"
	"atoll/internal/shard/charter"
	"atoll/internal/shard/record"
)

// Mode is the engine's param under which a lease is an audit.
const Mode = "audit"

// TicketType is the DSSE payload type under which a hub seals a Ticket.
const TicketType = "application/vnd.atoll.audit-ticket+json"

// Ticket lets whoever shows it have the rows of a sequence, from one node.
type Ticket struct {
	Line     charter.ID  `json:"line"`
	Sequence uint32      `json:"sequence"`
	Source   core.NodeID `json:"source"`
}

// Entry is what the stages say of one answer of a result.
type Entry struct {
	Answer int             `json:"answer"` // line of the input, from 0
	Stages []record.Signed `json:"stages"`
}

// Bounds of what is read.
const (
	MaxAccounts = 512 << 10 // bytes
	maxEntries  = 10_000
)

// Line is what must be true of all accounts of a lease.
type Line struct {
	ID      charter.ID
	Head    core.NodeID
	Model   core.Digest
	Layers  int
	Answers int // that were asked for
	Key     func(core.NodeID) (identity.PublicKey, bool)
}

// Answer is one answer of a result, and what its stages say of it. One that the head
// has refused to give has no tokens and no stages.
type Answer struct {
	Number int // line of the input, from 0
	Head   core.NodeID
	Tokens []int32
	Stages record.Answer
	Told   core.Digest // of its line of the result, see Told
}

// claim is a line of a result but for its logprobs, which only who has drawn the tokens
// can know.
type claim struct {
	ID     jsontext.Value `json:"id,omitempty"`
	Error  string         `json:"error,omitempty"`
	Text   string         `json:"text,omitempty"`
	Finish string         `json:"finish_reason,omitempty"`
	Usage  struct {
		Prompt     int `json:"prompt_tokens"`
		Completion int `json:"completion_tokens"`
	} `json:"usage,omitzero"`
	Tokens []int32 `json:"tokens,omitempty"`
}

// told names what a line of a result says.
func (c *claim) told() (core.Digest, error) {
	b, err := json.Marshal(c)
	return core.DigestOf(b), err
}

// Told names what a line of a result says: its text, how it ends and what it counts,
// which follow from the request and the tokens. It is the head alone that writes it.
func Told(line []byte) (core.Digest, error) {
	var c claim
	if err := json.Unmarshal(bytes.TrimSpace(line), &c); err != nil {
		return core.Digest{}, err
	}
	return c.told()
}

// Read holds accounts against the result that they are of. Its errors are core.Invalid,
// with what is wrong.
func Read(claimed, accounts []byte, l *Line) ([]Answer, error) {
	if len(accounts) > MaxAccounts {
		return nil, core.Errorf(core.Invalid, "accounts of %d bytes, at most %d", len(accounts), MaxAccounts)
	}
	var entries []Entry
	if err := json.Unmarshal(accounts, &entries); err != nil {
		return nil, core.Errorf(core.Invalid, "accounts: %w", err)
	}
	of := map[int]*Entry{}
	for i := range entries {
		of[entries[i].Answer] = &entries[i]
	}
	var out []Answer
	n := 0
	for b := range bytes.Lines(claimed) {
		var c claim
		if err := json.Unmarshal(bytes.TrimSpace(b), &c); err != nil {
			return nil, core.Errorf(core.Invalid, "result, line %d: %w", n+1, err)
		}
		a, err := l.read(n, &c, of[n])
		if err != nil {
			return nil, core.Errorf(core.Invalid, "answer %d: %w", n+1, err)
		}
		out = append(out, a)
		if n++; n > maxEntries {
			return nil, core.Errorf(core.Invalid, "over %d answers", maxEntries)
		}
	}
	if n != l.Answers {
		return nil, core.Errorf(core.Invalid, "%d answers to %d questions", n, l.Answers)
	}
	return out, nil
}

func (l *Line) read(n int, c *claim, e *Entry) (a Answer, err error) {
	a = Answer{Number: n, Head: l.Head, Tokens: c.Tokens}
	if a.Told, err = c.told(); err != nil {
		return a, err
	}
	switch {
	case c.Error != "" && len(c.Tokens) > 0:
		return a, core.Errorf(core.Invalid, "it has tokens, and is refused")
	case len(c.Tokens) == 0 && e != nil:
		return a, core.Errorf(core.Invalid, "it is accounted for, and has no tokens")
	case len(c.Tokens) == 0:
		return a, nil // an auditor can tell whether it was to be refused
	}
	if e == nil {
		return a, core.Errorf(core.Invalid, "nobody accounts for it")
	}
	for _, s := range e.Stages {
		key, ok := l.Key(s.Node)
		if !ok {
			return a, core.Errorf(core.Invalid, "it is accounted for by %.80q, which has not joined", s.Node)
		}
		st, err := record.Open(s.Statement, key)
		if err != nil {
			return a, fmt.Errorf("statement of %s: %w", s.Node, err)
		}
		if st.Node != s.Node || st.Line != l.ID || st.Model != l.Model {
			return a, core.Errorf(core.Invalid, "the statement of %s is of another node, line or model", s.Node)
		}
		a.Stages = append(a.Stages, st)
	}
	return a, a.Stages.Check(l.Layers, c.Tokens)
}

// Share is how much of a result a node has computed.
type Share struct {
	Node core.NodeID
	Team bool  // with the team that it leads
	Work int64 // layers times positions
}

// Divide is what is each member's of the work of a team, of which these are the speeds:
// each has its part, rounded down, and the leader, who is the first, what is left.
func Divide(work int64, speeds []int) []int64 {
	all := 0
	for _, s := range speeds {
		all += s
	}
	out, left := make([]int64, len(speeds)), work
	for i := 1; i < len(speeds); i++ {
		high, low := bits.Mul64(uint64(work), uint64(speeds[i]))
		part, _ := bits.Div64(high, low, uint64(all))
		out[i] = int64(part)
		left -= out[i]
	}
	out[0] = left
	return out
}

// Shares lists who has computed answers, alone or with a team, in the order in which they appear.
func Shares(answers []Answer) (out []Share) {
	type who struct {
		node core.NodeID
		team bool
	}
	at := map[who]int{}
	for _, a := range answers {
		for _, s := range a.Stages {
			w := who{s.Node, s.Team}
			i, ok := at[w]
			if !ok {
				i = len(out)
				at[w] = i
				out = append(out, Share{Node: s.Node, Team: s.Team})
			}
			out[i].Work += int64(s.Last-s.First) * int64(s.Computed)
		}
	}
	return out
}

// Question is the input of an audit: one stage of one answer.
type Question struct {
	Line      jsontext.Value    `json:"line"`   // of the input
	Params    map[string]string `json:"params"` // of the task
	Tokens    []int32           `json:"tokens"` // that were drawn
	First     int               `json:"first"`  // layers First ≤ i < Last; none of an answer that was refused
	Last      int               `json:"last"`
	Positions int               `json:"positions"` // to compute
	Source    Source            `json:"source,omitzero"`
	// Which of the answers and of their stages it is about, for Judge.
	Answer int `json:"answer"`
	Stage  int `json:"stage"`
}

// Source is where the rows are to be had that went into the stage; zero for the head,
// into which go tokens.
type Source struct {
	Node     core.NodeID `json:"node"`
	Key      core.Digest `json:"key"`
	At       []string    `json:"at,omitempty"`
	Line     charter.ID  `json:"line"`
	Sequence uint32      `json:"sequence"`
	Ticket   []byte      `json:"ticket"`
}

// Lot decides what is audited: nobody could foresee it.
type Lot [32]byte

// Ask makes a question of a result: which stage of which answer, and how far, the lot
// decides. span is how many positions are computed at least; 0: all.
func Ask(in engine.Input, answers []Answer, lot Lot, span int) (*Question, error) {
	weight := func(a *Answer) int { return max(len(a.Stages), 1) } // a refusal as one
	all := 0
	for i := range answers {
		all += weight(&answers[i])
	}
	if all == 0 {
		return nil, core.Errorf(core.Invalid, "there is nothing to audit: there are no answers")
	}
	pick := int(binary.BigEndian.Uint64(lot[8:16]) % uint64(all))
	q := &Question{Params: in.Params}
	for ; pick >= weight(&answers[q.Answer]); q.Answer++ {
		pick -= weight(&answers[q.Answer])
	}
	a := &answers[q.Answer]
	if q.Line = lineAt(in.Data, a.Number); q.Line == nil {
		return nil, core.Errorf(core.Invalid, "answer %d is to no line of the input", a.Number+1)
	}
	if len(a.Stages) == 0 {
		return q, nil
	}
	q.Stage = pick
	s := a.Stages[pick]
	q.First, q.Last, q.Tokens, q.Positions = s.First, s.Last, a.Tokens, s.Computed
	if span > 0 && span < s.Computed && pick < len(a.Stages)-1 { // of the last, all: its links are of tokens
		least := (span + record.Every - 1) / record.Every
		choices := (s.Computed-1)/record.Every - least + 2
		if choices > 1 {
			n := least + int(binary.BigEndian.Uint64(lot[16:24])%uint64(choices))
			q.Positions = min(n*record.Every, s.Computed)
		}
	}
	return q, nil
}

// lineAt is a line of an input, from 0; nil if there is none.
func lineAt(input []byte, at int) jsontext.Value {
	n := 0
	for _, b := range jsonl.Lines(input) {
		if n == at {
			return bytes.Clone(b)
		}
		n++
	}
	return nil
}

// Lines is how many answers an input asks for.
func Lines(input []byte) (n int) {
	for range jsonl.Lines(input) {
		n++
	}
	return n
}

// Finding is the auditor's answer.
type Finding struct {
	// Unavailable, if not empty, is why it could not compute: the rows were not to be
	// had.
	Unavailable string        `json:"unavailable,omitempty"`
	Start       core.Digest   `json:"start,omitzero"`
	In          []core.Digest `json:"in,omitempty"`
	Out         []core.Digest `json:"out,omitempty"`
	Logits      []core.Digest `json:"logits,omitempty"`
	// Told is of the line that follows from the request and the tokens.
	Told core.Digest `json:"told,omitzero"`
}

// Verdict is what came of an audit.
type Verdict struct {
	Pass   bool
	Blame  core.NodeID // who is wrong, if somebody is
	Reason string
}

// Judge compares what an auditor has found with what the stage has signed. Its error
// means that the auditor has not answered the question.
func Judge(q *Question, answers []Answer, said []byte) (Verdict, error) {
	var f Finding
	if err := json.Unmarshal(bytes.TrimSpace(said), &f, json.RejectUnknownMembers(true)); err != nil {
		return Verdict{}, fmt.Errorf("not a finding: %w", err)
	}
	if q.Answer >= len(answers) || q.Stage >= max(len(answers[q.Answer].Stages), 1) {
		return Verdict{}, fmt.Errorf("a question of stage %d of answer %d", q.Stage, q.Answer)
	}
	a := &answers[q.Answer]
	switch {
	case f.Told.IsZero() && f.Unavailable == "":
		return Verdict{}, fmt.Errorf("a finding that does not say what the head should have told")
	case !f.Told.IsZero() && f.Told != a.Told:
		return Verdict{Blame: a.Head, Reason: fmt.Sprintf("audited: answer %d: what %s has written does not follow from the request and the tokens", a.Number+1, a.Head)}, nil
	case len(a.Stages) == 0:
		return Verdict{Pass: true, Reason: fmt.Sprintf("audited: answer %d was to be refused", a.Number+1)}, nil
	}
	stages := a.Stages
	s := stages[q.Stage]
	what := fmt.Sprintf("layers %d to %d of %s over %d of %d positions", s.First, s.Last-1, s.Node, q.Positions, s.Computed)
	if f.Unavailable != "" {
		return Verdict{Pass: true, Reason: "could not be audited: " + what + ": " + core.Clip(f.Unavailable, 200)}, nil
	}
	whole := q.Positions == s.Computed
	n := q.Positions / record.Every
	if whole {
		n = len(s.In)
	}
	last := q.Stage == len(stages)-1
	switch {
	case len(f.In) == 0 || len(f.Out) == 0:
		return Verdict{}, fmt.Errorf("a finding without links")
	case f.Start != s.Start:
		return Verdict{Blame: stages[0].Node, Reason: "audited: " + what + ": the head has opened the sequence on other terms than were asked for"}, nil
	case !record.Equal(f.In, s.In, n) && q.Stage == 0:
		return Verdict{Blame: s.Node, Reason: "audited: " + what + ": the head has not read the prompt that was asked for"}, nil
	case !record.Equal(f.In, s.In, n):
		// The rows came from the stage before, which has signed for others.
		return Verdict{Blame: stages[q.Stage-1].Node, Reason: "audited: " + what + ": " + string(stages[q.Stage-1].Node) + " does not have the rows that it says it has sent"}, nil
	case whole && len(f.Out) != len(s.Out) || !record.Equal(f.Out, s.Out, max(n, 1)) || last && !slices.Equal(f.Logits, s.Logits):
		return Verdict{Blame: s.Node, Reason: "audited: " + what + ": it has computed something else"}, nil
	}
	return Verdict{Pass: true, Reason: "audited: " + what + ", bit for bit"}, nil
}
