package simtest

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/go-json-experiment/json"

	"atoll/internal/control"
	"atoll/internal/core"
	"atoll/internal/node/agent"
	"atoll/internal/shard/audit"
	"atoll/internal/shard/charter"
	"atoll/internal/shard/record"
)

// performed is what became of a lease: who has computed what, and who has not told the
// truth.
type performed struct {
	head    *node
	answers []performedAnswer
}

type performedAnswer struct {
	stages []performedStage
}

type performedStage struct {
	node     *node
	layers   int
	computed int
	wrong    bool // it has computed something else than it should
}

// runLine has the stages of a line compute an answer to each line of the input.
func (n *node) runLine(lease core.LeaseID, id charter.ID, input []byte) (out agent.Outcome, ok bool) {
	h := n.lines.heads[id]
	if h == nil || h.state.Trouble != "" {
		return agent.Outcome{Fault: "there is no such line"}, true
	}
	for i := range h.holders {
		if !h.held(i) {
			return out, false // until another has its place
		}
	}
	did := &performed{head: n}
	var entries []audit.Entry
	number := 0
	for line := range bytes.Lines(input) {
		a, text, said := h.answer(bytes.TrimSpace(line))
		if said != nil {
			entries = append(entries, audit.Entry{Answer: number, Stages: said})
		}
		did.answers = append(did.answers, a)
		out.Data = append(out.Data, text...)
		number++
	}
	accounts, err := json.Marshal(entries)
	if err != nil {
		panic("simtest: " + err.Error())
	}
	out.Accounts = accounts
	n.w.performed[lease] = did
	return out, true
}

// lie is what a node of a line does instead of its work.
type lie int

const (
	truthful  lie = iota
	computes      // something else
	signs         // for something else than it has sent
	writes        // another text, at the head
	refuses       // an answer that could be given, at the head
	falsehood     // how many there are
)

func (n *node) lineLie(head bool) lie {
	if n.faults.Lie == 0 || !n.w.chance(n.faults.Lie/2) {
		return truthful
	}
	if head {
		return computes + lie(n.w.rng.IntN(int(falsehood-computes)))
	}
	return computes + lie(n.w.rng.IntN(2))
}

// answer has all stages compute one answer, and account for it.
func (h *lineHead) answer(question []byte) (did performedAnswer, text []byte, said []record.Signed) {
	self := h.l.n
	h.l.sequence++
	terms := termsOf(question)
	drawn := drawnTokens(question)
	computed := terms.Prompt + drawn - 1
	headLies := self.lineLie(true)
	if headLies == refuses {
		return did, []byte(`{"error":"no"}` + "\n"), nil
	}
	tokens := make([]int32, terms.Prompt, terms.Limit)
	for i := range tokens {
		tokens[i] = int32(question[i])
	}
	stages := make([]*stageWork, len(h.holders))
	for i, s := range h.state.Stages {
		x := h.holders[i].node
		stages[i] = &stageWork{first: s.First, last: s.Last, in: record.New(terms.Start()), out: record.New(terms.Start())}
		does := headLies
		if i > 0 {
			does = x.lineLie(false)
		}
		if does == computes {
			stages[i].spoils, stages[i].spoil = true, self.w.rng.IntN(computed)
			if i == len(stages)-1 { // what comes before is not used
				stages[i].spoil = computed - 1 - self.w.rng.IntN(drawn)
			}
		}
		stages[i].signs = does == signs
		did.stages = append(did.stages, performedStage{node: x, layers: s.Last - s.First, computed: computed, wrong: does == computes})
	}
	logits := record.New(terms.Start())
	for p := range computed {
		row := embedded(p, tokens[p])
		stages[0].in.Token(tokens[p])
		for i, s := range stages {
			if i > 0 {
				s.in.Rows(row[:], 1)
			}
			row = s.compute(p, row)
			if i < len(stages)-1 {
				s.out.Rows(row[:], 1)
				key := sequence{h.id, h.l.sequence}
				sent := h.holders[i].lines.sent
				sent[key] = append(sent[key], row)
			}
		}
		if p >= terms.Prompt-1 {
			token, fingerprint := drawFrom(row)
			tokens = append(tokens, token)
			stages[len(stages)-1].out.Token(token)
			logits.Logits(fingerprint)
		}
	}
	for i, s := range stages {
		out := computed
		st := &record.Statement{Line: h.id, Sequence: h.l.sequence, Node: h.holders[i].id, Model: h.state.Model, Profile: "q8", First: s.first, Last: s.last, Start: terms.Start(), Prompt: terms.Prompt, Computed: computed, In: s.in.Links(computed)}
		if i == len(stages)-1 {
			out, st.Logits = drawn, logits.Links(drawn)
		}
		if st.Out = s.out.Links(out); s.signs {
			st.Out[len(st.Out)-1] = core.DigestOf([]byte("a lie"))
		}
		sealed, err := record.Seal(st, h.holders[i].key.Seal)
		if err != nil {
			panic("simtest: " + err.Error())
		}
		said = append(said, record.Signed{Node: st.Node, Statement: sealed})
	}
	answer := tokens[terms.Prompt:]
	text = written(question, answer)
	if headLies == writes {
		text = bytes.Replace(text, []byte(`"text":"`), []byte(`"text":"believe me: `), 1)
	}
	h.state.Tokens += int64(drawn)
	return did, text, said
}

// stageWork is one stage's part in one answer.
type stageWork struct {
	first, last int
	in, out     *record.Chain
	spoils      bool // the row at spoil
	spoil       int
	signs       bool // falsely
}

func (s *stageWork) compute(position int, row core.Digest) core.Digest {
	row = through(row, s.first, s.last)
	if s.spoils && position == s.spoil {
		row[8] ^= 1
	}
	return row
}

// The arithmetic of the model.
func embedded(position int, token int32) core.Digest {
	b := binary.LittleEndian.AppendUint32([]byte("row"), uint32(position))
	return core.DigestOf(binary.LittleEndian.AppendUint32(b, uint32(token)))
}

func through(row core.Digest, first, last int) core.Digest {
	for layer := first; layer < last; layer++ {
		row = core.DigestOf(append(row[:], byte(layer)))
	}
	return row
}

func drawFrom(row core.Digest) (token int32, fingerprint uint64) {
	return int32(row[0]), binary.LittleEndian.Uint64(row[8:])
}

func drawnTokens(question []byte) int { return 3 + len(question)%4 }

func termsOf(question []byte) record.Terms {
	return record.Terms{Prompt: len(question), Limit: len(question) + drawnTokens(question), Opening: question}
}

// written is the line of the result that follows from a question and tokens.
func written(question []byte, tokens []int32) []byte {
	end := "length"
	if len(tokens) != drawnTokens(question) {
		end = "none"
	}
	b, err := json.Marshal(map[string]any{"text": fmt.Sprint(tokens), "finish_reason": end, "tokens": tokens}, json.Deterministic(true))
	if err != nil {
		panic("simtest: " + err.Error())
	}
	return append(b, '\n')
}

// lineTask is how the input begins of tasks for a line.
const lineTask = `{"tell":`

// lineTruth is the result of a line of honest nodes.
func lineTruth(input []byte) (out []byte) {
	for line := range bytes.Lines(input) {
		q := bytes.TrimSpace(line)
		var tokens []int32
		for p := range len(q) + drawnTokens(q) - 1 {
			token := append(tokensOf(q), tokens...)[p]
			if row := through(embedded(p, token), 0, lineLayers); p >= len(q)-1 {
				drawn, _ := drawFrom(row)
				tokens = append(tokens, drawn)
			}
		}
		out = append(out, written(q, tokens)...)
	}
	return out
}

// lineShape is the model's, as the hub reads it.
func lineShape(string) (*control.ModelShape, error) {
	return &control.ModelShape{Layers: lineLayers, Context: 64, Layer: 1 << 20, Row: 32}, nil
}
