package openai

import (
	"bytes"
	"fmt"

	"github.com/go-json-experiment/json"

	"atoll/internal/openaiwire"
)

// answer is one line of a language engine's result: see internal/engine/llm.
type answer struct {
	ID     int    `json:"id"`
	Text   string `json:"text"`
	Finish string `json:"finish_reason"`
	Usage  struct {
		Prompt     int64 `json:"prompt_tokens"`
		Completion int64 `json:"completion_tokens"`
	} `json:"usage"`
	Logprobs []logprob `json:"logprobs"`
}

// readAnswer reads the line of a result that answers the given line. An engine may
// say more than is asked of it here.
func readAnswer(b []byte, to int) (*answer, error) {
	var a answer
	if err := json.Unmarshal(bytes.TrimSpace(b), &a); err != nil {
		return nil, fmt.Errorf("result of the model, line %d: %w", to+1, err)
	}
	if a.ID != to || a.Finish == "" {
		return nil, fmt.Errorf("result of the model, line %d: not the answer to that line", to+1)
	}
	return &a, nil
}

// readAnswers reads the result of n lines, each of which has an answer.
func readAnswers(data []byte, n int) ([]answer, error) {
	answers := make([]answer, 0, n)
	for b := range bytes.Lines(data) {
		a, err := readAnswer(b, len(answers))
		if err != nil {
			return nil, err
		}
		answers = append(answers, *a)
	}
	if len(answers) != n {
		return nil, fmt.Errorf("result of the model: %d answers to %d lines", len(answers), n)
	}
	return answers, nil
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
