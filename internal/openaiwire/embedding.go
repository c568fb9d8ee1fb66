package openaiwire

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"math"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// EmbeddingRequest is the body of POST /v1/embeddings.
type EmbeddingRequest struct {
	Model          string `json:"model"`
	Input          Prompt `json:"input"`
	EncodingFormat string `json:"encoding_format,omitzero"` // float, the default, or base64
	Dimensions     *int   `json:"dimensions,omitzero"`

	Extra map[string]jsontext.Value `json:",embed"` //nolint:staticcheck // it knows the options of encoding/json alone
}

// Embeddings is the answer to an EmbeddingRequest.
type Embeddings struct {
	Object string          `json:"object"` // ObjectList
	Data   []Embedding     `json:"data"`
	Model  string          `json:"model"`
	Usage  EmbeddingsUsage `json:"usage"`
}

// Embedding is the vector of one input.
type Embedding struct {
	Object    string `json:"object"` // ObjectEmbedding
	Index     int    `json:"index"`
	Embedding Vector `json:"embedding"`
}

// EmbeddingsUsage counts tokens; nothing is drawn.
type EmbeddingsUsage struct {
	PromptTokens int64 `json:"prompt_tokens"`
	TotalTokens  int64 `json:"total_tokens"`
}

// Vector is an array of numbers in JSON, or, with Base64, a string: the binary32
// numbers in little-endian order, in base64.
type Vector struct {
	Values []float32
	Base64 bool
}

var errVector = errors.New("want an array of numbers, or binary32 numbers in base64")

// MarshalJSONTo implements json.MarshalerTo.
func (v Vector) MarshalJSONTo(e *jsontext.Encoder) error {
	if !v.Base64 {
		return json.MarshalEncode(e, v.Values)
	}
	b := make([]byte, 0, 4*len(v.Values))
	for _, x := range v.Values {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(x))
	}
	return e.WriteToken(jsontext.String(base64.StdEncoding.EncodeToString(b)))
}

// UnmarshalJSONFrom implements json.UnmarshalerFrom: either form is taken.
func (v *Vector) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	*v = Vector{}
	if d.PeekKind() != '"' {
		return json.UnmarshalDecode(d, &v.Values)
	}
	var s string
	if err := json.UnmarshalDecode(d, &s); err != nil {
		return err
	}
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil || len(b)%4 != 0 {
		return errVector
	}
	v.Base64 = true
	for ; len(b) > 0; b = b[4:] {
		v.Values = append(v.Values, math.Float32frombits(binary.LittleEndian.Uint32(b)))
	}
	return nil
}
