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
	lineID
	Prompt *string `json:"prompt"`
}

// embeddings is POST /v1/embeddings.
func (s *server) embeddings(x *atoll.Exchange) error {
	body, err := x.JSON(s.cfg.MaxBody)
	if err != nil {
		return err
	}
	w, err := s.readEmbeddings(body)
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
	out, err := vectors(t.Model, result, numbered(len(w.lines)), w.base64)
	if err != nil {
		return err
	}
	return reply(x, out)
}

// vectors is the answer that the result of lines makes.
func vectors(model string, result []byte, to []lineID, base64 bool) (*openaiwire.Embeddings, error) {
	out := &openaiwire.Embeddings{Object: openaiwire.ObjectList, Model: model, Data: make([]openaiwire.Embedding, 0, len(to))}
	for b := range bytes.Lines(result) {
		n := len(out.Data)
		if n == len(to) {
			return nil, fmt.Errorf("result of the model: more than %d vectors", n)
		}
		e, err := readVector(b, &to[n], n)
		if err != nil {
			return nil, err
		}
		e.vector.Base64 = base64
		out.Data = append(out.Data, openaiwire.Embedding{Object: openaiwire.ObjectEmbedding, Index: n, Embedding: e.vector})
		out.Usage.PromptTokens += e.tokens
	}
	if len(out.Data) != len(to) {
		return nil, fmt.Errorf("result of the model: %d vectors of %d texts", len(out.Data), len(to))
	}
	out.Usage.TotalTokens = out.Usage.PromptTokens
	return out, nil
}

func (*server) readEmbeddings(body []byte) (w *work, err error) {
	var r openaiwire.EmbeddingRequest
	if err := api.Decode(body, &r); err != nil {
		return nil, err
	}
	if err := refuseOthers(r.Extra); err != nil {
		return nil, err
	}
	switch {
	case r.Model == "":
		return nil, invalid("model", "a model is needed")
	case r.EncodingFormat != "" && r.EncodingFormat != "float" && r.EncodingFormat != "base64":
		return nil, invalid("encoding_format", "want float or base64")
	case r.Dimensions != nil:
		return nil, invalid("dimensions", "vectors are as long as the model makes them")
	case len(r.Input) == 0 || len(r.Input) > maxTexts:
		return nil, invalid("input", "want 1 to %d texts", maxTexts)
	}
	w = &work{model: r.Model, each: 1, base64: r.EncodingFormat == "base64"}
	if w.own, err = readOwn(r.Extra); err != nil {
		return nil, err
	}
	w.own.Terms = api.Terms{Params: map[string]json.RawMessage{"mode": json.RawMessage(`"embed"`)}}.Or(w.own.Terms)
	for i := range r.Input {
		w.lines = append(w.lines, &embedLine{lineID{i}, &r.Input[i]})
	}
	return w, nil
}

// vector is one line of the result.
type vector struct {
	vector openaiwire.Vector
	tokens int64
}

func readVector(b []byte, to *lineID, n int) (v vector, err error) {
	var l struct {
		answerHead
		Embedding openaiwire.Vector `json:"embedding"`
		Usage     struct {
			Prompt int64 `json:"prompt_tokens"`
		} `json:"usage"`
	}
	if err := jsonv2.Unmarshal(bytes.TrimSpace(b), &l); err != nil {
		return v, fmt.Errorf("result of the model, line %d: %w", n+1, err)
	}
	if err := l.check(to, n); err != nil {
		return v, err
	}
	if len(l.Embedding.Values) == 0 {
		return v, fmt.Errorf("result of the model, line %d: no vector", n+1)
	}
	return vector{l.Embedding, l.Usage.Prompt}, nil
}
