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

// readAnswers reads the result of n lines. An engine may say more than is asked of
// it here, but it has to answer each line.
func readAnswers(data []byte, n int) ([]answer, error) {
	answers := make([]answer, 0, n)
	for b := range bytes.Lines(data) {
		var a answer
		if err := json.Unmarshal(bytes.TrimSpace(b), &a); err != nil {
			return nil, fmt.Errorf("result of the model, line %d: %w", len(answers)+1, err)
		}
		if a.ID != len(answers) || a.Finish == "" {
			return nil, fmt.Errorf("result of the model, line %d: not the answer to line %d", len(answers)+1, a.ID+1)
		}
		answers = append(answers, a)
	}
	if len(answers) != n {
		return nil, fmt.Errorf("result of the model: %d answers to %d lines", len(answers), n)
	}
	return answers, nil
}

// usage sums up the tokens of all answers. A prompt counts once, however many
// answers it has.
func usageOf(answers []answer, each int) openaiwire.Usage {
	var prompt, completion int64
	for i, a := range answers {
		if i%each == 0 {
			prompt += a.Usage.Prompt
		}
		completion += a.Usage.Completion
	}
	return openaiwire.UsageOf(prompt, completion)
}
