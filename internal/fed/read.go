package fed

import (
	"encoding/json"
	"fmt"

	"sigs.k8s.io/yaml"

	"atoll/internal/core"
)

// Read reads a Spec that was written by a person: YAML or JSON, in which schema may be the
// name of a file that open returns.
func Read(text []byte, open func(name string) ([]byte, error)) (*Spec, error) {
	if len(text) > MaxSpec {
		return nil, core.Errorf(core.Invalid, "a federation of %d bytes, at most %d", len(text), MaxSpec)
	}
	body, err := yaml.YAMLToJSONStrict(text)
	if err != nil {
		return nil, core.Errorf(core.Invalid, "%w", err)
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(body, &members); err != nil {
		return nil, core.Errorf(core.Invalid, "a federation is fields with values, such as \"rounds: 20\", and this is none")
	}
	var name string
	if json.Unmarshal(members["schema"], &name) != nil {
		return Parse(body)
	}
	if members["schema"], err = open(name); err != nil {
		return nil, fmt.Errorf("schema: %w", err)
	}
	if body, err = json.Marshal(members); err != nil {
		return nil, core.Errorf(core.Invalid, "%s: %w", name, err).At("schema")
	}
	return Parse(body)
}
