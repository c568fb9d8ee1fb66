package openai

import (
	"cmp"
	"encoding/base64"
	"slices"
	"strconv"
)

// logprobs are those of one event, in either form of the API: chat's content, which
// some servers use for plain completions too, or lists of equal length.
type logprobs struct {
	Content []struct {
		token
		Top []token `json:"top_logprobs"`
	} `json:"content"`

	Tokens        []string             `json:"tokens"`
	TokenLogprobs []float64            `json:"token_logprobs"`
	TopLogprobs   []map[string]float64 `json:"top_logprobs"`
}

// token is a token with its logarithm of probability.
type token struct {
	Number  *int32  `json:"id"` // llama.cpp's own
	Token   string  `json:"token"`
	Logprob float64 `json:"logprob"`
	Bytes   []int   `json:"bytes"` // null where the server does not know
}

// logprob is a drawn token, with the best in its place.
type logprob struct {
	token
	top []token
}

// appendTo adds what an event tells. nil tells nothing.
func (l *logprobs) appendTo(list []logprob) []logprob {
	if l == nil {
		return list
	}
	for _, c := range l.Content {
		list = append(list, logprob{c.token, c.Top})
	}
	for i, text := range l.Tokens {
		p := logprob{token: token{Token: text}}
		if i < len(l.TokenLogprobs) {
			p.Logprob = l.TokenLogprobs[i]
		}
		if i < len(l.TopLogprobs) {
			for text, v := range l.TopLogprobs[i] {
				p.top = append(p.top, token{Token: text, Logprob: v})
			}
			slices.SortFunc(p.top, func(a, b token) int {
				return cmp.Or(cmp.Compare(b.Logprob, a.Logprob), cmp.Compare(a.Token, b.Token))
			})
		}
		list = append(list, p)
	}
	return list
}

// append writes a token as internal/engine/completion has it, with so many of the best.
func (l *logprob) append(b []byte, best int) []byte {
	b = strconv.AppendFloat(append(b, `{"logprob":`...), l.Logprob, 'g', -1, 64)
	b = l.appendBytes(append(b, `,"bytes":`...))
	b = append(b, `,"top":[`...)
	for i := range min(len(l.top), best) {
		if i > 0 {
			b = append(b, ',')
		}
		t := &l.top[i]
		number := int32(-1)
		if t.Number != nil {
			number = *t.Number
		}
		b = strconv.AppendInt(append(b, '['), int64(number), 10)
		b = strconv.AppendFloat(append(b, ','), t.Logprob, 'g', -1, 64)
		b = append(t.appendBytes(append(b, ',')), ']')
	}
	return append(b, "]}"...)
}

func (t *token) appendBytes(b []byte) []byte {
	plain := []byte(t.Token)
	if t.Bytes != nil {
		plain = make([]byte, len(t.Bytes))
		for i, v := range t.Bytes {
			plain[i] = byte(v)
		}
	}
	return append(base64.StdEncoding.AppendEncode(append(b, '"'), plain), '"')
}
