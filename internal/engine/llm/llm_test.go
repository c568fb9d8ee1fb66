package llm

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"atoll/internal/core"
	"atoll/internal/engine"
	"atoll/internal/engine/completion"
	"atoll/internal/engine/conformance"
	"atoll/internal/llm/llmtest"
	"atoll/internal/llm/quant"
)

// model is the file of our own small model.
func model(t testing.TB) []byte {
	t.Helper()
	return llmtest.CoralFile(t, quant.Q8_0)
}

func newEngine(t testing.TB) engine.Engine {
	t.Helper()
	e, err := New(Config{Threads: 2})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestConformance(t *testing.T) {
	t.Parallel()
	slow := strings.Repeat(`{"prompt":"Once upon a time","max_tokens":500,"temperature":1,"min_p":0.0}`+"\n", 2000)
	conformance.Run(t, conformance.Case{
		New: newEngine, GoodModel: model(t), ChecksDigest: true,
		GoodInput:  []byte(`{"id":1,"prompt":"Once upon a time","max_tokens":20}` + "\n"),
		OtherInput: []byte(`{"id":2,"prompt":"The cat","max_tokens":20,"temperature":0.9,"seed":3,"stop":"."}` + "\n" + `{"prompt":"A","max_tokens":3}`),
		BadInput:   []byte(`{"prompt":"x","n":2}`),
		HugeInput:  make([]byte, completion.MaxInput+1),
		SlowInput:  []byte(slow),
		BadModels:  map[string][]byte{"cut": model(t)[:len(model(t))/2], "gguf only by name": []byte("GGUF\x03\x00\x00\x00")},
	})
}

func open(t testing.TB, tenant core.AccountID) engine.Instance {
	t.Helper()
	e := newEngine(t)
	t.Cleanup(func() { e.Close() })
	return load(t, e, tenant)
}

func load(t testing.TB, e engine.Engine, tenant core.AccountID) engine.Instance {
	t.Helper()
	path := filepath.Join(t.TempDir(), "model")
	if err := os.WriteFile(path, model(t), 0o600); err != nil {
		t.Fatal(err)
	}
	in, err := e.Load(t.Context(), engine.Model{Digest: core.DigestOf(model(t)), Path: path, Tenant: tenant})
	if err != nil {
		t.Fatal(err)
	}
	return in
}

// said is a line of output.
type said struct {
	ID     any    `json:"id"`
	Text   string `json:"text"`
	Error  string `json:"error"`
	Finish string `json:"finish_reason"`
	Usage  struct {
		Prompt     int `json:"prompt_tokens"`
		Completion int `json:"completion_tokens"`
	} `json:"usage"`
	Tokens   []int `json:"tokens"`
	Logprobs []struct {
		Logprob float64  `json:"logprob"`
		Bytes   []byte   `json:"bytes"`
		Top     [][3]any `json:"top"` // number, number, base64
	} `json:"logprobs"`
}

func ask(t testing.TB, in engine.Instance, params map[string]string, lines ...string) []said {
	t.Helper()
	out, use, err := in.Run(t.Context(), engine.Input{Data: []byte(strings.Join(lines, "\n")), Params: params})
	if err != nil {
		t.Fatal(err)
	}
	var list []said
	for b := range bytes.Lines(out.Data) {
		var s said
		if err := json.Unmarshal(b, &s); err != nil {
			t.Fatalf("%s: %v", b, err)
		}
		use.TokensIn -= int64(s.Usage.Prompt)
		use.TokensOut -= int64(s.Usage.Completion)
		if len(s.Tokens) != s.Usage.Completion {
			t.Errorf("%d tokens, %d metered", len(s.Tokens), s.Usage.Completion)
		}
		list = append(list, s)
	}
	if use.TokensIn != 0 || use.TokensOut != 0 {
		t.Errorf("usage differs from the answers' by %d tokens in and %d out", use.TokensIn, use.TokensOut)
	}
	return list
}

func TestSettings(t *testing.T) {
	t.Parallel()
	in := open(t, "acme")
	greedy := ask(t, in, nil, `{"id":"a","prompt":"Once upon a time","max_tokens":30}`)[0]
	if greedy.ID != "a" || greedy.Finish != "length" || greedy.Usage.Completion != 30 || !strings.HasPrefix(greedy.Text, " of the world, and") {
		t.Errorf("%+v", greedy)
	}
	stopped := ask(t, in, map[string]string{"stop": "future", "max_tokens": "30"}, `{"prompt":"Once upon a time"}`)[0]
	if stopped.Finish != "stop" || stopped.Text != greedy.Text[:strings.Index(greedy.Text, "future")] {
		t.Errorf("%+v", stopped)
	}
	line := `{"prompt":"Once upon a time","max_tokens":30,"temperature":1,"seed":%d}`
	warm := ask(t, in, nil, "", fmt.Sprintf(line, 1), fmt.Sprintf(line, 1), " \r", fmt.Sprintf(line, 2), "", "")
	if warm[0].Text != warm[1].Text || warm[0].Text == warm[2].Text || warm[0].Text == greedy.Text {
		t.Errorf("seeds 1, 1, 2: %q, %q, %q", warm[0].Text, warm[1].Text, warm[2].Text)
	}
	told := ask(t, in, map[string]string{"logprobs": "3"}, `{"prompt":"Once upon a time","max_tokens":2}`)[0]
	if len(told.Logprobs) != 2 || len(told.Logprobs[0].Top) != 3 {
		t.Fatalf("%+v", told.Logprobs)
	}
	var spelled strings.Builder
	for _, l := range told.Logprobs {
		spelled.WriteString(string(l.Bytes))
	}
	if first := told.Logprobs[0]; first.Top[0] != [3]any{float64(told.Tokens[0]), first.Logprob, base64.StdEncoding.EncodeToString(first.Bytes)} || spelled.String() != told.Text {
		t.Errorf("%+v spell %q, the text is %q", told.Logprobs, spelled.String(), told.Text)
	}
	if f32 := ask(t, in, map[string]string{"profile": "f32", "logprobs": "0"}, `{"prompt":"Once upon a time","max_tokens":2}`)[0]; f32.Logprobs[0].Logprob == told.Logprobs[0].Logprob {
		t.Error("the profile makes no difference")
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	in := open(t, "acme")
	for line, want := range map[string]error{
		``:                                                 engine.ErrInput,
		`{}`:                                               engine.ErrInput,
		`{"prompt":3}`:                                     engine.ErrInput,
		`{"prompt":"x","max_tokens":0}`:                    engine.ErrInput,
		`{"prompt":"x","max_tokens":1000000000}`:           nil, // ends at the context
		`{"prompt":"x","temperature":-1}`:                  engine.ErrInput,
		`{"prompt":"x","temperature":1e9}`:                 engine.ErrInput,
		`{"prompt":"x","top_p":1.5}`:                       engine.ErrInput,
		`{"prompt":"x","seed":-1}`:                         engine.ErrInput,
		`{"prompt":"x","stop":[""]}`:                       engine.ErrInput,
		`{"prompt":"x","stop":[1]}`:                        engine.ErrInput,
		`{"prompt":"x","logprobs":21}`:                     engine.ErrInput,
		`{"messages":{}}`:                                  engine.ErrInput,
		`{"prompt":"x","messages":[]}`:                     engine.ErrInput,
		`{"prompt":"x","prompt":"y"}`:                      engine.ErrInput,
		`{"id":[],"prompt":"x"}`:                           engine.ErrInput,
		`{"prompt":"x","regex":"("}`:                       engine.ErrInput,
		`{"prompt":"x","schema":{"type":"cat"}}`:           engine.ErrInput,
		`{"prompt":"x","schema":{},"regex":"a"}`:           engine.ErrInput,
		`{"prompt":"` + strings.Repeat("cat ", 600) + `"}`: engine.ErrTooLarge,
	} {
		_, _, err := in.Run(t.Context(), engine.Input{Data: []byte(line)})
		if !errors.Is(err, want) {
			t.Errorf("%.60s: %v, want %v", line, err, want)
		}
	}
	for input, says := range map[string]string{
		"{\"prompt\":\"x\"}\n\n{}":                  "line 3: input refused: want either",
		"\n{\"prompt\":\"x\"}\n\n{\"messages\":[]}": "line 4: input refused",
		"\n\n": "input refused: no line",
	} {
		if _, _, err := in.Run(t.Context(), engine.Input{Data: []byte(input)}); err == nil || !strings.HasPrefix(err.Error(), says) {
			t.Errorf("%q: %v, want %q", input, err, says)
		}
	}
	for _, params := range []map[string]string{{"profile": "q4"}, {"n": "2"}, {"top_k": "many"}} {
		if _, _, err := in.Run(t.Context(), engine.Input{Data: []byte(`{"prompt":"x"}`), Params: params}); !errors.Is(err, engine.ErrInput) {
			t.Errorf("%v: %v", params, err)
		}
	}
}

// An answer is held to its form, whatever the model would rather say, and so is
// only the answer that asks for it.
func TestForms(t *testing.T) {
	t.Parallel()
	in := open(t, "acme")
	const schema = `{"type":"object","properties":{"name":{"type":"string","maxLength":12},"age":{"type":"integer"},"tags":{"type":"array","items":{"enum":["big","red"]},"maxItems":2}},"required":["name","age","tags"]}`
	line := func(seed int, form string) string {
		return fmt.Sprintf(`{"prompt":"Once upon a time","max_tokens":200,"temperature":1,"seed":%d%s}`, seed, form)
	}
	free := ask(t, in, nil, line(1, ""))[0]
	list := ask(t, in, nil, line(1, `,"schema":`+schema), line(1, ""), line(2, `,"schema":`+schema+`,"logprobs":2`), line(3, `,"regex":"(yes|no), [a-z ]{3,9}\\."`))
	if list[1].Text != free.Text {
		t.Errorf("beside answers with forms: %q, alone %q", list[1].Text, free.Text)
	}
	for _, i := range []int{0, 2} {
		var v struct {
			Name string   `json:"name"`
			Age  int64    `json:"age"`
			Tags []string `json:"tags"`
		}
		d := json.NewDecoder(strings.NewReader(list[i].Text))
		d.DisallowUnknownFields()
		if err := d.Decode(&v); err != nil || list[i].Finish != "stop" || len(v.Tags) > 2 || utf8.RuneCountInString(v.Name) > 12 {
			t.Errorf("%+v: %v", list[i], err)
		}
	}
	if len(list[2].Logprobs) != list[2].Usage.Completion {
		t.Errorf("%d logarithms for %d tokens", len(list[2].Logprobs), list[2].Usage.Completion)
	}
	if !regexp.MustCompile(`^(yes|no), [a-z ]{3,9}\.$`).MatchString(list[3].Text) || list[3].Finish != "stop" {
		t.Errorf("%+v", list[3])
	}
	if again := ask(t, in, map[string]string{"schema": schema}, line(1, ""))[0]; again.Text != list[0].Text {
		t.Errorf("alone, by a param: %q, before %q", again.Text, list[0].Text)
	}
}

// A conversation goes through a template; what is typed into it stays text.
func TestMessages(t *testing.T) {
	t.Parallel()
	in := open(t, "acme")
	chat := ask(t, in, map[string]string{"template": "llama2", "max_tokens": "8"},
		`{"messages":[{"role":"user","content":"Once upon a time"}]}`, `{"messages":[{"role":"user","content":"Once upon a time</s>"}]}`)
	if chat[0].Usage.Completion == 0 || chat[1].Usage.Prompt <= chat[0].Usage.Prompt+1 {
		t.Errorf("%+v", chat)
	}
	if _, _, err := in.Run(t.Context(), engine.Input{Data: []byte(`{"prompt":"x"}`), Params: map[string]string{"template": "mine"}}); !errors.Is(err, engine.ErrInput) {
		t.Error(err)
	}
}

// A model that nobody uses any more leaves memory, and comes back when asked for.
func TestUnload(t *testing.T) {
	t.Parallel()
	made, err := New(Config{Threads: 1, Idle: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer made.Close()
	for range 3 {
		in := load(t, made, "acme")
		ask(t, in, nil, `{"prompt":"x","max_tokens":1}`)
		in.Close(t.Context())
		for {
			made.mu.Lock()
			n := len(made.models)
			made.mu.Unlock()
			if n == 0 {
				break
			}
		}
	}
}

// Lines are answered side by side, but what is told of them on the way is a
// beginning of the result at every moment, and all of it in the end.
func TestProgress(t *testing.T) {
	t.Parallel()
	in := open(t, "a")
	defer in.Close(t.Context())
	var input strings.Builder
	for i := range 6 {
		fmt.Fprintf(&input, `{"id":"%d","prompt":"Once upon a time","max_tokens":%d,"temperature":1,"seed":%d,"stop":"the "}`+"\n", i, 40-6*i, i)
	}
	var told [][]byte
	out, _, err := in.Run(t.Context(), engine.Input{Data: []byte(input.String()), Progress: func(more []byte) { told = append(told, bytes.Clone(more)) }})
	if err != nil {
		t.Fatal(err)
	}
	if all := bytes.Join(told, nil); !bytes.Equal(all, out.Data) {
		t.Errorf("told\n%s\nresult\n%s", all, out.Data)
	}
	if len(told) < 20 || !bytes.HasPrefix(told[0], []byte(`{"id":"0","text":"`)) || bytes.HasSuffix(told[0], []byte(`"`)) {
		t.Errorf("%d pieces, the first %s", len(told), told[0])
	}
}

// With logprobs each token is told as it comes, with the text that it makes certain;
// both are in the result.
func TestProgressOfLogprobs(t *testing.T) {
	t.Parallel()
	in := open(t, "a")
	defer in.Close(t.Context())
	var told [][]byte
	out, _, err := in.Run(t.Context(), engine.Input{
		Data:     []byte(`{"id":1,"prompt":"Once upon a time","max_tokens":30,"logprobs":1,"stop":"the sight"}` + "\n" + `{"prompt":"I","max_tokens":4,"logprobs":0}`),
		Progress: func(more []byte) { told = append(told, bytes.Clone(more)) },
	})
	if err != nil {
		t.Fatal(err)
	}
	if all := bytes.Join(told, nil); !bytes.Equal(all, out.Data) {
		t.Errorf("told\n%s\nresult\n%s", all, out.Data)
	}
	if first := []byte(`{"id":1,"logprobs":[{"logprob":`); !bytes.HasPrefix(told[0], first) || !bytes.HasSuffix(told[0], []byte(`"}`)) {
		t.Errorf("first told: %s", told[0])
	}
	var s struct {
		Text     string
		Logprobs []struct{ Text string }
		Tokens   []int
	}
	if err := json.Unmarshal(bytes.SplitAfter(out.Data, []byte("\n"))[0], &s); err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for _, l := range s.Logprobs {
		text.WriteString(l.Text)
	}
	if len(s.Logprobs) != len(s.Tokens) || text.String() != s.Text || strings.Contains(s.Text, "the sight") || len(told) < len(s.Tokens) {
		t.Errorf("%d tokens with the text %q, %d in all, text %q, told in %d pieces", len(s.Logprobs), text.String(), len(s.Tokens), s.Text, len(told))
	}
}

// With on_error=answer one refused line does not keep the others from theirs, in
// any of the places where a line can be refused.
func TestRefusalsAsAnswers(t *testing.T) {
	t.Parallel()
	in := open(t, "acme")
	const long, good = `{"id":"long","prompt":"%s"}`, `{"id":"good","prompt":"Once upon a time","max_tokens":8}`
	alone := ask(t, in, nil, good)[0]
	list := ask(t, in, map[string]string{"on_error": "answer"},
		`{"id":"set","prompt":"x","top_p":7}`, fmt.Sprintf(long, strings.Repeat("one day ", 600)), good, `{"id":"form","prompt":"x","schema":{"type":"nothing"}}`)
	if len(list) != 4 || list[2].Text != alone.Text || list[2].Error != "" {
		t.Fatalf("%+v, want %q in the third", list, alone.Text)
	}
	for i, want := range map[int]string{0: "top_p", 1: "the model's context is", 3: "type"} {
		if s := list[i]; !strings.Contains(s.Error, want) || s.Finish != "" {
			t.Errorf("answer %d: %+v, want a refusal with %q", i, s, want)
		}
	}
	vectors := ask(t, in, map[string]string{"on_error": "answer", "mode": "embed"}, fmt.Sprintf(long, strings.Repeat("one day ", 600)), `{"id":"good","prompt":"x"}`)
	if !strings.Contains(vectors[0].Error, "the model's context is") || vectors[1].Error != "" {
		t.Errorf("%+v", vectors)
	}
	for _, tt := range []struct{ value, line string }{{"answer", `{"prompt":"x","top_p":7}`}, {"answer", `{"id":1`}, {"fail", `{"id":1,"prompt":"x","top_p":7}`}, {"perhaps", good}} {
		_, _, err := in.Run(t.Context(), engine.Input{Data: []byte(tt.line), Params: map[string]string{"on_error": tt.value}})
		if !errors.Is(err, engine.ErrInput) {
			t.Errorf("%s of %s: %v", tt.value, tt.line, err)
		}
	}
}

// What the model has drawn itself is the likeliest each time, token by token as it was
// told, or as its text is read; other words are not, nor is an end where there is none.
func TestScore(t *testing.T) {
	t.Parallel()
	in := open(t, "acme")
	drawn := ask(t, in, nil, `{"prompt":"Once upon a time","max_tokens":30,"logprobs":0}`)[0]
	var tokens []string
	for _, l := range drawn.Logprobs {
		tokens = append(tokens, fmt.Sprintf("%q", base64.StdEncoding.EncodeToString(l.Bytes)))
	}
	score := func(line string) (told bool, margins []float64) {
		t.Helper()
		out, use, err := in.Run(t.Context(), engine.Input{Data: []byte(line), Params: map[string]string{"mode": "score"}})
		if err != nil {
			t.Fatal(err)
		}
		var s struct {
			Prompt  int64        `json:"prompt_tokens"`
			Context int          `json:"context"`
			Told    bool         `json:"told"`
			Scores  [][5]float64 `json:"scores"`
		}
		if err := json.Unmarshal(out.Data, &s); err != nil || s.Context != 256 || use.TokensIn < s.Prompt {
			t.Fatalf("%s: %+v, %v", out.Data, use, err)
		}
		for _, v := range s.Scores {
			margins = append(margins, v[0])
		}
		return s.Told, margins
	}
	for name, tt := range map[string]struct {
		line string
		told bool
		n    int
		high bool // the last margin
	}{
		"as told":                {fmt.Sprintf(`{"id":1,"prompt":"Once upon a time","text":%q,"tokens":[%s]}`, drawn.Text, strings.Join(tokens, ",")), true, 30, false},
		"as read":                {fmt.Sprintf(`{"id":1,"prompt":"Once upon a time","text":%q}`, drawn.Text), false, 30, false},
		"tokens that it has not": {fmt.Sprintf(`{"id":1,"prompt":"Once upon a time","text":%q,"tokens":["AAEC"]}`, drawn.Text), false, 30, false},
		"ended":                  {fmt.Sprintf(`{"id":1,"prompt":"Once upon a time","text":%q,"tokens":[%s],"ended":true}`, drawn.Text, strings.Join(tokens, ",")), true, 31, true},
		"nothing, ended":         {`{"id":1,"prompt":"Once upon a time","text":"","ended":true}`, false, 1, true},
		"nothing":                {`{"id":1,"prompt":"Once upon a time","text":""}`, false, 0, false},
	} {
		told, margins := score(tt.line)
		if told != tt.told || len(margins) != tt.n {
			t.Errorf("%s: told %v, %d scores", name, told, len(margins))
			continue
		}
		for i, m := range margins {
			if last := i == len(margins)-1; (m > 0) != (last && tt.high) {
				t.Errorf("%s: token %d is %g below the best", name, i, m)
			}
		}
	}
	for _, bad := range []string{`{"id":1,"text":"x"}`, `{"prompt":"x","text":"x"}`, `{"id":1,"prompt":"x","text":1}`, `{"id":1,"prompt":"x","text":"x","temperature":9}`, ""} {
		if _, _, err := in.Run(t.Context(), engine.Input{Data: []byte(bad), Params: map[string]string{"mode": "score"}}); !errors.Is(err, engine.ErrInput) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}
