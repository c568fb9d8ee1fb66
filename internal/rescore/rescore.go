// Package rescore checks answers of servers that do not compute the same bits twice,
// by what a language model of ours with the same weights makes of them. It is pure:
//
//	Question  from what was asked and what was answered, what the reference is to read
//	Judge     from what it says of that, whether the answers were drawn from the model
//	          asked for: see internal/verify/logprobs
//
// The reference is engine llm in its mode score. Answers have to come with the bytes
// and log-probabilities of their tokens (logprobs), so that they can be read as they
// were drawn.
//
// Beside that the servers' counts are held against the reference's: a prompt cannot
// have many more tokens than the reference reads, nor an answer more than it was told.
// Models that think before they answer cannot be checked so: nobody is shown what
// their answer follows.
package rescore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"atoll/internal/engine"
	"atoll/internal/engine/completion"
)

// Engine is what a reference runs on, and Params are its task's. Of the checked task's
// own params it gets none: they say how to draw.
const Engine = "llm"

// Params returns the params of a check.
func Params() map[string]string { return map[string]string{"mode": "score"} }

// MaxQuestion bounds a question in bytes: of a part with more, the lot takes lines.
const MaxQuestion = 512 << 10

// ErrClaim means that an answer is not one that could be checked, though it was asked
// for: it is its server's fault.
var ErrClaim = errors.New("the answer cannot be checked")

func unfit(line int, why string) error { return fmt.Errorf("%w: line %d: %s", ErrClaim, line+1, why) }

// claim is one line of the result that is checked.
type claim struct {
	Text   string `json:"text"`
	Finish string `json:"finish_reason"`
	Error  string `json:"error"`
	Usage  struct {
		Prompt     int64 `json:"prompt_tokens"`
		Completion int64 `json:"completion_tokens"`
	} `json:"usage"`
	Logprobs []struct {
		Logprob float64 `json:"logprob"`
		Bytes   []byte  `json:"bytes"`
	} `json:"logprobs"`
}

// asked is a line with its claim.
type asked struct {
	line  completion.Line
	claim claim
	// tokens and told are the bytes and logprobs of the tokens that make up the text;
	// none if the server told them in a form that loses some.
	tokens [][]byte
	told   []float64
}

// question is one line of what the reference reads: see engine llm, mode score.
type question struct {
	ID          int            `json:"id"`
	Prompt      *string        `json:"prompt,omitzero"`
	Messages    jsontext.Value `json:"messages,omitzero"`
	Text        string         `json:"text"`
	Tokens      [][]byte       `json:"tokens,omitzero"`
	Ended       bool           `json:"ended,omitzero"`
	Temperature float64        `json:"temperature"`
}

// Question makes what a reference is to read to check a result. Errors are ErrClaim,
// or about the input.
func Question(in engine.Input, claimed []byte, lot [32]byte) ([]byte, error) {
	all, err := read(in, claimed)
	if err != nil {
		return nil, err
	}
	rng := rand.New(rand.NewPCG(binary.BigEndian.Uint64(lot[8:]), binary.BigEndian.Uint64(lot[16:])))
	taken, size := make([][]byte, len(all)), 0
	for _, i := range rng.Perm(len(all)) {
		a := &all[i]
		if a.refusable() {
			continue
		}
		q := question{ID: i, Prompt: a.line.Prompt, Messages: a.line.Messages, Text: a.claim.Text, Tokens: a.tokens, Ended: a.ended(), Temperature: float64(a.line.Sampling().Temperature)}
		b, err := json.Marshal(&q)
		if err != nil {
			return nil, err
		}
		if size+len(b) > MaxQuestion {
			continue
		}
		taken[i] = append(b, '\n')
		size += len(b) + 1
	}
	if size == 0 {
		return nil, fmt.Errorf("%w: it has no answer of less than %d bytes", ErrClaim, MaxQuestion)
	}
	return bytes.Join(taken, nil), nil
}

// refusable reports whether a line was refused that every server would refuse: it
// costs nothing to see. For the others the reference tells whether the prompt fits.
func (a *asked) refusable() bool {
	l := &a.line
	return a.claim.Error != "" && (l.Refused != nil || l.Regex != nil || l.Schema != nil || l.Known != nil)
}

// ended reports whether the model is said to have ended the answer by itself. Where
// there are stop strings it may have been one of them.
func (a *asked) ended() bool {
	return a.claim.Error == "" && a.claim.Finish == "stop" && len(a.line.Stop) == 0
}

// read pairs lines with their claims.
func read(in engine.Input, claimed []byte) ([]asked, error) {
	params, err := completion.ParseParams(in.Params)
	if err != nil {
		return nil, err
	}
	lines, err := completion.Parse(in.Data, &params)
	if err != nil {
		return nil, err
	}
	all := make([]asked, 0, len(lines))
	for b := range bytes.Lines(claimed) {
		i := len(all)
		if i == len(lines) {
			return nil, unfit(i, "more answers than questions")
		}
		a := asked{line: lines[i]}
		if err := json.Unmarshal(bytes.TrimSpace(b), &a.claim); err != nil {
			return nil, unfit(i, "it is no answer of this engine")
		}
		if err := a.spell(i); err != nil {
			return nil, err
		}
		all = append(all, a)
	}
	if len(all) != len(lines) {
		return nil, unfit(len(all), "no answer")
	}
	return all, nil
}

// spell takes the tokens that the text is made of. What follows it belongs to a stop
// string, or is the control token that ended the answer.
func (a *asked) spell(i int) error {
	text, lossy := a.claim.Text, false
	at := 0
	for _, l := range a.claim.Logprobs {
		if len(l.Bytes) == 0 {
			continue
		}
		if at < len(text) {
			a.tokens, a.told = append(a.tokens, l.Bytes), append(a.told, l.Logprob)
		}
		lossy = lossy || bytes.Contains(l.Bytes, []byte("\uFFFD")) && !strings.Contains(text[min(at, len(text)):], "\uFFFD")
		if rest := text[min(at, len(text)):]; !lossy && len(rest) > 0 && !strings.HasPrefix(rest, string(l.Bytes[:min(len(l.Bytes), len(rest))])) {
			return unfit(i, "its tokens do not make up its text")
		}
		at += len(l.Bytes)
	}
	switch {
	case a.claim.Error != "" && (text != "" || len(a.claim.Logprobs) > 0):
		return unfit(i, "it is an answer and a refusal")
	case a.claim.Error == "" && a.claim.Finish != "stop" && a.claim.Finish != "length":
		return unfit(i, "it does not say why it ended")
	case lossy:
		a.tokens, a.told = nil, nil
	case text != "" && len(a.tokens) == 0:
		return unfit(i, "it comes without the log-probabilities that were asked for")
	case at < len(text):
		return unfit(i, "its tokens end before its text")
	}
	return nil
}
