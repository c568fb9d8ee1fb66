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
	completion.Settings
	profile  llm.Profile
	template string // of the chat templates' names; "" is the model's own
}

func parseParams(params map[string]string) (p taskParams, err error) {
	if p.profile, err = llm.ParseProfile(params["profile"]); err != nil {
		return p, fmt.Errorf("%w: %w", engine.ErrInput, err)
	}
	if p.template = params["template"]; p.template != "" && !slices.Contains(chat.Names(), p.template) {
		return p, fmt.Errorf("%w: template %.40q: want one of %v, or none for the model's own", engine.ErrInput, p.template, chat.Names())
	}
	p.Settings, err = completion.ParseParams(params, "profile", "template")
	return p, err
}
