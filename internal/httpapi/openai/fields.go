package openai

import (
	"maps"
	"slices"

	"github.com/go-json-experiment/json/jsontext"

	"atoll/api"
)

// ownField holds what Atoll adds to a request (OpenAI's SDKs: extra_body).
const ownField = "atoll"

// harmless fields change no answer: they are for the service's own books.
var harmless = []string{"user", "metadata", "store", "safety_identifier", "prompt_cache_key", "prompt_cache_retention", "service_tier"}

// neutral are fields that no engine here understands, with values that ask for
// nothing, which many clients send.
var neutral = map[string][]string{
	"frequency_penalty":   {"0", "0.0"},
	"presence_penalty":    {"0", "0.0"},
	"logit_bias":          {"{}"},
	"tools":               {"[]"},
	"functions":           {"[]"},
	"tool_choice":         {`"none"`, `"auto"`},
	"parallel_tool_calls": {"true", "false"},
	"modalities":          {`["text"]`},
	"echo":                {"false"},
	"suffix":              {`""`},
	"best_of":             {"1"},
}

// refuseOthers refuses fields that would have asked for another answer.
func refuseOthers(extra map[string]jsontext.Value) error {
	for _, name := range slices.Sorted(maps.Keys(extra)) {
		if name == ownField || slices.Contains(harmless, name) {
			continue
		}
		value := extra[name].Clone()
		if err := value.Compact(); err != nil {
			return err
		}
		values, known := neutral[name]
		switch {
		case known && (value.Kind() == 'n' || slices.Contains(values, string(value))):
		case known:
			return invalid(name, "%s is not supported here, except as %s", name, values[0])
		default:
			return invalid(name, "there is no such field")
		}
	}
	return nil
}

// own is the field "atoll" of a request: how its task is to be done, as in
// POST /v1/submit-task.
type own struct {
	api.Terms
	// Keep lets the task go on when the client hangs up.
	Keep bool `json:"keep,omitempty"`

	said bool
}

func readOwn(extra map[string]jsontext.Value) (*own, error) {
	o := new(own)
	raw, ok := extra[ownField]
	if !ok || raw.Kind() == 'n' {
		return o, nil
	}
	o.said = true
	if err := api.Decode(raw, o); err != nil {
		return nil, within(ownField, err)
	}
	return o, nil
}
