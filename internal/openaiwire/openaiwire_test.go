package openaiwire_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"atoll/internal/openaiwire"
)

func TestRequestsAreReadAndWritten(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		into any
		body string
		want string // as written again; empty: the same
	}{
		"chat": {
			&openaiwire.ChatRequest{},
			`{"model":"m","max_tokens":5,"temperature":0.5,"seed":-1,"stop":["a","b"],"messages":[{"role":"user","content":"hi"}],"logprobs":true,"top_logprobs":2}`, "",
		},
		"content in parts": {
			&openaiwire.ChatRequest{},
			`{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"hi"}]},{"role":"assistant","content":null}]}`,
			`{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"hi"}]},{"role":"assistant","content":""}]}`,
		},
		"what is not known is kept": {
			&openaiwire.ChatRequest{},
			`{"model":"m","messages":[],"tools":[{"type":"function"}]}`, "",
		},
		"one prompt":      {&openaiwire.TextRequest{}, `{"model":"m","stop":"x","prompt":"a"}`, ""},
		"several prompts": {&openaiwire.TextRequest{}, `{"model":"m","prompt":["a","b"]}`, ""},
		"embedding":       {&openaiwire.EmbeddingRequest{}, `{"model":"m","input":["a","b"],"encoding_format":"base64"}`, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if err := json.Unmarshal([]byte(tt.body), tt.into); err != nil {
				t.Fatal(err)
			}
			got, err := json.Marshal(tt.into)
			if err != nil {
				t.Fatal(err)
			}
			want := tt.want
			if want == "" {
				want = tt.body
			}
			if string(got) != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		})
	}
}

func TestMalformedRequestsAreRefused(t *testing.T) {
	t.Parallel()
	for _, body := range []string{
		`{"prompt":[1,2,3]}`, `{"prompt":5}`, `{"prompt":{}}`, `{"prompt":["a",null,3]}`,
		`{"stop":7}`, `{"n":1.5}`, `{"model":"a","model":"b"}`, `{"model":"` + "\xff" + `"}`,
	} {
		var r openaiwire.TextRequest
		if err := json.Unmarshal([]byte(body), &r); err == nil {
			t.Errorf("%s: read as %+v", body, r)
		}
	}
}

func TestVectorsInBothForms(t *testing.T) {
	t.Parallel()
	for _, base64 := range []bool{false, true} {
		v := openaiwire.Vector{Values: []float32{0, -1.5, 0.1, 3e-40}, Base64: base64}
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		var got openaiwire.Vector
		if err := json.Unmarshal(b, &got); err != nil || !reflect.DeepEqual(got, v) {
			t.Errorf("%s became %v, %v", b, got, err)
		}
	}
	for _, bad := range []string{`"!"`, `"AAAA"`, `"AA=="`, `[1,"a"]`, `{}`} {
		if err := json.Unmarshal([]byte(bad), new(openaiwire.Vector)); err == nil {
			t.Errorf("%s was read", bad)
		}
	}
}

func TestEvents(t *testing.T) {
	t.Parallel()
	var b []byte
	b = openaiwire.AppendEvent(b, []byte(`{"a":1}`))
	b = append(b, ": a comment\r\n\r\nevent: x\r\ndata:{\"b\":2}\r\n\r\n"...)
	whole := string(append(b, openaiwire.Done...))
	read := func(s string) (got []string, err error) {
		for event, e := range openaiwire.Events(strings.NewReader(s)) {
			if e != nil {
				return got, e
			}
			got = append(got, string(event))
		}
		return got, nil
	}
	want := []string{`{"a":1}`, `{"b":2}`}
	if got, err := read(whole + "data: after\n\n"); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("read %q, %v", got, err)
	}
	if got, err := read(string(b)); !errors.Is(err, openaiwire.ErrCut) || !reflect.DeepEqual(got, want) {
		t.Errorf("read %q, %v, want %v", got, err, openaiwire.ErrCut)
	}
	if _, err := read("data: " + strings.Repeat("a", 5<<20)); !errors.Is(err, openaiwire.ErrCut) {
		t.Errorf("an endless event: %v", err)
	}
}
