package rescore_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"

	"atoll/internal/engine"
	"atoll/internal/rescore"
)

// answer is a line of a result whose tokens are the given texts.
func answer(tokens ...string) string {
	var list []string
	for _, t := range tokens {
		list = append(list, fmt.Sprintf(`{"logprob":-0.5,"bytes":%q,"top":[]}`, base64.StdEncoding.EncodeToString([]byte(t))))
	}
	return fmt.Sprintf(`{"id":1,"text":%q,"finish_reason":"length","usage":{"prompt_tokens":3,"completion_tokens":%d},"logprobs":[%s]}`+"\n", strings.Join(tokens, ""), len(tokens), strings.Join(list, ","))
}

func input(lines ...string) engine.Input {
	return engine.Input{Data: []byte(strings.Join(lines, "\n"))}
}

const ask = `{"id":1,"prompt":"x"}`

func TestQuestion(t *testing.T) {
	t.Parallel()
	long := answer(strings.Split(strings.Repeat("word ", 400), " ")...)
	for name, tt := range map[string]struct {
		in      engine.Input
		claimed string
		want    string // "" is ErrClaim
	}{
		"an answer":                {input(ask), answer("a", " b"), `{"id":0,"prompt":"x","text":"a b","tokens":["YQ==","IGI="],"temperature":0}` + "\n"},
		"its settings":             {input(`{"id":1,"prompt":"x","temperature":0.5}`), answer("a"), `{"id":0,"prompt":"x","text":"a","tokens":["YQ=="],"temperature":0.5}` + "\n"},
		"of the task":              {engine.Input{Data: []byte(ask), Params: map[string]string{"temperature": "0.5"}}, answer("a"), `{"id":0,"prompt":"x","text":"a","tokens":["YQ=="],"temperature":0.5}` + "\n"},
		"the token that ended it":  {input(ask), answer("a", ""), `{"id":0,"prompt":"x","text":"a","tokens":["YQ=="],"temperature":0}` + "\n"},
		"a stop string cut off":    {input(ask), strings.Replace(answer("a", "\n", "b"), `"text":"a\nb"`, `"text":"a"`, 1), `{"id":0,"prompt":"x","text":"a","tokens":["YQ=="],"temperature":0}` + "\n"},
		"characters that are lost": {input(ask), strings.Replace(answer("\uFFFD", "\uFFFD"), `"text":"`+"\uFFFD\uFFFD"+`"`, `"text":"é"`, 1), `{"id":0,"prompt":"x","text":"é","temperature":0}` + "\n"},
		"no logprobs":              {input(ask), `{"id":1,"text":"a","finish_reason":"stop"}` + "\n", ""},
		"tokens of another text":   {input(ask), strings.Replace(answer("a", "b"), `"text":"ab"`, `"text":"ac"`, 1), ""},
		"fewer tokens than text":   {input(ask), strings.Replace(answer("a"), `"text":"a"`, `"text":"ab"`, 1), ""},
		"fewer answers":            {input(ask, ask), answer("a"), ""},
		"more answers":             {input(ask), answer("a") + answer("a"), ""},
		"no JSON":                  {input(ask), "nonsense\n", ""},
		"ended by the model":       {input(ask), strings.Replace(answer("a"), `"length"`, `"stop"`, 1), `{"id":0,"prompt":"x","text":"a","tokens":["YQ=="],"ended":true,"temperature":0}` + "\n"},
		"or by a stop string":      {input(`{"id":1,"prompt":"x","stop":"\n"}`), strings.Replace(answer("a"), `"length"`, `"stop"`, 1), `{"id":0,"prompt":"x","text":"a","tokens":["YQ=="],"temperature":0}` + "\n"},
		"no end":                   {input(ask), strings.Replace(answer("a"), `"length"`, `""`, 1), ""},
		"a refusal": {
			engine.Input{Data: []byte(ask), Params: map[string]string{"on_error": "answer"}}, `{"id":1,"error":"input refused: no"}` + "\n",
			`{"id":0,"prompt":"x","text":"","temperature":0}` + "\n",
		},
		"a refusal of what every server refuses": {
			engine.Input{Data: []byte(`{"id":1,"prompt":"x","top_p":7}` + "\n" + ask), Params: map[string]string{"on_error": "answer"}}, `{"id":1,"error":"input refused: no"}` + "\n" + answer("a"),
			`{"id":1,"prompt":"x","text":"a","tokens":["YQ=="],"temperature":0}` + "\n",
		},
		"a refusal that is an answer": {
			engine.Input{Data: []byte(ask), Params: map[string]string{"on_error": "answer"}}, strings.Replace(answer("a"), `{"id":1,`, `{"id":1,"error":"no",`, 1), "",
		},
	} {
		got, err := rescore.Question(tt.in, []byte(tt.claimed), [32]byte{})
		if string(got) != tt.want || (tt.want == "") != errors.Is(err, rescore.ErrClaim) {
			t.Errorf("%s: %s, %v\nwant %s", name, got, err, tt.want)
		}
	}
	var lines []string
	for range 200 {
		lines = append(lines, ask)
	}
	got, err := rescore.Question(input(lines...), []byte(strings.Repeat(long, 200)), [32]byte{9: 1})
	if err != nil || len(got) > rescore.MaxQuestion || len(got) < rescore.MaxQuestion*9/10 {
		t.Errorf("a question of %d bytes about too many answers, %v", len(got), err)
	}
}

// What a reference says decides, if it says what it was asked.
func TestJudge(t *testing.T) {
	t.Parallel()
	tokens := strings.Split(strings.Repeat("a ", 100), " ")[:100]
	in, claimed := input(ask), answer(tokens...)
	asking, err := rescore.Question(in, []byte(claimed), [32]byte{})
	if err != nil {
		t.Fatal(err)
	}
	said := func(id, prompt, n int, margin, logprob float64) string {
		s := fmt.Sprintf("[%g,%g,-0.5,1,1]", margin, logprob)
		return fmt.Sprintf(`{"id":%d,"prompt_tokens":%d,"told":true,"scores":[%s]}`+"\n", id, prompt, strings.TrimSuffix(strings.Repeat(s+",", n), ","))
	}
	for name, tt := range map[string]struct {
		claimed, said string
		pass          bool
		why           string // "" is the reference's own fault
	}{
		"the likeliest each time":        {claimed, said(0, 3, 100, 0, -0.5), true, "margin 0.000"},
		"less likely ones":               {claimed, said(0, 3, 100, 0.5, -0.5), false, "margin 0.500"},
		"other claims":                   {claimed, said(0, 3, 100, 0, -1.5), false, "claims 1.000"},
		"tokens counted twice":           {strings.Replace(claimed, `"completion_tokens":100`, `"completion_tokens":200`, 1), said(0, 3, 100, 0, -0.5), false, "counts 200 tokens drawn, the reference 100"},
		"a prompt that is not there":     {strings.Replace(claimed, `"prompt_tokens":3`, `"prompt_tokens":300`, 1), said(0, 3, 100, 0, -0.5), false, "counts 300 tokens of prompt"},
		"a template of some tokens more": {strings.Replace(claimed, `"prompt_tokens":3`, `"prompt_tokens":40`, 1), said(0, 3, 100, 0, -0.5), true, "margin"},
		"of another line":                {claimed, said(1, 3, 100, 0, -0.5), false, ""},
		"of fewer tokens":                {claimed, said(0, 3, 99, 0, -0.5), false, ""},
		"nothing":                        {claimed, "", false, ""},
		"more than was asked":            {claimed, said(0, 3, 100, 0, -0.5) + said(1, 3, 100, 0, -0.5), false, ""},
		"likelier than certain":          {claimed, said(0, 3, 100, 0, 2), false, ""},
		"below the best by less than 0":  {claimed, said(0, 3, 100, -1, -0.5), false, ""},
		"no JSON":                        {claimed, "nonsense", false, ""},
	} {
		v, err := rescore.Judge(in, []byte(tt.claimed), asking, []byte(tt.said))
		if (tt.why == "") != (err != nil) || err == nil && (v.Pass != tt.pass || !v.Judged || !strings.Contains(v.Reason, tt.why)) {
			t.Errorf("%s: %+v, %v", name, v, err)
		}
	}
	for name, tt := range map[string]struct {
		claimed string
		n       int // scores
		pass    bool
		why     string
	}{
		"cut short":                    {claimed, 100, false, "ends for its length after 100 tokens, of 128"},
		"ended":                        {strings.Replace(claimed, `"length"`, `"stop"`, 1), 101, true, "over 101 tokens"},
		"refused, though it would fit": {`{"id":1,"error":"limit exceeded: no"}` + "\n", 0, false, "it was refused, though the prompt has 3 tokens"},
	} {
		in := engine.Input{Data: []byte(ask), Params: map[string]string{"on_error": "answer"}}
		asking, err := rescore.Question(in, []byte(tt.claimed), [32]byte{})
		if err != nil {
			t.Fatal(err)
		}
		reply := strings.Replace(said(0, 3, tt.n, 0, -0.5), `"told"`, `"context":2048,"told"`, 1)
		if v, err := rescore.Judge(in, []byte(tt.claimed), asking, []byte(reply)); err != nil || v.Pass != tt.pass || !strings.Contains(v.Reason, tt.why) {
			t.Errorf("%s: %+v, %v", name, v, err)
		}
	}
	short := answer("a", "b")
	if asking, err = rescore.Question(in, []byte(short), [32]byte{}); err != nil {
		t.Fatal(err)
	}
	if v, err := rescore.Judge(in, []byte(short), asking, []byte(said(0, 3, 2, 2, -0.5))); err != nil || v.Judged || !v.Pass || !strings.Contains(v.Reason, "too few") {
		t.Errorf("two tokens: %+v, %v", v, err)
	}
}

func FuzzRescore(f *testing.F) {
	f.Add([]byte(ask), []byte(answer("a", " b")), []byte(`{"id":0,"prompt_tokens":3,"told":true,"scores":[[0,0,0,0,0],[0,0,0,0,0]]}`))
	f.Fuzz(func(t *testing.T, data, claimed, said []byte) {
		in := engine.Input{Data: data}
		asking, err := rescore.Question(in, claimed, [32]byte{})
		if err != nil {
			return
		}
		if v, err := rescore.Judge(in, claimed, asking, said); err == nil && v.Reason == "" {
			t.Error("a verdict without a reason")
		}
	})
}
