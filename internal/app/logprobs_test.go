package app

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"atoll/api"
	"atoll/client"
	"atoll/internal/core"
	"atoll/internal/engine/openai"
	"atoll/internal/llm/llmtest"
	"atoll/internal/llm/quant"
	"atoll/internal/llm/weights"
)

// Answers of a provider's own server are tested by another owner's reference. Here
// the server is a hub, whose model is, or is not, the one that it is said to be.
func TestReferenceTestsOwnServer(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		change func(id weights.ID, x []float32)
		pass   bool
	}{
		{"honest", nil, true},
		{"a layer less", func(id weights.ID, x []float32) {
			if id.Layer == 3 && (id.Part == weights.AttnOut || id.Part == weights.FFNDown) {
				clear(x)
			}
		}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			far, farClient := startTest(t, spec("rome-1", "bob", "IT", 10_000, ""))
			file := llmtest.CoralFile(t, quant.Q8_0)
			if tt.change != nil {
				file = llmtest.Changed(t, tt.change)
			}
			push(t, farClient, "storyteller", "llm", file)
			node := spec("paris-1", "alice", "FR", 30_000, "")
			node.Engines = []string{"text"}
			node.OpenAI = &openai.Config{URL: far.Hub.URL, Key: far.Hub.AdminKey, Models: map[string]string{"teller": "storyteller@1"}, Check: 20 * time.Millisecond}
			_, c := startTest(t, node, spec("bonn-1", "carol", "DE", 20_000, ""))
			reference := tellerModel(t, c)
			registerUpstream(t, c, "far", "teller", reference.Digest)

			var input strings.Builder
			for i, p := range []string{"It was a fine morning", "She was not", "Mr. Elton", "The whole party"} {
				fmt.Fprintf(&input, `{"id":%d,"prompt":%q,"max_tokens":100}`+"\n", i, p)
			}
			r, err := c.Submit(t.Context(), &api.TaskSpec{
				Model: "far", Input: []api.DataPointer{client.Inline([]byte(input.String()))}, Retry: &api.Retry{MaxAttempts: 1},
				Verification: &api.Verification{Method: "logprobs", Rate: 1}, Budget: &api.Budget{MaxCost: core.Credit},
			}, client.SubmitOptions{Wait: 30 * time.Second})
			if err != nil {
				t.Fatal(err)
			}
			if want := map[bool]string{true: "succeeded", false: "failed"}[tt.pass]; r.State != want {
				t.Errorf("%s: %s, want %s", r.State, r.Reason, want)
			}
			leases, err := client.Collect(c.Leases(t.Context(), r.ID))
			if err != nil || len(leases) < 2 {
				t.Fatalf("%+v, %v", leases, err)
			}
			work, check := leases[0], leases[1]
			if work.Node != "paris-1" || check.Node != "bonn-1" || check.State != "passed" || check.Pay == 0 {
				t.Errorf("work %+v\ncheck %+v", work, check)
			}
			if (work.State == "passed") != tt.pass || (work.Pay > 0) != tt.pass || !strings.Contains(work.Reason, "margin") {
				t.Errorf("%s, paid %s: %s", work.State, work.Pay, work.Reason)
			}
			t.Log(work.Reason)
			nodes, err := client.Collect(c.Nodes(t.Context()))
			if err != nil {
				t.Fatal(err)
			}
			for _, n := range nodes {
				if n.Rejected != 0 {
					t.Errorf("%s is blamed: a test is no proof", n.ID)
				}
			}
			a, err := c.Audit(t.Context())
			if err != nil || !a.OK {
				t.Errorf("%+v, %v", a, err)
			}
		})
	}
}
