package app

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"atoll/api"
	"atoll/client"
	"atoll/examples/wasm"
	"atoll/internal/core"
	"atoll/internal/llm/coral"
	"atoll/internal/llm/llmtest"
	"atoll/internal/llm/quant"
)

// Three owners give the same answer to the last bit, drawn at random; one that
// alters it is not paid.
func TestLanguageModelByQuorum(t *testing.T) {
	t.Parallel()
	_, c := startTest(t,
		spec("paris-1", "alice", "FR", 30_000, ""), spec("rome-1", "bob", "IT", 40_000, ""), spec("bonn-1", "carol", "DE", 20_000, "lie=1"))
	file := llmtest.CoralFile(t, quant.Q8_0)
	blob, err := c.PutFile(t.Context(), bytes.NewReader(file), int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.RegisterModel(t.Context(), client.NewModel{Name: "cut", Engine: "llm", Digest: mustPut(t, c, file[:len(file)/2])}); err == nil {
		t.Error("half a model was registered")
	}
	model, err := c.RegisterModel(t.Context(), client.NewModel{Name: "storyteller", Engine: "llm", Digest: blob.Digest})
	if err != nil || !model.Reproducible {
		t.Fatalf("%+v, %v", model, err)
	}
	r, err := c.Submit(t.Context(), &api.TaskSpec{
		Model: model.ID, Input: []api.DataPointer{client.Inline([]byte(`{"prompt":"Once upon a time","max_tokens":50,"temperature":1,"seed":5}`))},
		Verification: &api.Verification{Method: "quorum", Replicas: 3, Agree: 2}, Budget: &api.Budget{MaxCost: core.Credit},
	}, client.SubmitOptions{Wait: 30 * time.Second})
	if err != nil || r.State != "succeeded" {
		t.Fatalf("%s: %s, %v", r.State, r.Reason, err)
	}
	out, err := c.PartResult(t.Context(), r.ID, 0)
	if err != nil || !strings.Contains(string(out), `"completion_tokens":50`) {
		t.Errorf("%s, %v", out, err)
	}
	leases, err := client.Collect(c.Leases(t.Context(), r.ID))
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range leases {
		if want := map[bool]string{true: "rejected", false: "passed"}[l.Node == "bonn-1"]; l.State != want {
			t.Errorf("%s: %s: %s, want %s", l.Node, l.State, l.Reason, want)
		}
	}
}

// A laptop's hub has our own model from its first start on, once, whatever is
// registered under its name afterwards.
func TestOwnModelIsThere(t *testing.T) {
	t.Parallel()
	n, c := startTest(t)
	for range 2 {
		if err := n.Hub.stock(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	models, err := client.Collect(c.Models(t.Context()))
	if err != nil || len(models) != 1 || models[0].ID != "coral@1" || !models[0].Reproducible {
		t.Errorf("%+v, %v", models, err)
	}
	if id := push(t, c, coral.Name, "wasm", wasm.Echo); id != "coral@2" {
		t.Errorf("another model of that name is %s", id)
	}
	if err := n.Hub.stock(t.Context()); err != nil {
		t.Fatal(err)
	}
	if models, err = client.Collect(c.Models(t.Context())); err != nil || len(models) != 2 {
		t.Errorf("%+v, %v", models, err)
	}
}

func mustTask(t *testing.T, id string) core.TaskID {
	t.Helper()
	task, err := core.ParseTaskID(id)
	if err != nil {
		t.Fatal(err)
	}
	return task
}

func mustPut(t *testing.T, c *client.Client, data []byte) core.Digest {
	t.Helper()
	b, err := c.PutBlob(t.Context(), data)
	if err != nil {
		t.Fatal(err)
	}
	return b.Digest
}
