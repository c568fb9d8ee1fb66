package app

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"atoll/api"
	"atoll/client"
	"atoll/internal/core"
	"atoll/internal/engine/openai"
)

// One hub's models are an offer at another: the provider there is a client here.
func TestAnotherHubAsOwnServer(t *testing.T) {
	t.Parallel()
	far, farClient := startTest(t, spec("rome-1", "bob", "IT", 10_000, ""))
	teller := tellerModel(t, farClient)

	node := spec("paris-1", "alice", "FR", 30_000, "")
	node.Engines = []string{"text"}
	node.OpenAI = &openai.Config{URL: far.Hub.URL, Key: far.Hub.AdminKey, Models: map[string]string{"teller": teller.ID}, Check: 20 * time.Millisecond}
	_, c := startTest(t, node, spec("bonn-1", "carol", "DE", 20_000, ""))

	reference := tellerModel(t, c)
	model := registerUpstream(t, c, "far", "teller", reference.Digest)
	if model.Upstream != "teller" || model.Reference != reference.Digest || model.Reproducible {
		t.Errorf("%+v", model)
	}
	ask := func(model string, method *api.Verification) (api.SubmitReply, error) {
		return c.Submit(t.Context(), &api.TaskSpec{
			Model: model, Input: []api.DataPointer{client.Inline([]byte(`{"id":7,"prompt":"Once upon a time","max_tokens":20,"logprobs":1}`))},
			Verification: method, Budget: &api.Budget{MaxCost: core.Credit},
		}, client.SubmitOptions{Wait: 30 * time.Second})
	}
	r, err := ask("far", nil)
	if err != nil || r.State != "succeeded" {
		t.Fatalf("%s: %s, %v", r.State, r.Reason, err)
	}
	got, err := c.PartResult(t.Context(), r.ID, 0)
	if err != nil {
		t.Fatal(err)
	}
	here, err := ask(reference.ID, nil)
	if err != nil {
		t.Fatal(err)
	}
	want, err := c.PartResult(t.Context(), here.ID, 0)
	if err != nil {
		t.Fatal(err)
	}
	// The same model at the end of either way says the same.
	said := func(b []byte) string {
		var line struct {
			Text string `json:"text"`
		}
		if err := json.Unmarshal(b, &line); err != nil || line.Text == "" {
			t.Errorf("%s: %v", b, err)
		}
		return line.Text
	}
	if said(got) != said(want) || !strings.Contains(string(got), `"completion_tokens":20`) || strings.Count(string(got), `"logprob":`) != 20 {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if _, err := ask("far", &api.Verification{Method: "quorum", Replicas: 2, Agree: 2}); err == nil || !strings.Contains(err.Error(), "same bytes twice") {
		t.Errorf("a quorum over what is not reproducible: %v", err)
	}

	registerUpstream(t, c, "nowhere", "other:70b", core.Digest{})
	lost, err := c.Submit(t.Context(), &api.TaskSpec{Model: "nowhere", Input: []api.DataPointer{client.Inline([]byte(`{"prompt":"x"}`))}}, client.SubmitOptions{})
	if err != nil {
		t.Fatal(err)
	}
	told := eventually(t, func() string { task, _ := c.Task(t.Context(), lost.ID); return task.Reason }, "does not")
	if !strings.Contains(told, "does not have the model other:70b, only teller") && !strings.Contains(told, "does not run engine openai") {
		t.Errorf("why nobody does it: %s", told)
	}
	if _, err := c.RegisterModel(t.Context(), client.NewModel{Name: "bad", Engine: "openai", Digest: mustPut(t, c, mustEncode(t, "x", core.Digest{1}))}); err == nil || !strings.Contains(err.Error(), "no registered model") {
		t.Errorf("a reference that is not there: %v", err)
	}
}

// A server that goes away takes its offer along, and the node says why.
func TestOwnServerGoesAway(t *testing.T) {
	t.Parallel()
	far, farClient := startTest(t, spec("rome-1", "bob", "IT", 10_000, ""))
	tellerModel(t, farClient)
	node := spec("paris-1", "alice", "FR", 30_000, "")
	node.Engines = []string{"text"}
	node.OpenAI = &openai.Config{URL: far.Hub.URL, Key: far.Hub.AdminKey, Check: 20 * time.Millisecond}
	_, c := startTest(t, node)
	offered := func() string {
		nodes, err := client.Collect(c.Nodes(t.Context()))
		if err != nil || len(nodes) != 1 {
			return ""
		}
		return strings.Join(nodes[0].Upstreams, ",") + "; " + nodes[0].Trouble
	}
	eventually(t, offered, "storyteller@1; ")
	if err := far.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, offered, "; OpenAI-compatible server: the server cannot be reached")
}

// eventually waits until what get returns contains want.
func eventually(t *testing.T, get func() string, want string) (got string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for ticks := time.NewTicker(10 * time.Millisecond); ; {
		if got = get(); strings.Contains(got, want) {
			return got
		}
		select {
		case <-ticks.C:
		case <-ctx.Done():
			t.Fatalf("still %q, want %q", got, want)
		}
	}
}

func tellerModel(t *testing.T, c *client.Client) api.Model {
	t.Helper()
	pushCoral(t, c)
	m, err := c.Model(t.Context(), "storyteller")
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func mustEncode(t *testing.T, upstream string, reference core.Digest) []byte {
	t.Helper()
	b, err := openai.Encode(upstream, reference)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func registerUpstream(t *testing.T, c *client.Client, name, upstream string, reference core.Digest) api.Model {
	t.Helper()
	m, err := c.RegisterModel(t.Context(), client.NewModel{Name: name, Engine: "openai", Digest: mustPut(t, c, mustEncode(t, upstream, reference))})
	if err != nil {
		t.Fatal(err)
	}
	return m
}
