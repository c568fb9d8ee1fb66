package llm

import (
	"fmt"
	"slices"

	"atoll/internal/engine"
	"atoll/internal/engine/completion"
	"atoll/internal/llm"
	"atoll/internal/llm/chat"
)

// taskParams are what holds for all lines of a task.
type taskParams struct {
	completion.Params
	profile  llm.Profile
	template string // of the chat templates' names; "" is the model's own
	embed    bool   // texts are not continued: their vectors are asked for
	score    bool   // or what the model makes of how others have continued them
}

func parseParams(params map[string]string) (p taskParams, err error) {
	if p.profile, err = llm.ParseProfile(params["profile"]); err != nil {
		return p, fmt.Errorf("%w: %w", engine.ErrInput, err)
	}
	if p.template = params["template"]; p.template != "" && !slices.Contains(chat.Names(), p.template) {
		return p, fmt.Errorf("%w: template %.40q: want one of %v, or none for the model's own", engine.ErrInput, p.template, chat.Names())
	}
	switch mode := params["mode"]; mode {
	case "":
	case "embed":
		p.embed = true
	case "score":
		p.score = true
	default:
		return p, fmt.Errorf("%w: mode %.40q: want embed or score, or none to continue texts", engine.ErrInput, mode)
	}
	p.Params, err = completion.ParseParams(params, "profile", "template", "mode")
	return p, err
}
