package llm

import (
	"fmt"
	"slices"

	"atoll/internal/engine"
	"atoll/internal/engine/completion"
	"atoll/internal/llm"
	"atoll/internal/llm/chat"
	"atoll/internal/shard/audit"
)

// taskParams are what holds for all lines of a task.
type taskParams struct {
	completion.Params
	profile  llm.Profile
	template string // of the chat templates' names; "" is the model's own
	mode     string // what is done other than to continue texts
}

// What may be asked of texts: their vectors, or what the model makes of how others have
// continued them. A stage of a line is audited under audit.Mode.
const (
	modeEmbed = "embed"
	modeScore = "score"
)

func parseParams(params map[string]string) (p taskParams, err error) {
	if p.profile, err = llm.ParseProfile(params["profile"]); err != nil {
		return p, fmt.Errorf("%w: %w", engine.ErrInput, err)
	}
	if p.template = params["template"]; p.template != "" && !slices.Contains(chat.Names(), p.template) {
		return p, fmt.Errorf("%w: template %.40q: want one of %v, or none for the model's own", engine.ErrInput, p.template, chat.Names())
	}
	switch p.mode = params["mode"]; p.mode {
	case "", modeEmbed, modeScore, audit.Mode:
	default:
		return p, fmt.Errorf("%w: mode %.40q: want embed or score, or none to continue texts", engine.ErrInput, p.mode)
	}
	p.Params, err = completion.ParseParams(params, "profile", "template", "mode")
	return p, err
}
