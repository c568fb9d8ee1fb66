package openai

import (
	"errors"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"atoll/internal/openaiwire"
)

// logprob is a drawn token as a language engine tells it.
type logprob struct {
	Logprob float64 `json:"logprob"`
	Bytes   []byte  `json:"bytes"`
	Top     []top   `json:"top"`
}

// top is a token that could have been drawn: [id, logprob, bytes] in JSON.
type top struct {
	logprob float64
	bytes   []byte
}

var errTop = errors.New("want [id, logprob, bytes]")

// UnmarshalJSONFrom implements json.UnmarshalerFrom.
func (t *top) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	var fields []jsontext.Value
	if err := json.UnmarshalDecode(d, &fields); err != nil {
		return err
	}
	if len(fields) != 3 {
		return errTop
	}
	return errors.Join(json.Unmarshal(fields[1], &t.logprob), json.Unmarshal(fields[2], &t.bytes))
}

// told returns the tokens that are part of the answer: the one by which the model
// ended it has no text.
func (a *answer) told() []logprob {
	if n := len(a.Logprobs); n > 0 && len(a.Logprobs[n-1].Bytes) == 0 {
		return a.Logprobs[:n-1]
	}
	return a.Logprobs
}

// chatLogprobs returns nil if there are none.
func chatLogprobs(tokens []logprob) *openaiwire.ChatLogprobs {
	if tokens == nil {
		return nil
	}
	out := &openaiwire.ChatLogprobs{Content: []openaiwire.TokenLogprob{}}
	for _, l := range tokens {
		t := openaiwire.TokenLogprob{Token: spelled(l.Bytes), Logprob: l.Logprob, Bytes: ints(l.Bytes), TopLogprobs: []openaiwire.TopLogprob{}}
		for _, o := range l.Top {
			t.TopLogprobs = append(t.TopLogprobs, openaiwire.TopLogprob{Token: spelled(o.bytes), Logprob: o.logprob, Bytes: ints(o.bytes)})
		}
		out.Content = append(out.Content, t)
	}
	return out
}

// spelled is a token as text. It need not be whole characters.
func spelled(b []byte) string { return strings.ToValidUTF8(string(b), "\uFFFD") }

func ints(b []byte) []int {
	out := make([]int, len(b))
	for i, c := range b {
		out[i] = int(c)
	}
	return out
}

// textLogprobs returns nil if there are none. The first token begins at the offset.
func textLogprobs(tokens []logprob, offset int) *openaiwire.TextLogprobs {
	if tokens == nil {
		return nil
	}
	out := &openaiwire.TextLogprobs{Tokens: []string{}, TokenLogprobs: []float64{}, TopLogprobs: []map[string]float64{}, TextOffset: []int{}}
	for _, l := range tokens {
		out.Tokens = append(out.Tokens, spelled(l.Bytes))
		out.TokenLogprobs = append(out.TokenLogprobs, l.Logprob)
		out.TextOffset = append(out.TextOffset, offset)
		offset += len(l.Bytes)
		best := make(map[string]float64, len(l.Top))
		for _, o := range l.Top {
			if had, ok := best[spelled(o.bytes)]; !ok || had < o.logprob { // several tokens may read alike
				best[spelled(o.bytes)] = o.logprob
			}
		}
		out.TopLogprobs = append(out.TopLogprobs, best)
	}
	return out
}
