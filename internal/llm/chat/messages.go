package chat

import (
	"fmt"
	"slices"
	"strings"

	"atoll/internal/core"
	"atoll/internal/llm/chat/jinja"
)

// roles are those of OpenAI's API. A role is checked because many templates write
// it between the halves of a control token.
var roles = []string{"system", "developer", "user", "assistant", "tool", "function"}

// maxMessages is how many messages a conversation may have.
const maxMessages = 10_000

// Message makes a message of text.
func Message(role, content string) *jinja.Dict {
	return jinja.NewDict("role", role, "content", content)
}

// ReadMessages reads an array of messages in OpenAI's form. Content in parts is
// joined, if all of them are text, since templates expect a string; content that is
// null becomes "". Members that templates may want (name, tool_calls, …) are kept.
func ReadMessages(raw []byte) (jinja.List, error) {
	v, err := jinja.FromJSON(raw)
	if err != nil {
		return nil, core.Errorf(core.Invalid, "not JSON: %w", err).At("messages")
	}
	list, ok := v.(jinja.List)
	if !ok || len(list) == 0 || len(list) > maxMessages {
		return nil, core.Errorf(core.Invalid, "want an array of 1 to %d messages", maxMessages).At("messages")
	}
	for i, v := range list {
		at := fmt.Sprintf("messages[%d]", i)
		m, ok := v.(*jinja.Dict)
		if !ok {
			return nil, core.Errorf(core.Invalid, "a message is an object with role and content").At(at)
		}
		role, _ := m.Get("role")
		if name, ok := role.(string); !ok || !slices.Contains(roles, name) {
			return nil, core.Errorf(core.Invalid, "the role must be one of %v", roles).At(at + ".role")
		}
		content, _ := m.Get("content")
		text, err := contentText(content)
		if err != nil {
			return nil, err.At(at + ".content")
		}
		m.Set("content", text)
	}
	return list, nil
}

func contentText(v jinja.Value) (string, *core.Error) {
	switch x := v.(type) {
	case nil:
		return "", nil
	case string:
		return x, nil
	case jinja.List:
		var text strings.Builder
		for _, v := range x {
			part, ok := v.(*jinja.Dict)
			if !ok {
				return "", core.Errorf(core.Invalid, "a part is an object with type and text")
			}
			kind, _ := part.Get("type")
			if kind != "text" {
				return "", core.Errorf(core.Unsupported, "a part of type %.40q: this model reads text alone", fmt.Sprint(kind))
			}
			s, _ := part.Get("text")
			piece, ok := s.(string)
			if !ok {
				return "", core.Errorf(core.Invalid, "a part's text must be a string")
			}
			text.WriteString(piece)
		}
		return text.String(), nil
	}
	return "", core.Errorf(core.Invalid, "want a string or an array of parts")
}
