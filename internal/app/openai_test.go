package app

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"atoll/client"
	"atoll/internal/llm/quant"
	"atoll/internal/llm/weights"
	"atoll/internal/openaiwire"
)

// pushStories registers a small language model, in Q8_0, as "stories".
func pushStories(t *testing.T, c *client.Client) {
	t.Helper()
	const dir = "../llm/testdata/stories260k/"
	m, err := weights.Open(dir+"stories260K.bin", weights.Options{Tokenizer: dir + "tok512.bin"})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	var file bytes.Buffer
	if err := m.Export(t.Context(), &file, quant.Q8_0); err != nil {
		t.Fatal(err)
	}
	push(t, c, "stories", "llm", file.Bytes())
}

// post sends a request as an OpenAI client does and reads the answer into out, if
// it is a success, and the error otherwise.
func post(t *testing.T, n *Network, path, body string, out any) (*http.Response, openaiwire.Error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, n.Hub.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+n.Hub.AdminKey)
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	var failed openaiwire.ErrorBody
	if res.StatusCode == http.StatusOK {
		err = json.Unmarshal(data, out)
	} else {
		err = json.Unmarshal(data, &failed)
	}
	if err != nil {
		t.Fatalf("%s: %s: %v", path, data, err)
	}
	return res, failed.Error
}

// What an OpenAI client asks is an ordinary task, with a receipt.
func TestOpenAICompletions(t *testing.T) {
	t.Parallel()
	n, c := startTest(t, spec("paris-1", "alice", "FR", 30_000, ""), spec("rome-1", "bob", "IT", 40_000, ""), spec("ohio-1", "erin", "US", 10_000, ""))
	pushStories(t, c)

	var text openaiwire.Text
	res, failed := post(t, n, "/v1/completions", `{"model":"stories","prompt":"Once upon a time","max_tokens":30,"temperature":0,"user":"x","logprobs":2,"atoll":{"residency":["EU"]}}`, &text)
	if res.StatusCode != http.StatusOK {
		t.Fatalf("%s: %+v", res.Status, failed)
	}
	const golden = ", there was a little girl named Lily. She loved to play outside in the park."
	if len(text.Choices) != 1 || !strings.HasPrefix(text.Choices[0].Text, golden[:40]) || *text.Choices[0].FinishReason != "length" || text.Usage.CompletionTokens != 30 || text.Model != "stories@1" {
		t.Errorf("%+v", text)
	}
	if l := text.Choices[0].Logprobs; l == nil || strings.Join(l.Tokens, "") != text.Choices[0].Text || len(l.TopLogprobs[0]) != 2 {
		t.Errorf("logprobs %+v", text.Choices[0].Logprobs)
	}
	if text.ID != res.Header.Get("Atoll-Task") {
		t.Errorf("id %s, task %s", text.ID, res.Header.Get("Atoll-Task"))
	}
	leases, err := client.Collect(c.Leases(t.Context(), mustTask(t, text.ID)))
	if err != nil || len(leases) != 1 || leases[0].Node != "paris-1" || leases[0].Receipt == "" {
		t.Errorf("%+v, %v", leases, err)
	}

	var chats [2]openaiwire.Chat
	for i := range chats {
		res, failed = post(t, n, "/v1/chat/completions", `{"model":"stories@1","messages":[{"role":"user","content":[{"type":"text","text":"Tell me"}]}],"max_completion_tokens":12,"seed":7,"n":2,"logprobs":true,"atoll":{"params":{"template":"chatml"}}}`, &chats[i])
		if res.StatusCode != http.StatusOK {
			t.Fatalf("%s: %+v", res.Status, failed)
		}
	}
	a, b := &chats[0], &chats[1]
	if len(a.Choices) != 2 || a.Choices[0].Message.Content == a.Choices[1].Message.Content || a.Usage.CompletionTokens != 24 {
		t.Errorf("%+v", a)
	}
	if a.Choices[0].Message.Content != b.Choices[0].Message.Content || a.SystemFingerprint != b.SystemFingerprint || a.ID == b.ID {
		t.Errorf("the same seed: %+v and %+v", a, b)
	}
}

func TestOpenAIErrors(t *testing.T) {
	t.Parallel()
	n, c := startTest(t, spec("paris-1", "alice", "FR", 30_000, ""))
	pushStories(t, c)
	long, err := json.Marshal(strings.Repeat("one day ", 600))
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		path, body  string
		status      int
		param, code string
	}{
		{"/v1/completions", `{"model":"none","prompt":"x"}`, 404, "model", "model_not_found"},
		{"/v1/completions", `{"model":"stories","prompt":` + string(long) + `}`, 400, "", "context_length_exceeded"},
		{"/v1/completions", `{"model":"stories","prompt":"x","echo":true}`, 400, "echo", "invalid"},
		{"/v1/chat/completions", `{"model":"stories","messages":[{"role":"user","content":"x"}],"tools":[{}]}`, 400, "tools", "invalid"},
		{"/v1/chat/completions", `{"model":"stories","messages":[{"role":"king","content":"x"}],"atoll":{"params":{"template":"chatml"}}}`, 400, "", "invalid"},
		{"/v1/chat/completions", `{"model":"stories","messages":[{"role":"user","content":"x"}],"atoll":{"residency":["XX"]}}`, 400, "atoll.residency", "invalid"},
		{"/v1/chat/completions", `{"model":`, 400, "model", "invalid"},
	}
	for _, tt := range tests {
		res, e := post(t, n, tt.path, tt.body, nil)
		param, code := "", ""
		if e.Param != nil {
			param = *e.Param
		}
		if e.Code != nil {
			code = *e.Code
		}
		if res.StatusCode != tt.status || param != tt.param || code != tt.code || e.Type != "invalid_request_error" || res.Header.Get("X-Request-Id") == "" {
			t.Errorf("%.100s: %s, param %q, code %q: %+v", tt.body, res.Status, param, code, e)
		}
	}
}
