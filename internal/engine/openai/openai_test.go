package openai_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"atoll/internal/core"
	"atoll/internal/engine"
	"atoll/internal/engine/completion"
	"atoll/internal/engine/conformance"
	"atoll/internal/engine/openai"
)

// echo is a well-behaved server: it answers with the prompt's words, the last first,
// a token each.
func echo(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet {
		fmt.Fprint(w, `{"object":"list","data":[{"id":"parrot"},{"id":"owl"},{"id":"not a name"}]}`)
		return
	}
	var q struct {
		Model     string
		Prompt    string
		Messages  []struct{ Content string }
		MaxTokens int `json:"max_tokens"`
		Seed      int
		Logprobs  any
	}
	if err := json.NewDecoder(r.Body).Decode(&q); err != nil || q.Model != "parrot" {
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprintf(w, `{"error":{"message":"no model %s","code":404}}`, q.Model)
		return
	}
	chat := strings.HasSuffix(r.URL.Path, "/chat/completions")
	if chat {
		q.Prompt = q.Messages[0].Content
	}
	words := strings.Fields(q.Prompt)
	w.Header().Set("Content-Type", "text/event-stream")
	n, finish := min(len(words), q.MaxTokens), "stop"
	if n < len(words) {
		finish = "length"
	}
	for i := range n {
		word := words[len(words)-1-i] + " "
		if strings.HasPrefix(q.Prompt, "slow") {
			select {
			case <-r.Context().Done():
				return
			case <-time.After(time.Second):
			}
		}
		logprobs := "null"
		switch {
		case q.Logprobs != nil && chat:
			logprobs = fmt.Sprintf(`{"content":[{"token":%q,"logprob":-0.5,"bytes":null,"top_logprobs":[{"id":7,"token":"x","logprob":-1,"bytes":[255]}]}]}`, word)
		case q.Logprobs != nil:
			logprobs = fmt.Sprintf(`{"tokens":[%q],"token_logprobs":[-0.5],"top_logprobs":[{"b":-2,"a":-1}],"text_offset":[0]}`, word)
		}
		if chat {
			fmt.Fprintf(w, "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":%q},\"logprobs\":%s,\"finish_reason\":null}]}\n\n", word, logprobs)
		} else {
			fmt.Fprintf(w, "data: {\"choices\":[{\"index\":0,\"text\":%q,\"logprobs\":%s,\"finish_reason\":null}]}\n\n", word, logprobs)
		}
		w.(http.Flusher).Flush()
	}
	fmt.Fprintf(w, "data: {\"choices\":[{\"index\":0,\"delta\":{},\"text\":\"\",\"finish_reason\":%q}]}\n\n", finish)
	fmt.Fprintf(w, "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":%d,\"completion_tokens\":%d,\"total_tokens\":0}}\n\ndata: [DONE]\n\n", len(words), n)
}

func newEngine(t testing.TB, h http.HandlerFunc, c openai.Config) *openai.Engine {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	c.URL = s.URL
	e, err := openai.New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e
}

func manifest(t testing.TB, name string) []byte {
	t.Helper()
	b, err := openai.Encode(name, core.Digest{1})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func load(t testing.TB, e *openai.Engine, name string) (engine.Instance, error) {
	t.Helper()
	b := manifest(t, name)
	path := filepath.Join(t.TempDir(), "model")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return e.Load(t.Context(), engine.Model{Digest: core.DigestOf(b), Path: path})
}

func run(t testing.TB, e *openai.Engine, input string) (string, engine.Usage, error) {
	t.Helper()
	return runWith(t, e, nil, input)
}

func runWith(t testing.TB, e *openai.Engine, params map[string]string, input string) (string, engine.Usage, error) {
	t.Helper()
	in, err := load(t, e, "parrot")
	if err != nil {
		t.Fatal(err)
	}
	out, use, err := in.Run(t.Context(), engine.Input{Data: []byte(input), Params: params})
	return string(out.Data), use, err
}

func TestConformance(t *testing.T) {
	t.Parallel()
	conformance.Run(t, conformance.Case{
		New:        func(t testing.TB) engine.Engine { return newEngine(t, echo, openai.Config{Concurrency: 3}) },
		GoodModel:  manifest(t, "parrot"),
		GoodInput:  []byte(`{"id":1,"prompt":"polly wants a cracker"}` + "\n\n" + `{"messages":[{"role":"user","content":"who is there"}]}`),
		Want:       []byte(`{"id":1,"text":"cracker a wants polly ","finish_reason":"stop","usage":{"prompt_tokens":4,"completion_tokens":4}}` + "\n" + `{"text":"there is who ","finish_reason":"stop","usage":{"prompt_tokens":3,"completion_tokens":3}}` + "\n"),
		OtherInput: []byte(`{"prompt":"one two three","max_tokens":2}`),
		BadInput:   []byte(`{"prompt":"x","n":2}`), HugeInput: make([]byte, completion.MaxInput+1),
		SlowInput:    []byte(`{"prompt":"slow ` + strings.Repeat("word ", 30) + `"}`),
		ChecksDigest: true,
		BadModels: map[string][]byte{
			"other format":  []byte(`{"format":"atoll-openai/2","upstream":"parrot"}`),
			"no name":       []byte(`{"format":"atoll-openai/1","upstream":""}`),
			"spaces":        []byte(`{"format":"atoll-openai/1","upstream":"a b"}`),
			"not canonical": []byte(`{"format":"atoll-openai/1", "upstream":"parrot"}`),
			"other member":  []byte(`{"format":"atoll-openai/1","upstream":"parrot","url":"http://elsewhere"}`),
			"long":          []byte(`{"format":"atoll-openai/1","upstream":"` + strings.Repeat("x", openai.MaxManifest) + `"}`),
		},
	})
}

func TestLogprobs(t *testing.T) {
	t.Parallel()
	e := newEngine(t, echo, openai.Config{})
	out, use, err := run(t, e, `{"prompt":"a b","logprobs":2}`+"\n"+`{"messages":[{"role":"user","content":"a"}],"logprobs":1}`+"\n"+`{"prompt":"a","logprobs":0}`)
	want := `{"text":"b a ","finish_reason":"stop","usage":{"prompt_tokens":2,"completion_tokens":2},"logprobs":[{"logprob":-0.5,"bytes":"YiA=","top":[[-1,-1,"YQ=="],[-1,-2,"Yg=="]]},{"logprob":-0.5,"bytes":"YSA=","top":[[-1,-1,"YQ=="],[-1,-2,"Yg=="]]}]}` + "\n" +
		`{"text":"a ","finish_reason":"stop","usage":{"prompt_tokens":1,"completion_tokens":1},"logprobs":[{"logprob":-0.5,"bytes":"YSA=","top":[[7,-1,"/w=="]]}]}` + "\n" +
		`{"text":"a ","finish_reason":"stop","usage":{"prompt_tokens":1,"completion_tokens":1},"logprobs":[{"logprob":-0.5,"bytes":"YSA=","top":[]}]}` + "\n"
	if err != nil || out != want || use.TokensIn != 4 || use.TokensOut != 4 {
		t.Errorf("%s, %+v, %v\nwant %s", out, use, err, want)
	}
}

// What is told while an answer comes is the beginning of the result, in its order.
func TestProgress(t *testing.T) {
	t.Parallel()
	in, err := load(t, newEngine(t, echo, openai.Config{}), "parrot")
	if err != nil {
		t.Fatal(err)
	}
	var told []string
	out, _, err := in.Run(t.Context(), engine.Input{
		Data:     []byte(`{"id":"é","prompt":"a \"b\" c"}` + "\n" + `{"messages":[{"role":"user","content":"d é"}]}`),
		Progress: func(more []byte) { told = append(told, string(more)) },
	})
	if err != nil || strings.Join(told, "") != string(out.Data) || len(told) < 4 {
		t.Errorf("told %q of %s, %v", told, out.Data, err)
	}
}

// Servers have defaults of their own by which they cut what is drawn from: all is said.
func TestRequestSaysAll(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		`{"prompt":"x"}`: `{"model":"parrot","stream":true,"stream_options":{"include_usage":true},"max_tokens":128,"temperature":0,"seed":0,"prompt":"x"}`,
		`{"prompt":"x","temperature":0.7,"top_p":0,"max_tokens":9,"seed":3,"stop":"a"}`:                               `{"model":"parrot","stream":true,"stream_options":{"include_usage":true},"max_tokens":9,"temperature":0.7,"top_p":1,"seed":3,"stop":"a","top_k":0,"min_p":0,"prompt":"x"}`,
		`{"messages":[{"role":"user","content":"x"}],"temperature":1,"top_k":5,"top_p":0.9,"min_p":0.1,"logprobs":0}`: `{"model":"parrot","stream":true,"stream_options":{"include_usage":true},"max_tokens":128,"temperature":1,"top_p":0.9,"seed":0,"top_k":5,"min_p":0.1,"messages":[{"role":"user","content":"x"}],"logprobs":true,"top_logprobs":1}`,
	} {
		var got []byte
		e := newEngine(t, func(w http.ResponseWriter, r *http.Request) { got, _ = io.ReadAll(r.Body); w.WriteHeader(500) }, openai.Config{})
		_, _, _ = run(t, e, line) // refused; what was sent is the question
		if string(got) != want {
			t.Errorf("%s\nsent %s\nwant %s", line, got, want)
		}
	}
}

// Only what the provider has agreed to is offered, under the name that it chose.
func TestOffered(t *testing.T) {
	t.Parallel()
	e := newEngine(t, echo, openai.Config{Models: map[string]string{"bird": "parrot"}})
	in, err := load(t, e, "bird")
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := in.Run(t.Context(), engine.Input{Data: []byte(`{"prompt":"x"}`)}); err != nil {
		t.Error(err)
	}
	if _, err := load(t, e, "parrot"); err == nil || errors.Is(err, engine.ErrModel) {
		t.Errorf("a model that is not offered: %v", err)
	}
}

// fault is one that is neither the input's nor the model's.
func fault(err error) bool {
	for _, class := range []error{engine.ErrInput, engine.ErrModel, engine.ErrTooLarge, engine.ErrDeadline, engine.ErrCrashed} {
		if errors.Is(err, class) {
			return false
		}
	}
	return err != nil
}

func stream(events ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for _, e := range events {
			fmt.Fprintf(w, "data: %s\n\n", e)
		}
	}
}

const (
	text  = `{"choices":[{"index":0,"text":"four words in here","finish_reason":null}]}`
	stop  = `{"choices":[{"index":0,"text":"","finish_reason":"stop"}]}`
	usage = `{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":4,"total_tokens":5}}`
	done  = `[DONE]`
)

func counted(prompt, out int) string {
	return fmt.Sprintf(`{"choices":[],"usage":{"prompt_tokens":%d,"completion_tokens":%d}}`, prompt, out)
}

// A server that misbehaves is never the requester's fault, and cannot make the node
// take in more than an answer can have.
func TestHostileServer(t *testing.T) {
	t.Parallel()
	say := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status); fmt.Fprint(w, body) }
	}
	flood := func(part string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			for r.Context().Err() == nil {
				if _, err := fmt.Fprint(w, part); err != nil {
					return
				}
			}
		}
	}
	for name, tt := range map[string]struct {
		serve http.HandlerFunc
		says  string
	}{
		"no JSON":             {say(200, "<html>hello</html>"), "not that of the OpenAI API"},
		"no JSON in events":   {stream("{", done), "not that of the OpenAI API"},
		"field twice":         {stream(`{"choices":[],"choices":[]}`, done), "not that of the OpenAI API"},
		"breaks off":          {stream(text), "broke off after 18 bytes"},
		"ends without end":    {stream(text, usage, done), "no finish_reason"},
		"error in the middle": {stream(text, `{"error":{"message":"out of memory","code":500}}`), "gave up in the middle: out of memory"},
		"error as a string":   {say(500, `{"error":"out of memory"}`), "500: out of memory"},
		"no usage":            {stream(text, stop, done), "does not say how many tokens"},
		"filtered":            {stream(text, `{"choices":[{"index":0,"finish_reason":"content_filter"}]}`, usage, done), `"content_filter"`},
		"a second answer":     {stream(`{"choices":[{"index":1,"text":"x"}]}`, done), "more than it was asked"},
		"goes on after end":   {stream(text, stop, text, usage, done), "more than it was asked"},
		"counts too many":     {stream(text, stop, counted(1, 90), done), "90 tokens drawn, for 18 bytes"},
		"over max_tokens":     {stream(text, stop, counted(1, 129), done), "asked for 128 at most"},
		"counts too few":      {stream(text, stop, counted(1, 0), done), "too few for 18 bytes"},
		"negative":            {stream(text, stop, counted(-5, 4), done), "counts -5 tokens read"},
		"prompt of a million": {stream(text, stop, counted(1_000_000, 4), done), "counts 1000000 tokens read"},
		"elsewhere": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://127.0.0.1:1/", http.StatusTemporaryRedirect)
		}, "sends elsewhere"},
		"wrong key":        {say(401, `{"error":{"message":"bad key sekret"}}`), "does not take this node's key"},
		"repeats the key":  {say(500, `{"error":{"message":"boom for Bearer sekret"}}`), "boom for Bearer …"},
		"… in the middle":  {stream(text, `{"error":{"message":"boom for sekret"}}`), "boom for …"},
		"… not in JSON":    {stream("sekret: boom"), "…: boom"},
		"no such model":    {say(404, `{"error":{"message":"no such model"}}`), "404: no such model"},
		"endless text":     {flood("data: " + text + "\n\n"), "more than an answer can have"},
		"endless line":     {flood("data: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"), "broke off"},
		"endless comments": {flood(": nothing\n\n"), "more than an answer can have"},
		"endless, not events": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			flood("[")(w, r)
		}, "more than an answer can have"},
		"busy for a long time": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "3600")
			w.WriteHeader(429)
		}, "429"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var asked atomic.Int64
			e := newEngine(t, func(w http.ResponseWriter, r *http.Request) { asked.Add(1); tt.serve(w, r) }, openai.Config{Key: "sekret"})
			out, _, err := run(t, e, `{"prompt":"x"}`)
			if !fault(err) || !strings.Contains(err.Error(), tt.says) || out != "" {
				t.Errorf("%q, %v; want the server's fault, with %q", out, err, tt.says)
			}
			if err != nil && (strings.Contains(err.Error(), "sekret") || strings.Contains(err.Error(), "127.0.0.1")) {
				t.Errorf("%v tells the key or the address", err)
			}
			if n := asked.Load(); n != 1 {
				t.Errorf("asked %d times", n)
			}
		})
	}
}

// What is wrong with the input is told as such.
func TestBadRequests(t *testing.T) {
	t.Parallel()
	for body, tt := range map[string]struct {
		status int
		want   error
	}{
		`{"error":{"message":"bad top_k"}}`:                             {400, engine.ErrInput},
		`{"detail":[{"msg":"bad"}]}`:                                    {422, engine.ErrInput},
		`{"error":{"message":"long","code":"context_length_exceeded"}}`: {400, engine.ErrTooLarge},
		`too large`: {413, engine.ErrTooLarge},
	} {
		e := newEngine(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(tt.status); fmt.Fprint(w, body) }, openai.Config{})
		if _, _, err := run(t, e, `{"prompt":"x"}`); !errors.Is(err, tt.want) {
			t.Errorf("%d %s: %v, want %v", tt.status, body, err, tt.want)
		}
	}
}

// A request is sent again where nothing was generated.
func TestRetries(t *testing.T) {
	t.Parallel()
	good := stream(text, stop, usage, done)
	for name, first := range map[string]http.HandlerFunc{
		"429":        func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Retry-After", "0"); w.WriteHeader(429) },
		"503":        func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) },
		"502":        func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(502) },
		"cut early":  stream(),
		"hung up":    func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"whole JSON": nil,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var asked atomic.Int64
			e := newEngine(t, func(w http.ResponseWriter, r *http.Request) {
				switch {
				case first == nil:
					fmt.Fprint(w, `{"choices":[{"index":0,"text":"four words in here","finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":4}}`)
				case asked.Add(1) == 1:
					first(w, r)
				default:
					good(w, r)
				}
			}, openai.Config{})
			out, _, err := run(t, e, `{"prompt":"x"}`)
			if err != nil || !strings.Contains(out, `"text":"four words in here"`) {
				t.Errorf("%s, %v", out, err)
			}
		})
	}
}

// A server that hangs is given up, before and within an answer.
func TestSilentServer(t *testing.T) {
	t.Parallel()
	for name, begin := range map[string]string{"from the start": "", "in the middle": "data: " + text + "\n\n"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEngine(t, func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body) // only then a server sees that its client has gone
				w.Header().Set("Content-Type", "text/event-stream")
				if begin != "" {
					fmt.Fprint(w, begin)
					w.(http.Flusher).Flush()
				}
				<-r.Context().Done()
			}, openai.Config{First: 50 * time.Millisecond, Idle: 50 * time.Millisecond})
			if _, _, err := run(t, e, `{"prompt":"x"}`); !fault(err) || !strings.Contains(err.Error(), "the server") {
				t.Error(err)
			}
		})
	}
}

func TestBadConfig(t *testing.T) {
	t.Parallel()
	for _, c := range []openai.Config{
		{}, {URL: "127.0.0.1:8000"}, {URL: "ftp://h"}, {URL: "http://user:pw@h"}, {URL: "http://h?key=1"},
		{URL: "http://gpu.example:8000", Key: "k"}, {URL: "http://127.0.0.1", Key: "a\nb"}, {URL: "http://127.0.0.1", Models: map[string]string{"a b": "c"}},
		{URL: "http://127.0.0.1", Concurrency: -1},
	} {
		if _, err := openai.New(c); core.KindOf(err) != core.Invalid {
			t.Errorf("%+v: %v", c, err)
		}
	}
	if _, err := openai.New(openai.Config{URL: "http://gpu.example:8000/v1/"}); err != nil {
		t.Error(err)
	}
}

// What can be had is told when it changes: models come, the server goes.
func TestWatch(t *testing.T) {
	t.Parallel()
	answers := []func(http.ResponseWriter){
		func(w http.ResponseWriter) { fmt.Fprint(w, `{"object":"list","data":[{"id":"owl"}]}`) },
		func(w http.ResponseWriter) { fmt.Fprint(w, `{"object":"list","data":[{"id":"owl"}]}`) },
		func(w http.ResponseWriter) { fmt.Fprint(w, `{"object":"list","data":[{"id":"parrot"},{"id":"owl"}]}`) },
		func(w http.ResponseWriter) {
			w.WriteHeader(500)
			fmt.Fprint(w, `{"error":"no GPU`+strings.Repeat(", none", 200)+`"}`)
		},
		func(w http.ResponseWriter) { fmt.Fprint(w, `{"object":"list","data":null}`) },
		func(w http.ResponseWriter) { fmt.Fprint(w, `{"status":"ok"}`) },
	}
	var n atomic.Int64
	e := newEngine(t, func(w http.ResponseWriter, _ *http.Request) {
		answers[min(int(n.Add(1)), len(answers))-1](w)
	}, openai.Config{Models: map[string]string{"bird": "parrot", "owl": "owl"}, Check: time.Millisecond})
	told := make(chan engine.Hosted)
	go e.Watch(t.Context(), func(h engine.Hosted) {
		select {
		case told <- h:
		case <-t.Context().Done():
		}
	})
	for _, want := range []struct{ models, trouble string }{
		{"[owl]", "does not have the model parrot"}, {"[bird owl]", ""}, {"[]", "500: no GPU"}, {"[]", "does not have the model"}, {"[]", "does not answer with a list"},
	} {
		h := <-told
		if fmt.Sprint(h.Models) != want.models || len(h.Trouble) > openai.MaxTrouble || !strings.Contains(h.Trouble, want.trouble) || want.trouble == "" && h.Trouble != "" {
			t.Errorf("told %+v, want %+v", h, want)
		}
	}
}

func FuzzManifest(f *testing.F) {
	f.Add([]byte(`{"format":"atoll-openai/1","upstream":"qwen2.5:7b"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := openai.ParseManifest(b)
		if err != nil {
			if !errors.Is(err, engine.ErrModel) {
				t.Error(err)
			}
			return
		}
		if again, err := openai.Encode(m.Upstream, m.Reference); err != nil || string(again) != string(b) {
			t.Errorf("%q is not canonical: %q, %v", b, again, err)
		}
	})
}

// With on_error=answer a line that the server refuses is answered so, and the
// others have their answers.
func TestRefusalsAsAnswers(t *testing.T) {
	t.Parallel()
	good := stream(text, stop, usage, done)
	e := newEngine(t, func(w http.ResponseWriter, r *http.Request) {
		if body, _ := io.ReadAll(r.Body); strings.Contains(string(body), "bad") {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		good(w, r)
	}, openai.Config{})
	out, use, err := runWith(t, e, map[string]string{"on_error": "answer"}, "{\"id\":1,\"prompt\":\"bad\"}\n{\"id\":2,\"prompt\":\"x\"}\n{\"id\":3,\"prompt\":\"x\",\"top_k\":-1}")
	if err != nil || use.TokensOut == 0 {
		t.Fatalf("%s, %+v, %v", out, use, err)
	}
	lines := strings.Split(out, "\n")
	if len(lines) != 4 || !strings.HasPrefix(lines[0], `{"id":1,"error":"input refused: the server answered 400`) || !strings.HasPrefix(lines[1], `{"id":2,"text":`) || !strings.HasPrefix(lines[2], `{"id":3,"error":"input refused: top_k`) {
		t.Error(out)
	}
}
