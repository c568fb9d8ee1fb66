// Package coral is a small language model of our own, which is part of the
// program: a network can be shown at work on language without any download. It
// continues English prose in the manner of Jane Austen, whose novels it was
// trained on, and can do nothing else; README.md beside this file is its card,
// and train/ has the scripts that made it.
//
// A coral polyp is a few millimetres long, and atolls are made by nothing else.
package coral

import (
	_ "embed"
	"strings"
)

// What the model is called and described as, where it is registered.
const (
	Name        = "coral"
	Engine      = "llm"
	Description = "a million weights that continue a sentence in the manner of Jane Austen"
)

//go:embed coral.gguf
var file string

// Open returns the model's canonical GGUF file, as "atoll model import" writes it.
func Open() *strings.Reader { return strings.NewReader(file) }
