package llm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"

	"github.com/go-json-experiment/json"

	"atoll/internal/engine"
	"atoll/internal/engine/completion"
	"atoll/internal/engine/jsonl"
)

var (
	_ engine.Piece = Piece

	errClaim = errors.New("not an output of this engine")
)

// Piece is an engine.Piece: of each answer only so many tokens in a row are drawn
// again, and the rest is given as claimed. What is given is read at the speed of a
// prompt, which is several times that of drawing. The numbers that a token is drawn
// from depend on all before it, so a token that the model would not have drawn is
// found if it is among those drawn again, or if a shorter or longer answer should
// have ended otherwise.
//
// An answer is cut into pieces of the size, the last of them moved up to be whole,
// and the lot takes one: so each token is as likely to be drawn again as any other.
// Answers that are no longer than that, or that have logprobs or are held to a
// form, are drawn again as a whole.
func Piece(in engine.Input, claimed []byte, size int, lot [32]byte) ([]byte, error) {
	params, err := parseParams(in.Params)
	if err != nil {
		return nil, err
	}
	lines, err := completion.Parse(in.Data, &params.Params)
	if err != nil {
		return nil, err
	}
	answers := bytes.SplitAfter(claimed, []byte("\n"))
	if len(answers) != len(lines)+1 || size < 1 {
		return nil, fmt.Errorf("%w: %d lines for %d questions", errClaim, len(answers)-1, len(lines))
	}
	rng := rand.New(rand.NewPCG(binary.BigEndian.Uint64(lot[8:]), binary.BigEndian.Uint64(lot[16:])))
	var out []byte
	i := 0
	for _, question := range jsonl.Lines(in.Data) {
		var claim struct {
			Tokens []int32 `json:"tokens"`
		}
		if err := json.Unmarshal(answers[i], &claim); err != nil {
			return nil, fmt.Errorf("%w: line %d", errClaim, i+1)
		}
		l := &lines[i]
		whole := len(claim.Tokens) <= size || l.Known != nil || l.Logprobs != nil || l.Regex != nil || l.Schema != nil
		if whole {
			out = append(out, question...)
		} else {
			out = appendKnown(out, question, claim.Tokens, size, rng)
		}
		out = append(out, '\n')
		i++
	}
	return out, nil
}

// appendKnown writes a question, which is a JSON object that is not empty, with all
// tokens of its answer known but for a piece.
func appendKnown(b, question []byte, tokens []int32, size int, rng *rand.Rand) []byte {
	pieces := (len(tokens) + size - 1) / size
	from := min(rng.IntN(pieces)*size, len(tokens)-size)
	b = append(b, bytes.TrimSuffix(bytes.TrimRight(question, " \t\r"), []byte("}"))...)
	b = append(b, `,"known":{"before":`...)
	b = appendTokens(b, tokens[:from])
	b = fmt.Appendf(b, `,"draw":%d,"after":`, size)
	b = appendTokens(b, tokens[from+size:])
	return append(b, "}}"...)
}

func appendTokens(b []byte, tokens []int32) []byte {
	b = append(b, '[')
	for i, t := range tokens {
		b = strconv.AppendInt(comma(b, i), int64(t), 10)
	}
	return append(b, ']')
}
