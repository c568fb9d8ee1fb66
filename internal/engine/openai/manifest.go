package openai

import (
	"bytes"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/go-json-experiment/json"

	"atoll/internal/core"
	"atoll/internal/engine"
)

const (
	manifestFormat = "atoll-openai/1"
	// MaxManifest bounds a manifest in bytes.
	MaxManifest = 4 << 10
	// MaxName bounds a model's name at its server, in bytes.
	MaxName = 200
)

// Manifest is a model of this engine. Its bytes are canonical, so that one model has
// one digest:
//
//	{"format":"atoll-openai/1","upstream":"qwen2.5:7b","reference":"sha256:…"}
type Manifest struct {
	Format string `json:"format"`
	// Upstream is the model's name at the providers' servers.
	Upstream string `json:"upstream"`
	// Reference, if not zero, is a model of the engine llm with the same weights, by
	// which answers can be checked.
	Reference core.Digest `json:"reference,omitzero"`
}

// Encode returns the manifest of a model.
func Encode(upstream string, reference core.Digest) ([]byte, error) {
	if err := checkName(upstream); err != nil {
		return nil, err
	}
	return json.Marshal(Manifest{manifestFormat, upstream, reference})
}

// ParseManifest reads what Encode writes, and nothing else. Errors are
// engine.ErrModel.
func ParseManifest(b []byte) (m Manifest, err error) {
	if len(b) > MaxManifest {
		return m, fmt.Errorf("%w: over %d bytes", engine.ErrModel, MaxManifest)
	}
	if json.Unmarshal(b, &m, json.RejectUnknownMembers(true)) != nil || m.Format != manifestFormat {
		return m, fmt.Errorf("%w: no manifest of the form %s", engine.ErrModel, manifestFormat)
	}
	want, err := Encode(m.Upstream, m.Reference)
	if err != nil {
		return m, fmt.Errorf("%w: %w", engine.ErrModel, err)
	}
	if !bytes.Equal(b, want) {
		return m, fmt.Errorf("%w: the manifest is not written as it should be; make it with: atoll model register", engine.ErrModel)
	}
	return m, nil
}

func checkName(s string) error {
	if s == "" || len(s) > MaxName || !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsGraphic(r) || unicode.IsSpace(r) }) {
		return core.Errorf(core.Invalid, "upstream model %.40q: want a name of 1 to %d bytes without spaces, as the server's GET /v1/models has it", s, MaxName)
	}
	return nil
}
