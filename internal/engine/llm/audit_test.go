package llm

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"

	"atoll/internal/engine/completion"
	"atoll/internal/shard/audit"
)

// An auditor comes from the request and the tokens to the very line that a head has
// written, of whatever kind it is, and to no other.
func TestAuditorsTellTheLine(t *testing.T) {
	t.Parallel()
	in := open(t, "acme").(*instance)
	params := map[string]string{"on_error": "answer"}
	data := questions(rand.New(rand.NewPCG(3, 4)), 24, 40)
	data = append(data, `{"id":"long","prompt":"`+strings.Repeat("and so on ", 2000)+`"}
{"id":"none","prompt":""}
{"id":"bad","prompt":"Once","temperature":-1}
{"prompt":"Once","max_tokens":1}
`...)
	p, err := parseParams(params)
	if err != nil {
		t.Fatal(err)
	}
	lines, err := completion.Parse(data, &p.Params)
	if err != nil {
		t.Fatal(err)
	}
	s, err := in.profiled(t.Context(), p.profile)
	if err != nil {
		t.Fatal(err)
	}
	written := bytes.SplitAfter(answerAll(t, in, data, params), []byte("\n"))
	refused := 0
	for i := range lines {
		tokens := tokensIn(t, written[i])
		want, err := audit.Told(written[i])
		if err != nil {
			t.Fatal(err)
		}
		tell := func(tokens []int32) bool {
			got, err := s.told(&lines[i], p.template, tokens)
			if err != nil {
				t.Fatal(err)
			}
			return got == want
		}
		if !tell(tokens) {
			t.Errorf("%.80s\nis not what an auditor comes to", written[i])
		}
		if len(tokens) == 0 {
			refused++
			continue
		}
		if tell(tokens[:len(tokens)-1]) {
			t.Errorf("%.80s\nmay end earlier", written[i])
		}
		for what, changed := range map[string][]byte{
			"text":    bytes.Replace(written[i], []byte(`","finish`), []byte(`x","finish`), 1),
			"end":     bytes.Replace(written[i], []byte(`_reason":"`), []byte(`_reason":"x`), 1),
			"prompt":  bytes.Replace(written[i], []byte(`prompt_tokens":`), []byte(`prompt_tokens":1`), 1),
			"metered": bytes.Replace(written[i], []byte(`completion_tokens":`), []byte(`completion_tokens":1`), 1),
			"refusal": []byte(`{"error":"no"}`),
		} {
			if got, err := audit.Told(changed); err != nil || got == want || bytes.Equal(changed, written[i]) {
				t.Errorf("another %s is not told apart: %v", what, err)
			}
		}
	}
	if refused != 3 {
		t.Errorf("%d lines were refused", refused)
	}
}

func tokensIn(t *testing.T, line []byte) []int32 {
	t.Helper()
	var l struct {
		Tokens []int32 `json:"tokens"`
	}
	if err := json.Unmarshal(line, &l); err != nil {
		t.Fatal(err)
	}
	return l.Tokens
}
