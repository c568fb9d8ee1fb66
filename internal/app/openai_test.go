package app

import (
	"bytes"
	"context"
	stdjson "encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"golang.org/x/sync/errgroup"

	"atoll/api"
	"atoll/client"
	"atoll/internal/core"
	"atoll/internal/llm/llmtest"
	"atoll/internal/llm/quant"
	"atoll/internal/openaiwire"
)

// pushCoral registers our own small language model.
func pushCoral(t *testing.T, c *client.Client) {
	t.Helper()
	push(t, c, "storyteller", "llm", llmtest.CoralFile(t, quant.Q8_0))
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
	pushCoral(t, c)

	var text openaiwire.Text
	res, failed := post(t, n, "/v1/completions", `{"model":"storyteller","prompt":"Once upon a time","max_tokens":30,"temperature":0,"user":"x","logprobs":2,"atoll":{"residency":["EU"]}}`, &text)
	if res.StatusCode != http.StatusOK {
		t.Fatalf("%s: %+v", res.Status, failed)
	}
	const golden = " of the world, and the other, and the sight of the future"
	if len(text.Choices) != 1 || !strings.HasPrefix(text.Choices[0].Text, golden) || *text.Choices[0].FinishReason != "length" || text.Usage.CompletionTokens != 30 || text.Model != "storyteller@1" {
		t.Errorf("%+v", text)
	}
	if l := text.Choices[0].Logprobs; l == nil || strings.Join(l.Tokens, "") != text.Choices[0].Text || len(l.TopLogprobs[0]) != 2 {
		t.Errorf("logprobs %+v", text.Choices[0].Logprobs)
	}
	if text.ID != res.Header.Get("Atoll-Task") {
		t.Errorf("id %s, task %s", text.ID, res.Header.Get("Atoll-Task"))
	}
	leases, err := client.Collect(c.Leases(t.Context(), mustTask(t, text.ID)))
	if err != nil || len(leases) != 1 || leases[0].Node == "ohio-1" || leases[0].Receipt == "" {
		t.Errorf("%+v, %v", leases, err)
	}

	var chats [2]openaiwire.Chat
	for i := range chats {
		res, failed = post(t, n, "/v1/chat/completions", `{"model":"storyteller@1","messages":[{"role":"user","content":[{"type":"text","text":"Tell me"}]}],"max_completion_tokens":12,"seed":7,"n":2,"logprobs":true,"atoll":{"params":{"template":"chatml"}}}`, &chats[i])
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

// A stream has the same text as the answer at once, in pieces.
func TestOpenAIStream(t *testing.T) {
	t.Parallel()
	n, c := startTest(t, spec("paris-1", "alice", "FR", 30_000, ""), spec("rome-1", "bob", "IT", 40_000, ""), spec("ohio-1", "erin", "US", 10_000, ""))
	pushCoral(t, c)
	for name, own := range map[string]string{"one lease": `{}`, "a quorum": `{"verification":{"method":"quorum","replicas":3}}`} {
		body := `{"model":"storyteller","prompt":"Once upon a time","max_tokens":200,"seed":3,"n":2,"logprobs":1,"atoll":` + own
		var whole openaiwire.Text
		if res, failed := post(t, n, "/v1/completions", body+`}`, &whole); res.StatusCode != http.StatusOK {
			t.Fatalf("%s: %+v", res.Status, failed)
		}
		var text, tokens [2]string
		var usage *openaiwire.Usage
		pieces := 0
		for event, err := range stream(t, n, "/v1/completions", body+`,"stream":true,"stream_options":{"include_usage":true}}`) {
			if err != nil {
				t.Fatal(err)
			}
			var chunk openaiwire.Text
			if err := json.Unmarshal(event, &chunk); err != nil {
				t.Fatalf("%s: %v", event, err)
			}
			for _, choice := range chunk.Choices {
				text[choice.Index] += choice.Text
				if l := choice.Logprobs; l != nil {
					tokens[choice.Index] += strings.Join(l.Tokens, "")
				}
				if tokens[choice.Index] != text[choice.Index] {
					t.Fatalf("%s: %q is there, and the logprobs of %q", name, text[choice.Index], tokens[choice.Index])
				}
			}
			usage = chunk.Usage
			pieces++
		}
		for i := range text {
			if text[i] != whole.Choices[i].Text || tokens[i] != text[i] {
				t.Errorf("%s: streamed %q of %q, the answer is %q", name, text[i], tokens[i], whole.Choices[i].Text)
			}
		}
		if usage == nil || *usage != *whole.Usage {
			t.Errorf("%s: usage %+v, want %+v", name, usage, whole.Usage)
		}
		t.Logf("%s: %d events", name, pieces)
	}
}

// textOf reads events of one plain completion until done says so of the text, or to
// the end.
func textOf(t *testing.T, next func() ([]byte, error, bool), done func(text string) bool) (text, id string) {
	t.Helper()
	for !done(text) {
		event, err, ok := next()
		if !ok {
			break
		}
		if err != nil {
			t.Fatalf("after %q: %v", text, err)
		}
		var chunk openaiwire.Text
		if err := json.Unmarshal(event, &chunk); err != nil || len(chunk.Choices) != 1 {
			t.Fatalf("%s: %v", event, err)
		}
		text += chunk.Choices[0].Text
		id = chunk.ID
	}
	return text, id
}

const story = `{"model":"storyteller","prompt":"Once upon a time","max_tokens":40,"temperature":0,"stream":true,"atoll":{"disconnect":{"lost_after":"1s"}}}`

// The node that has begun an answer dies. Another one computes the same again, and
// the stream goes on as if nothing had been.
func TestOpenAIStreamOutlivesItsNode(t *testing.T) {
	t.Parallel()
	n, c := startTest(t, spec("paris-1", "alice", "FR", 10_000, "delay=1h"), spec("rome-1", "bob", "IT", 40_000, ""))
	pushCoral(t, c)
	next, stop := iter.Pull2(stream(t, n, "/v1/completions", story))
	defer func() { stop() }()
	begun, id := textOf(t, next, func(text string) bool { return text != "" })
	for ranOn(t, c, id) != "paris-1" { // now and then the market tries a newcomer
		stop()
		next, stop = iter.Pull2(stream(t, n, "/v1/completions", story))
		begun, id = textOf(t, next, func(text string) bool { return text != "" })
	}
	if task, err := c.Task(t.Context(), mustTask(t, id)); err != nil || task.Ended() {
		t.Fatalf("%+v, %v: want the beginning before the end", task, err)
	}
	if err := n.Kill("paris-1"); err != nil {
		t.Fatal(err)
	}
	rest, _ := textOf(t, next, func(string) bool { return false })
	var whole openaiwire.Text
	if res, failed := post(t, n, "/v1/completions", strings.Replace(story, `"stream":true,`, "", 1), &whole); res.StatusCode != http.StatusOK {
		t.Fatalf("%s: %+v", res.Status, failed)
	}
	if begun+rest != whole.Choices[0].Text {
		t.Errorf("streamed %q and %q, the answer is %q", begun, rest, whole.Choices[0].Text)
	}
	leases, err := client.Collect(c.Leases(t.Context(), mustTask(t, id)))
	if err != nil || len(leases) != 2 || leases[1].Node != "rome-1" {
		t.Errorf("%+v, %v", leases, err)
	}
}

// ranOn is the node of a task's first lease.
func ranOn(t *testing.T, c *client.Client, id string) core.NodeID {
	t.Helper()
	leases, err := client.Collect(c.Leases(t.Context(), mustTask(t, id)))
	if err != nil || len(leases) == 0 {
		t.Fatalf("%+v, %v", leases, err)
	}
	return leases[0].Node
}

// Nobody reads the answer any more: its task ends.
func TestOpenAIHangUp(t *testing.T) {
	t.Parallel()
	n, c := startTest(t, spec("paris-1", "alice", "FR", 10_000, "delay=1h"))
	pushCoral(t, c)
	next, stop := iter.Pull2(stream(t, n, "/v1/completions", story))
	_, id := textOf(t, next, func(text string) bool { return text != "" })
	stop()
	for {
		task, err := c.Task(t.Context(), mustTask(t, id))
		if err != nil {
			t.Fatal(err)
		}
		if task.Ended() {
			if task.State != "cancelled" {
				t.Errorf("%s: %s", task.State, task.Reason)
			}
			return
		}
	}
}

// A node sends one beginning and reports another answer: the client hears of it.
func TestOpenAIContradicted(t *testing.T) {
	t.Parallel()
	n, c := startTest(t, spec("paris-1", "alice", "FR", 10_000, "lie=1,delay=2s"))
	pushCoral(t, c)
	var last []byte
	var cut error
	for event, err := range stream(t, n, "/v1/completions", story) {
		if err != nil {
			cut = err
			break
		}
		last = bytes.Clone(event)
	}
	var failed openaiwire.ErrorBody
	if err := json.Unmarshal(last, &failed); err != nil || failed.Error.Type != openaiwire.ServerError || !errors.Is(cut, openaiwire.ErrCut) {
		t.Errorf("%s, %v, %v", last, cut, err)
	}
}

// What is served is loaded before the first request, by one of those that it may go
// to.
func TestServedModelIsLoadedAhead(t *testing.T) {
	t.Parallel()
	_, c := startTest(t, spec("paris-1", "alice", "FR", 30_000, ""), spec("rome-1", "bob", "IT", 30_000, ""), spec("ohio-1", "erin", "US", 10_000, ""))
	pushCoral(t, c)
	if _, err := c.PutService(t.Context(), "bard", api.ServiceSpec{Model: "storyteller", Terms: api.Terms{Residency: []string{"EU"}}}); err != nil {
		t.Fatal(err)
	}
	got := eventually(t, func() string {
		offers, err := client.Collect(c.Offers(t.Context(), client.OfferQuery{}))
		if err != nil {
			t.Fatal(err)
		}
		var where []string
		for _, o := range offers {
			if slices.Contains(o.Loaded, "storyteller@1") {
				where = append(where, string(o.Node))
			}
		}
		return strings.Join(where, " ")
	}, "-1")
	if got != "paris-1" && got != "rome-1" {
		t.Errorf("loaded on %s, want one of the two nodes in the EU", got)
	}
}

// A service is a name with terms for those who say nothing else.
func TestServices(t *testing.T) {
	t.Parallel()
	n, c := startTest(t, spec("paris-1", "alice", "FR", 30_000, ""), spec("ohio-1", "erin", "US", 10_000, ""))
	pushCoral(t, c)
	terms := api.Terms{Residency: []string{"EU"}, Params: map[string]stdjson.RawMessage{"template": []byte(`"chatml"`), "profile": []byte(`"f32"`)}}
	if _, err := c.PutService(t.Context(), "bard", api.ServiceSpec{Model: "none", Terms: terms}); err == nil {
		t.Error("a model that there is not is served")
	}
	if _, err := c.PutService(t.Context(), "bard", api.ServiceSpec{Model: "storyteller", Terms: api.Terms{Residency: []string{"XX"}}}); err == nil {
		t.Error("terms are not checked")
	}
	if _, err := c.PutService(t.Context(), "bard", api.ServiceSpec{Model: "storyteller", Terms: api.Terms{Callback: &api.Callback{URL: "https://example.com/"}}}); err == nil || !strings.Contains(err.Error(), "callback") {
		t.Errorf("a service hears of other accounts' tasks: %v", err)
	}
	s, err := c.PutService(t.Context(), "bard", api.ServiceSpec{Model: "storyteller", Terms: terms})
	if err != nil || s.Model != "storyteller@1" || s.Owner != "admin" {
		t.Fatalf("%+v, %v", s, err)
	}
	const ask = `{"model":"bard","messages":[{"role":"user","content":"Hello"}],"max_tokens":5`
	for more, want := range map[string]core.NodeID{`}`: "paris-1", `,"atoll":{"residency":["US"]}}`: "ohio-1"} {
		var chat openaiwire.Chat
		if res, failed := post(t, n, "/v1/chat/completions", ask+more, &chat); res.StatusCode != http.StatusOK {
			t.Fatalf("%s: %+v", res.Status, failed)
		}
		leases, err := client.Collect(c.Leases(t.Context(), mustTask(t, chat.ID)))
		if err != nil || len(leases) != 1 || leases[0].Node != want {
			t.Errorf("%s: %+v, %v, want %s", more, leases, err, want)
		}
	}
	models, err := client.Collect(c.Models(t.Context()))
	if err != nil || len(models) != 2 || models[0].ID+models[1].ID != "storyteller@1bard" && models[0].ID+models[1].ID != "bardstoryteller@1" {
		t.Errorf("%+v, %v", models, err)
	}
	if _, err := c.CreateAccount(t.Context(), "mallory", core.Credit, ""); err != nil {
		t.Fatal(err)
	}
	key, err := c.CreateKey(t.Context(), "mallory", "requester")
	if err != nil {
		t.Fatal(err)
	}
	mallory, err := client.New(client.Config{URL: n.Hub.URL, Key: key.Secret})
	if err != nil {
		t.Fatal(err)
	}
	defer mallory.Close()
	for _, name := range []string{"bard", "storyteller"} {
		if _, err := mallory.PutService(t.Context(), name, api.ServiceSpec{Model: "storyteller"}); err == nil {
			t.Errorf("%s is taken over by a stranger", name)
		}
	}
	if err := mallory.DeleteService(t.Context(), "bard"); err == nil {
		t.Error("a stranger ends a service")
	}
	if err := c.DeleteService(t.Context(), "bard"); err != nil {
		t.Error(err)
	}
	if res, failed := post(t, n, "/v1/chat/completions", ask+"}", nil); res.StatusCode != http.StatusNotFound || *failed.Code != "model_not_found" {
		t.Errorf("%s, %+v", res.Status, failed)
	}
}

// Many clients at once, some of whom ask the impossible or go away in the middle:
// each of the others has its own answer.
func TestOpenAIManyClients(t *testing.T) {
	t.Parallel()
	n, c := startTest(t, spec("paris-1", "alice", "FR", 100, ""), spec("rome-1", "bob", "IT", 100, ""))
	pushCoral(t, c)
	const clients = 1000
	var g errgroup.Group
	texts := make([]string, clients)
	for i := range clients {
		body := fmt.Sprintf(`{"model":"storyteller","prompt":"Once upon a time","max_tokens":12,"seed":%d,"stream":true,"atoll":{"budget":{"max_cost":"0.01"}}}`, i%4)
		g.Go(func() error {
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			ask := body
			if i%10 == 9 {
				ask = `{"model":"storyteller","prompt":"` + strings.Repeat("long ", 3000) + `","atoll":{"budget":{"max_cost":"0.01"}}}`
			}
			req, err := http.NewRequestWithContext(ctx, http.MethodPost, n.Hub.URL+"/v1/completions", strings.NewReader(ask))
			if err != nil {
				return err
			}
			req.Header.Set("Authorization", "Bearer "+n.Hub.AdminKey)
			res, err := http.DefaultClient.Do(req)
			if err != nil {
				return err
			}
			defer res.Body.Close()
			if want := map[bool]int{true: http.StatusBadRequest, false: http.StatusOK}[i%10 == 9]; res.StatusCode != want {
				return fmt.Errorf("client %d: %s, want %d", i, res.Status, want)
			}
			if i%10 >= 8 { // 9 has had its answer, 8 does not want it
				return nil
			}
			for event, err := range openaiwire.Events(res.Body) {
				if err != nil {
					return fmt.Errorf("client %d: %w", i, err)
				}
				var chunk openaiwire.Text
				if err := json.Unmarshal(event, &chunk); err != nil || len(chunk.Choices) != 1 {
					return fmt.Errorf("client %d: %s: %w", i, event, err)
				}
				texts[i] += chunk.Choices[0].Text
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	bySeed := map[int]string{}
	for i, text := range texts {
		if i%10 >= 8 {
			continue
		}
		if want, ok := bySeed[i%4]; ok && text != want {
			t.Errorf("client %d has %q, another one with its seed %q", i, text, want)
		}
		bySeed[i%4] = text
	}
	if len(bySeed) != 4 || bySeed[0] == bySeed[1] {
		t.Errorf("%v", bySeed)
	}
}

// What is too much is refused in OpenAI's form.
func TestOpenAIBounds(t *testing.T) {
	t.Parallel()
	n, _ := startTest(t, spec("paris-1", "alice", "FR", 100, ""))
	deep := strings.Repeat(`{"a":`, 20_000) + "1" + strings.Repeat("}", 20_000)
	for name, tt := range map[string]struct {
		body string
		want int
	}{
		"a huge body":  {`{"model":"m","prompt":"` + strings.Repeat("x", 9<<20) + `"}`, http.StatusRequestEntityTooLarge},
		"deep JSON":    {`{"model":"m","prompt":"x","metadata":` + deep + `}`, http.StatusBadRequest},
		"no JSON":      {`model=m`, http.StatusBadRequest},
		"half of it":   {`{"model":"m","prompt":"x`, http.StatusBadRequest},
		"twice":        {`{"model":"m","model":"n","prompt":"x"}`, http.StatusBadRequest},
		"no UTF-8":     {"{\"model\":\"m\",\"prompt\":\"\xff\"}", http.StatusBadRequest},
		"many answers": {`{"model":"m","prompt":"x","n":1000000}`, http.StatusBadRequest},
	} {
		for _, path := range []string{"/v1/completions", "/v1/chat/completions", "/v1/embeddings"} {
			res, e := post(t, n, path, tt.body, nil)
			if res.StatusCode != tt.want || e.Type != openaiwire.InvalidRequest || e.Message == "" || e.Code == nil {
				t.Errorf("%s to %s: %s, %+v", name, path, res.Status, e)
			}
		}
	}
}

func TestOpenAIEmbeddings(t *testing.T) {
	t.Parallel()
	n, c := startTest(t, spec("paris-1", "alice", "FR", 30_000, ""), spec("rome-1", "bob", "IT", 40_000, ""), spec("ohio-1", "erin", "US", 10_000, ""))
	pushCoral(t, c)
	var float, base64 openaiwire.Embeddings
	const ask = `{"model":"storyteller","input":["The cat","The dog"],"atoll":{"verification":{"method":"quorum","replicas":3}}`
	if res, failed := post(t, n, "/v1/embeddings", ask+`}`, &float); res.StatusCode != http.StatusOK {
		t.Fatalf("%s: %+v", res.Status, failed)
	}
	if res, failed := post(t, n, "/v1/embeddings", ask+`,"encoding_format":"base64"}`, &base64); res.StatusCode != http.StatusOK {
		t.Fatalf("%s: %+v", res.Status, failed)
	}
	for i := range float.Data {
		a, b := float.Data[i].Embedding, base64.Data[i].Embedding
		if len(a.Values) != 128 || a.Base64 || !b.Base64 || !slices.Equal(a.Values, b.Values) || float.Data[i].Index != i {
			t.Errorf("%+v, %+v", a, b)
		}
	}
	if len(float.Data) != 2 || slices.Equal(float.Data[0].Embedding.Values, float.Data[1].Embedding.Values) || float.Usage.PromptTokens == 0 {
		t.Errorf("%+v", float)
	}
}

// stream sends a request and reads the events of the answer.
func stream(t *testing.T, n *Network, path, body string) iter.Seq2[[]byte, error] {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, n.Hub.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+n.Hub.AdminKey)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if got := res.Header.Get("Content-Type"); res.StatusCode != http.StatusOK || got != "text/event-stream" {
		t.Fatalf("%s, %s", res.Status, got)
	}
	return func(yield func([]byte, error) bool) {
		defer res.Body.Close()
		openaiwire.Events(res.Body)(yield)
	}
}

func TestOpenAIErrors(t *testing.T) {
	t.Parallel()
	n, c := startTest(t, spec("paris-1", "alice", "FR", 30_000, ""))
	pushCoral(t, c)
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
		{"/v1/completions", `{"model":"storyteller","prompt":` + string(long) + `}`, 400, "", "context_length_exceeded"},
		{"/v1/completions", `{"model":"storyteller","prompt":"x","echo":true}`, 400, "echo", "invalid"},
		{"/v1/chat/completions", `{"model":"storyteller","messages":[{"role":"user","content":"x"}],"tools":[{}]}`, 400, "tools", "invalid"},
		{"/v1/chat/completions", `{"model":"storyteller","messages":[{"role":"king","content":"x"}],"atoll":{"params":{"template":"chatml"}}}`, 400, "", "invalid"},
		{"/v1/chat/completions", `{"model":"storyteller","messages":[{"role":"user","content":"x"}],"atoll":{"residency":["XX"]}}`, 400, "atoll.residency", "invalid"},
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
