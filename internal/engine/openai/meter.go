package openai

import (
	"fmt"

	"atoll/internal/engine/completion"
)

// Bounds by which the server's count of tokens is judged without its tokenizer.
//
// A token of an answer adds at least a byte, but for control tokens and for those of
// a stop string, which is cut off; it adds no more than the longest token of any
// vocabulary in use (runs of spaces, about 128 bytes). A prompt's tokens are at most
// its bytes and what a chat template puts around them. That a server counts too few
// tokens of a prompt is let pass: some do not count those that they had computed
// before, and nobody loses by it.
const (
	maxTokenBytes   = 256
	controlTokens   = 16
	templateTokens  = 4096 // system prompts that templates bring along
	messageTokens   = 64   // around each message
	logprobsMissing = 2    // the control token that ends an answer may be told of, or not
)

// mostText bounds the text of an answer in bytes.
func (a *answer) mostText() int {
	return min(a.maxTokens(), completion.MaxOutput/maxTokenBytes)*maxTokenBytes + maxTokenBytes
}

// mostBytes bounds what is read from the server: text in JSON, an event around each
// token, and what is told of its likelihood.
func (a *answer) mostBytes() int {
	perToken := 2048
	if a.line.Logprobs != nil {
		perToken += 512 * (1 + *a.line.Logprobs)
	}
	return 64<<10 + 6*min(a.mostText(), completion.MaxOutput) + min(a.maxTokens(), 1<<20)*perToken
}

// meter holds the server's count against what it has delivered. A count that cannot
// be is the server's fault: it is not passed on.
func (a *answer) meter() error {
	prompt, out := a.usage.PromptTokens, a.usage.CompletionTokens
	mostOut := int64(len(a.text) + a.thought + controlTokens)
	for _, s := range a.line.Stop {
		mostOut = max(mostOut, int64(len(a.text)+a.thought+controlTokens+len(s)))
	}
	mostIn := int64(templateTokens)
	if a.line.Prompt != nil {
		mostIn = int64(len(*a.line.Prompt) + controlTokens)
	} else {
		mostIn += int64(len(a.line.Messages)) * (1 + messageTokens/16) // a message takes 16 bytes and more
	}
	switch {
	case prompt < 0 || out < 0:
		return fmt.Errorf("the server counts %d tokens read and %d drawn", prompt, out)
	case out > int64(a.maxTokens()):
		return fmt.Errorf("the server counts %d tokens drawn, and was asked for %d at most", out, a.maxTokens())
	case out > mostOut:
		return fmt.Errorf("the server counts %d tokens drawn, for %d bytes of text", out, len(a.text))
	case out*maxTokenBytes < int64(len(a.text)+a.thought):
		return fmt.Errorf("the server counts %d tokens drawn, too few for %d bytes of text", out, len(a.text)+a.thought)
	case prompt > mostIn:
		return fmt.Errorf("the server counts %d tokens read, and was sent no more than %d could be", prompt, mostIn)
	}
	if told := int64(len(a.logprobs)); a.line.Logprobs != nil && a.thought == 0 && (told > out+logprobsMissing || told < out-logprobsMissing) {
		return fmt.Errorf("the server counts %d tokens drawn and tells the logprobs of %d", out, told)
	}
	return nil
}
