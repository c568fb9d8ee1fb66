package openai

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"atoll/api"
	"atoll/internal/core"
	"atoll/internal/openaiwire"
	"atoll/internal/request"
)

const (
	texts = "/v1/completions"
	talks = "/v1/chat/completions"
	embed = "/v1/embeddings"
)

// ask is a line of a batch's input.
func ask(id, url, body string) string {
	return fmt.Sprintf(`{"custom_id":%q,"method":"POST","url":%q,"body":%s}`, id, url, body)
}

func readBatch(url string, lines ...string) (*batchInput, error) {
	in := &batchInput{ids: map[string]bool{}}
	return in, in.readAll(testServer(), url, strings.NewReader(strings.Join(lines, "\n")))
}

// Requests become lines that carry their names, and parts end between requests.
func TestReadBatch(t *testing.T) {
	t.Parallel()
	in, err := readBatch(texts, "\uFEFF"+ask("a", texts, `{"model":"m","prompt":["x","y"],"n":2,"max_tokens":1,"temperature":0}`)+"\r", "", ask(`"`, texts, `{"model":"m","prompt":"z","max_tokens":2,"temperature":0}`), ask("c", texts, `{"model":"m","prompt":"z","max_tokens":3,"temperature":0}`), "")
	if err != nil {
		t.Fatal(err)
	}
	line := func(id, prompt string, tokens, seed int) string {
		return fmt.Sprintf(`{"id":%q,"prompt":%q,"max_tokens":%d,"temperature":0,"seed":%d}`+"\n", id, prompt, tokens, seed)
	}
	lines := []string{line("a", "x", 1, 0), line("a", "x", 1, 1), line("a", "y", 1, 0), line("a", "y", 1, 1), line(`"`, "z", 2, 0), line("c", "z", 3, 0)}
	if want := strings.Join(lines, ""); string(in.data) != want || in.model != "m" {
		t.Errorf("%s\nwant\n%s", in.data, want)
	}
	first, all := int64(4*len(lines[0])), int64(len(in.data))
	second := all - int64(len(lines[5]))
	for each, want := range map[int][]int64{1: {first, second, all}, 2: {second, all}, 3: {all}, 16: {all}} {
		if got := in.parts(each); !slices.Equal(got, want) {
			t.Errorf("parts of %d: %v, want %v", each, got, want)
		}
	}
}

// Parts are made smaller until engines take them.
func TestPartsFit(t *testing.T) {
	t.Parallel()
	in := &batchInput{}
	for i := range 10 {
		in.ends = append(in.ends, requestEnd{int64(i+1) * maxPartData / 4, (i + 1) * 10})
	}
	if in.fits(5) || !in.fits(4) || !in.fits(1) {
		t.Error("four of these requests fit into a part, and no more")
	}
	in.ends[7].byte += maxPartData
	if in.fits(1) {
		t.Error("a request that is larger than a part fits")
	}
}

func TestReadBatchRefuses(t *testing.T) {
	t.Parallel()
	good := ask("a", texts, `{"model":"m","prompt":"x"}`)
	for _, tt := range []struct {
		url, says string
		lines     []string
	}{
		{texts, "no requests", []string{"", " "}},
		{texts, "line 2, custom_id: \"a\" is another", []string{good, good}},
		{texts, "line 3, custom_id: the body is not JSON", []string{good, "", `{"custom_id":`}},
		{texts, "line 1, custom_id", []string{ask("", texts, `{}`)}},
		{texts, "line 1, custom_id", []string{ask(strings.Repeat("x", 200), texts, `{}`)}},
		{texts, "line 1, method", []string{`{"custom_id":"a","method":"GET","url":"/v1/completions","body":{}}`}},
		{talks, "line 1, url", []string{good}},
		{texts, "line 1, body: want an object", []string{ask("a", texts, `[]`)}},
		{texts, "line 1, body.model", []string{ask("a", texts, `{"prompt":"x"}`)}},
		{texts, "line 1, body.temperature: want 0 to 2", []string{ask("a", texts, `{"model":"m","prompt":"x","temperature":3}`)}},
		{texts, "line 1, body.stream", []string{ask("a", texts, `{"model":"m","prompt":"x","stream":true}`)}},
		{texts, "line 1, body.atoll", []string{ask("a", texts, `{"model":"m","prompt":"x","atoll":{}}`)}},
		{texts, "line 2, body.model", []string{good, ask("b", texts, `{"model":"other","prompt":"x"}`)}},
		{texts, "line 1, more: there is no such field", []string{`{"custom_id":"a","more":1}`}},
		{embed, "line 2, body.encoding_format", []string{ask("a", embed, `{"model":"m","input":"x"}`), ask("b", embed, `{"model":"m","input":"x","encoding_format":"base64"}`)}},
		{texts, "line 2: over", []string{good, strings.Repeat("x", maxBatchLine+1)}},
	} {
		_, err := readBatch(tt.url, tt.lines...)
		if k := core.KindOf(err); err == nil || (k != core.Invalid && k != core.TooLarge) || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%.80v: %v, want %q", tt.lines, err, tt.says)
		}
	}
}

func TestReadBatchRequestRefuses(t *testing.T) {
	t.Parallel()
	for body, field := range map[string]string{
		`{}`:                         "input_file_id",
		`{"input_file_id":"task_1"}`: "input_file_id",
		`{"input_file_id":"file-0000000000001","endpoint":"/v1/images"}`:                                                                                 "endpoint",
		`{"input_file_id":"file-0000000000001","endpoint":"/v1/embeddings","completion_window":"soon"}`:                                                  "completion_window",
		`{"input_file_id":"file-0000000000001","endpoint":"/v1/embeddings","completion_window":"9999h"}`:                                                 "completion_window",
		`{"input_file_id":"file-0000000000001","endpoint":"/v1/embeddings","completion_window":"24h","more":1}`:                                          "more",
		`{"input_file_id":"file-0000000000001","endpoint":"/v1/embeddings","completion_window":"24h","atoll":{"x":1}}`:                                   "atoll.x",
		`{"input_file_id":"file-0000000000001","endpoint":"/v1/embeddings","completion_window":"24h","atoll":{"split":{"lines":99999}}}`:                 "atoll.split.lines",
		`{"input_file_id":"file-0000000000001","endpoint":"/v1/embeddings","completion_window":"24h","metadata":{"` + strings.Repeat("k", 65) + `":""}}`: "metadata",
	} {
		var r openaiwire.BatchRequest
		if err := api.Decode([]byte(body), &r); err != nil {
			t.Fatal(err)
		}
		_, _, err := readBatchRequest(&r)
		if e, ok := err.(*core.Error); !ok || e.Kind != core.Invalid || e.Field != field { //nolint:errorlint // it is not wrapped here
			t.Errorf("%s: %+v, want a refusal of %s", body, err, field)
		}
	}
}

// fakeParts is a hub that has a batch's parts.
type fakeParts struct {
	Hub
	parts   []api.Part
	inputs  []string
	results []string
}

func (f *fakeParts) Parts(_ context.Context, _ request.Viewer, _ core.TaskID, p request.Page) ([]api.Part, string, error) {
	if p.Cursor == "" {
		return f.parts[:1], "1", nil // several pages
	}
	return f.parts[1:], "", nil
}

func (f *fakeParts) PartInput(_ context.Context, _ request.Viewer, _ core.TaskID, part int, w io.Writer) error {
	_, err := io.WriteString(w, f.inputs[part])
	return err
}

func (f *fakeParts) PartResult(_ context.Context, _ request.Viewer, _ core.TaskID, part int, w io.Writer) error {
	_, err := io.WriteString(w, f.results[part])
	return err
}

// A stranger's result takes no more memory than an honest one.
func TestResultsAreBounded(t *testing.T) {
	t.Parallel()
	for size, want := range map[int]error{maxResult: nil, maxResult + 1: errLong} {
		s := &server{hub: &fakeParts{results: []string{strings.Repeat("x", size)}}}
		b, err := s.result(t.Context(), request.Viewer{}, 1, 0)
		if !errors.Is(err, want) || len(b) > maxResult {
			t.Errorf("%d bytes of %d, %v, want %v", len(b), size, err, want)
		}
	}
}

// Each request is told of exactly once, whatever a stranger's result says.
func TestWriteBatch(t *testing.T) {
	t.Parallel()
	good := func(id, text string) string {
		return fmt.Sprintf(`{"id":%q,"text":%q,"finish_reason":"stop","usage":{"prompt_tokens":2,"completion_tokens":3}}`+"\n", id, text)
	}
	const input = "{\"id\":\"a\",\"prompt\":\"x\"}\n{\"id\":\"a\",\"prompt\":\"x\"}\n{\"id\":\"b\",\"prompt\":\"y\"}\n"
	for name, tt := range map[string]struct {
		state, task, result string
		output              string // texts of the answers, by request
		failures            string // codes, by request
	}{
		"all answered":        {"succeeded", "succeeded", good("a", "1") + good("a", "2") + good("b", "3"), "a=1+2 b=3", ""},
		"one refused":         {"succeeded", "succeeded", good("a", "1") + good("a", "2") + `{"id":"b","error":"limit exceeded: the model's context is 8"}` + "\n", "a=1+2", "b=context_length_exceeded"},
		"one of two refused":  {"succeeded", "succeeded", good("a", "1") + `{"id":"a","error":"input refused: no"}` + "\n" + good("b", "3"), "b=3", "a=invalid"},
		"nothing":             {"succeeded", "succeeded", "", "", "a=internal b=internal"},
		"cut short":           {"succeeded", "succeeded", good("a", "1") + good("a", "2"), "a=1+2", "b=internal"},
		"in the wrong order":  {"succeeded", "succeeded", good("b", "3") + good("a", "1") + good("a", "2"), "", "a=internal b=internal"},
		"longer than any":     {"succeeded", "succeeded", good("a", "1") + strings.Repeat("x", maxResult), "", "a=internal b=internal"},
		"not JSON":            {"succeeded", "succeeded", strings.Repeat("\n", 9), "", "a=internal b=internal"},
		"no last line break":  {"succeeded", "succeeded", good("a", "1") + good("a", "2") + strings.TrimSpace(good("b", "3")), "a=1+2 b=3", ""},
		"failed":              {"failed", "failed", "", "", "a=server_error b=server_error"},
		"waited in vain":      {"failed", "expired", "", "", "a=batch_expired b=batch_expired"},
		"cancelled meanwhile": {"cancelled", "cancelled", "", "", "a=batch_cancelled b=batch_cancelled"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			hub := &fakeParts{
				parts:  []api.Part{{Index: 0, State: tt.state}, {Index: 1, State: "succeeded"}},
				inputs: []string{input, "{\"id\":\"c\",\"prompt\":\"z\"}\n"}, results: []string{tt.result, good("c", "4")},
			}
			var output, failures bytes.Buffer
			w := &batchWriter{s: &server{hub: hub}, b: &request.Batch{Endpoint: texts, Each: 2}, t: &api.Task{State: tt.task}, output: &output, failures: &failures}
			if err := w.write(t.Context()); err != nil {
				t.Fatal(err)
			}
			answered, failed := answersOf(t, output.Bytes()), answersOf(t, failures.Bytes())
			if want := strings.TrimSpace(tt.output + " c=4"); strings.Join(answered, " ") != want || strings.Join(failed, " ") != tt.failures {
				t.Errorf("output %v, failures %v", answered, failed)
			}
			if w.done.Completed != len(answered) || w.done.Failed != len(failed) || len(answered)+len(failed) != 3 {
				t.Errorf("%+v", w.done)
			}
		})
	}
}

// answersOf reads id=texts or id=code of each line.
func answersOf(t *testing.T, b []byte) (out []string) {
	t.Helper()
	for line := range bytes.Lines(b) {
		var a struct {
			CustomID string `json:"custom_id"`
			Response struct {
				Body struct {
					openaiwire.ErrorBody
					Choices []openaiwire.TextChoice `json:"choices"`
				} `json:"body"`
			} `json:"response"`
			Error *openaiwire.BatchError `json:"error"`
		}
		if err := json.Unmarshal(bytes.TrimSpace(line), &a); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		var said []string
		for _, c := range a.Response.Body.Choices {
			said = append(said, c.Text)
		}
		switch code := a.Response.Body.Error.Code; {
		case a.Error != nil:
			said = []string{a.Error.Code}
		case code != nil:
			said = []string{*code}
		}
		out = append(out, a.CustomID+"="+strings.Join(said, "+"))
	}
	return out
}

func FuzzReadBatch(f *testing.F) {
	f.Add([]byte(ask("a", texts, `{"model":"m","prompt":["x","y"],"n":3}`)+"\n"+ask("b", texts, `{"model":"m","prompt":"x"}`)), true)
	f.Add([]byte(ask("a", embed, `{"model":"m","input":["x"]}`)), false)
	f.Fuzz(func(t *testing.T, data []byte, complete bool) {
		url := embed
		if complete {
			url = texts
		}
		in, err := readBatch(url, string(data))
		if err != nil {
			if k := core.KindOf(err); k != core.Invalid && k != core.TooLarge && k != core.Unsupported {
				t.Fatalf("%s: %v", data, err)
			}
			return
		}
		asked, err := readAsked(in.data)
		if err != nil || len(asked) != len(in.ends) || !in.fits(1) || in.parts(1)[len(asked)-1] != int64(len(in.data)) {
			t.Fatalf("%s: %d requests, read as %d, %v", data, len(in.ends), len(asked), err)
		}
	})
}
