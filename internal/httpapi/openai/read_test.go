package openai

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"atoll/internal/core"
)

func testServer() *server {
	return &server{cfg: Config{Log: slog.New(slog.DiscardHandler), Seed: func() int64 { return 42 }}}
}

// What a request asks for, as lines for the engine.
func TestRead(t *testing.T) {
	t.Parallel()
	s := testServer()
	tests := []struct {
		chat bool
		body string
		want []string
	}{
		{
			false, `{"model":"m","prompt":"a"}`,
			[]string{`{"id":0,"prompt":"a","max_tokens":16,"temperature":1,"seed":42}`},
		},
		{
			false, `{"model":"m","prompt":["a","b"],"n":2,"seed":-1,"temperature":0,"stop":"x","max_tokens":3,"top_p":0.5,"top_k":4,"min_p":0.1,"logprobs":2,"best_of":null,"logit_bias":{}}`,
			[]string{
				`{"id":0,"prompt":"a","max_tokens":3,"temperature":0,"top_k":4,"top_p":0.5,"min_p":0.1,"seed":9223372036854775807,"stop":["x"],"logprobs":2}`,
				`{"id":1,"prompt":"a","max_tokens":3,"temperature":0,"top_k":4,"top_p":0.5,"min_p":0.1,"seed":0,"stop":["x"],"logprobs":2}`,
				`{"id":2,"prompt":"b","max_tokens":3,"temperature":0,"top_k":4,"top_p":0.5,"min_p":0.1,"seed":9223372036854775807,"stop":["x"],"logprobs":2}`,
				`{"id":3,"prompt":"b","max_tokens":3,"temperature":0,"top_k":4,"top_p":0.5,"min_p":0.1,"seed":0,"stop":["x"],"logprobs":2}`,
			},
		},
		{
			true, `{"model":"m","messages":[{"role":"system","content":"s"},{"role":"user","name":"u","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}],"temperature":0,"logprobs":true,"presence_penalty":0,"response_format":{ "type": "text" },"user":"x","metadata":{"a":"b"}}`,
			[]string{`{"id":0,"messages":[{"role":"system","content":"s"},{"role":"user","content":"ab","name":"u"}],"max_tokens":1024,"temperature":0,"seed":0,"logprobs":0}`},
		},
	}
	for _, tt := range tests {
		read := s.readText
		if tt.chat {
			read = s.readChat
		}
		w, err := read([]byte(tt.body))
		if err != nil {
			t.Errorf("%s: %v", tt.body, err)
			continue
		}
		if len(w.lines) != len(tt.want) {
			t.Errorf("%s: %d lines", tt.body, len(w.lines))
			continue
		}
		for i := range w.lines {
			got := mustMarshal(t, w.lines[i])
			if want := tt.want[i]; got != want {
				t.Errorf("line %d:\ngot  %s\nwant %s", i, got, want)
			}
		}
	}
}

func mustMarshal(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// Each refusal names the field.
func TestReadRefuses(t *testing.T) {
	t.Parallel()
	s := testServer()
	chat := func(more string) string {
		return `{"model":"m","messages":[{"role":"user","content":"x"}]` + more + `}`
	}
	text := func(more string) string { return `{"model":"m","prompt":"x"` + more + `}` }
	for body, field := range map[string]string{
		chat(`,"frequency_penalty":0.5`):                  "frequency_penalty",
		chat(`,"tools":[{"type":"function"}]`):            "tools",
		chat(`,"response_format":{"type":"xml"}`):         "response_format.type",
		chat(`,"response_format":{"type":"json_schema"}`): "response_format.json_schema.schema",
		chat(`,"whatever":1`):                             "whatever",
		chat(`,"n":0`):                                    "n",
		chat(`,"n":129`):                                  "n",
		chat(`,"temperature":2.5`):                        "temperature",
		chat(`,"top_p":1.5`):                              "top_p",
		chat(`,"min_p":1e300`):                            "min_p",
		chat(`,"top_k":-1`):                               "top_k",
		chat(`,"max_tokens":0`):                           "max_tokens",
		chat(`,"max_tokens":1,"max_completion_tokens":2`): "max_completion_tokens",
		chat(`,"top_logprobs":2`):                         "top_logprobs",
		chat(`,"logprobs":true,"top_logprobs":21`):        "top_logprobs",
		chat(`,"stream_options":{"include_usage":true}`):  "stream_options",
		chat(`,"atoll":{"budget":{"max_cost":"much"}}`):   "atoll.budget.max_cost",
		chat(`,"atoll":{"unknown":1}`):                    "atoll.unknown",
		`{"messages":[{"role":"user","content":"x"}]}`:    "model",
		`{"model":"m","messages":[]}`:                     "messages",
		`{"model":"m","messages":[{"role":"user","content":[{"type":"image_url","text":""}]}]}`: "messages[0].content[0].type",
		`{"model":"m","messages":[{"role":"user","content":"x","tool_calls":[]}]}`:              "messages[0].tool_calls",
		text(`,"echo":true`):              "echo",
		text(`,"suffix":"x"`):             "suffix",
		text(`,"best_of":2`):              "best_of",
		text(`,"logprobs":true`):          "logprobs",
		text(`,"logprobs":21`):            "logprobs",
		`{"model":"m"}`:                   "prompt",
		`{"model":"m","prompt":[1,2]}`:    "prompt",
		`{"model":"m","prompt":["x",[]]}`: "prompt",
	} {
		read := s.readText
		if strings.Contains(body, "messages") {
			read = s.readChat
		}
		_, err := read([]byte(body))
		e, ok := err.(*core.Error) //nolint:errorlint // it is not wrapped here
		if !ok || e.Kind != core.Invalid || e.Field != field {
			t.Errorf("%s: %+v, want a refusal of %s", body, err, field)
		}
	}
}

// What is said once is given to the engine with each of many answers: that is refused
// before it takes memory.
func TestWorkIsBounded(t *testing.T) {
	t.Parallel()
	s := testServer()
	for _, body := range []string{
		`{"model":"m","n":128,"prompt":"` + strings.Repeat("x", 1<<20) + `"}`,
		`{"model":"m","n":128,"prompt":"x","stop":["` + strings.Repeat("x", 1<<20) + `"]}`,
		`{"model":"m","prompt":["x"` + strings.Repeat(`,"x"`, 127) + `],"stop":["` + strings.Repeat("x", 1<<20) + `"]}`,
	} {
		w, err := s.readText([]byte(body))
		if err != nil {
			t.Fatal(err)
		}
		if input, err := w.input(); core.KindOf(err) != core.TooLarge {
			t.Errorf("%.40s: %d bytes of work, %v", body, len(input), err)
		}
		in := batchInput{data: make([]byte, maxBatchData, maxBatchData+4<<20)}
		if err := in.write("x", w); err != nil || len(in.data) > maxBatchData+2<<20 {
			t.Errorf("%.40s: %d bytes in a batch, %v", body, len(in.data), err)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(`{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"a"}]}],"n":3,"atoll":{"residency":["EU"]}}`))
	f.Add([]byte(`{"model":"m","prompt":["a","b"],"stop":["x"],"seed":-5,"top_p":1e300}`))
	f.Add([]byte(strings.Repeat("[", 20_000)))
	f.Add([]byte(`{"model":"m","prompt":"x","user":` + strings.Repeat(`{"a":`, 5000) + `1` + strings.Repeat("}", 5000) + `}`))
	s := testServer()
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, read := range []func([]byte) (*work, error){s.readChat, s.readText} {
			w, err := read(body)
			if err != nil {
				if core.KindOf(err) != core.Invalid && core.KindOf(err) != core.Unsupported {
					t.Fatalf("%s: %v", body, err)
				}
				continue
			}
			if len(w.lines) == 0 || len(w.lines) > maxChoices {
				t.Fatalf("%s: %d lines", body, len(w.lines))
			}
			if _, err := w.spec(); err != nil && core.KindOf(err) != core.Invalid && core.KindOf(err) != core.Unsupported {
				t.Fatalf("%s: %v", body, err)
			}
		}
	})
}

func TestReadEmbeddings(t *testing.T) {
	t.Parallel()
	w, err := testServer().readEmbeddings([]byte(`{"model":"m","input":["a","b"],"encoding_format":"base64","user":"x","atoll":{"params":{"profile":"f32"}}}`))
	if err != nil || !w.base64 || len(w.lines) != 2 || mustMarshal(t, w.lines[1]) != `{"id":1,"prompt":"b"}` {
		t.Fatalf("%+v, %v", w, err)
	}
	if p := w.own.Params; string(p["mode"]) != `"embed"` || string(p["profile"]) != `"f32"` {
		t.Errorf("%s", p)
	}
	for body, field := range map[string]string{
		`{"input":"x"}`:                                   "model",
		`{"model":"m"}`:                                   "input",
		`{"model":"m","input":[]}`:                        "input",
		`{"model":"m","input":[1,2]}`:                     "input",
		`{"model":"m","input":"x","dimensions":8}`:        "dimensions",
		`{"model":"m","input":"x","encoding_format":"x"}`: "encoding_format",
		`{"model":"m","input":"x","whatever":1}`:          "whatever",
	} {
		_, err := testServer().readEmbeddings([]byte(body))
		if e, ok := err.(*core.Error); !ok || e.Kind != core.Invalid || e.Field != field { //nolint:errorlint // it is not wrapped here
			t.Errorf("%s: %+v, want a refusal of %s", body, err, field)
		}
	}
}
