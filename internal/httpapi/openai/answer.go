package openai

import (
	"bytes"
	"fmt"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"atoll/internal/openaiwire"
)

// answer is one line of a language engine's result: see internal/engine/completion.
type answer struct {
	answerHead
	Text   string `json:"text"`
	Finish string `json:"finish_reason"`
	Usage  struct {
		Prompt     int64 `json:"prompt_tokens"`
		Completion int64 `json:"completion_tokens"`
	} `json:"usage"`
	Logprobs []logprob `json:"logprobs"`
}

// answerHead is what all answers of engines begin with. Error is of a line that was
// refused.
type answerHead struct {
	ID    jsontext.Value `json:"id"`
	Error string         `json:"error"`
}

// check holds an answer against the line that it should be to.
func (h *answerHead) check(l *lineID, n int) error {
	id, err := json.Marshal(l.ID)
	if err != nil {
		return err
	}
	if string(h.ID) != string(id) {
		return fmt.Errorf("result of the model, line %d: not the answer to that line", n+1)
	}
	if h.Error != "" {
		return refusal(h.Error)
	}
	return nil
}

// readAnswer reads the line of a result, the n-th from 0, that answers the given
// one. An engine may say more than is asked of it here.
func readAnswer(b []byte, to *lineID, n int) (*answer, error) {
	var a answer
	if err := json.Unmarshal(bytes.TrimSpace(b), &a); err != nil {
		return nil, fmt.Errorf("result of the model, line %d: %w", n+1, err)
	}
	if err := a.check(to, n); err != nil {
		return nil, err
	}
	if a.Finish == "" {
		return nil, fmt.Errorf("result of the model, line %d: the answer has no end", n+1)
	}
	return &a, nil
}

// readAnswers reads the result of lines, each of which has an answer.
func readAnswers(data []byte, to []lineID) ([]answer, error) {
	answers := make([]answer, 0, len(to))
	for b := range bytes.Lines(data) {
		n := len(answers)
		if n == len(to) {
			return nil, fmt.Errorf("result of the model: more than %d answers", n)
		}
		a, err := readAnswer(b, &to[n], n)
		if err != nil {
			return nil, err
		}
		answers = append(answers, *a)
	}
	if len(answers) != len(to) {
		return nil, fmt.Errorf("result of the model: %d answers to %d lines", len(answers), len(to))
	}
	return answers, nil
}

// numbered are the lines of a request by itself.
func numbered(n int) []lineID {
	ids := make([]lineID, n)
	for i := range ids {
		ids[i].ID = i
	}
	return ids
}

// tally counts the tokens of answers. A prompt counts once, however many answers
// it has.
type tally struct {
	each               int
	prompt, completion int64
}

func (t *tally) add(i int, a *answer) {
	if i%t.each == 0 {
		t.prompt += a.Usage.Prompt
	}
	t.completion += a.Usage.Completion
}

func (t *tally) usage() openaiwire.Usage { return openaiwire.UsageOf(t.prompt, t.completion) }
