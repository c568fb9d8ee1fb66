package openai

import (
	"bytes"
	"encoding/json"
	"fmt"

	jsonv2 "github.com/go-json-experiment/json"

	"atoll/api"
	"atoll/internal/httpapi/atoll"
	"atoll/internal/openaiwire"
)

// maxTexts bounds the texts of one request for vectors, as in OpenAI's API.
const maxTexts = 2048

// embedLine is one line of a language engine's input whose vector is asked for.
type embedLine struct {
	ID     int     `json:"id"`
	Prompt *string `json:"prompt"`
}

// embeddings is POST /v1/embeddings.
func (s *server) embeddings(x *atoll.Exchange) error {
	body, err := x.JSON(s.cfg.MaxBody)
	if err != nil {
		return err
	}
	w, form, err := readEmbeddings(body)
	if err != nil {
		return err
	}
	t, err := s.submit(x, w, body)
	if err != nil {
		return err
	}
	result, err := s.await(x, w, t.ID)
	if err != nil {
		return err
	}
	out := openaiwire.Embeddings{Object: openaiwire.ObjectList, Model: t.Model, Data: make([]openaiwire.Embedding, 0, len(w.lines))}
	for b := range bytes.Lines(result) {
		e, err := readVector(b, len(out.Data))
		if err != nil {
			return err
		}
		e.vector.Base64 = form == "base64"
		out.Data = append(out.Data, openaiwire.Embedding{Object: openaiwire.ObjectEmbedding, Index: len(out.Data), Embedding: e.vector})
		out.Usage.PromptTokens += e.tokens
	}
	if len(out.Data) != len(w.lines) {
		return fmt.Errorf("result of the model: %d vectors of %d texts", len(out.Data), len(w.lines))
	}
	out.Usage.TotalTokens = out.Usage.PromptTokens
	return reply(x, &out)
}

func readEmbeddings(body []byte) (w *work, form string, err error) {
	var r openaiwire.EmbeddingRequest
	if err := api.Decode(body, &r); err != nil {
		return nil, "", err
	}
	if err := refuseOthers(r.Extra); err != nil {
		return nil, "", err
	}
	switch {
	case r.Model == "":
		return nil, "", invalid("model", "a model is needed")
	case r.EncodingFormat != "" && r.EncodingFormat != "float" && r.EncodingFormat != "base64":
		return nil, "", invalid("encoding_format", "want float or base64")
	case r.Dimensions != nil:
		return nil, "", invalid("dimensions", "vectors are as long as the model makes them")
	case len(r.Input) == 0 || len(r.Input) > maxTexts:
		return nil, "", invalid("input", "want 1 to %d texts", maxTexts)
	}
	w = &work{model: r.Model}
	if w.own, err = readOwn(r.Extra); err != nil {
		return nil, "", err
	}
	w.own.Terms = api.Terms{Params: map[string]json.RawMessage{"mode": json.RawMessage(`"embed"`)}}.Or(w.own.Terms)
	for i := range r.Input {
		w.lines = append(w.lines, &embedLine{ID: i, Prompt: &r.Input[i]})
	}
	return w, r.EncodingFormat, nil
}

// vector is one line of the result.
type vector struct {
	vector openaiwire.Vector
	tokens int64
}

func readVector(b []byte, to int) (v vector, err error) {
	var l struct {
		ID        int               `json:"id"`
		Embedding openaiwire.Vector `json:"embedding"`
		Usage     struct {
			Prompt int64 `json:"prompt_tokens"`
		} `json:"usage"`
	}
	if err := jsonv2.Unmarshal(bytes.TrimSpace(b), &l); err != nil {
		return v, fmt.Errorf("result of the model, line %d: %w", to+1, err)
	}
	if l.ID != to || len(l.Embedding.Values) == 0 {
		return v, fmt.Errorf("result of the model, line %d: not the vector of that text", to+1)
	}
	return vector{l.Embedding, l.Usage.Prompt}, nil
}
