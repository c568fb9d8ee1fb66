package app

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"atoll/api"
	"atoll/client"
	"atoll/internal/blob"
	"atoll/internal/core"
	"atoll/internal/engine"
	"atoll/internal/llm/llmtest"
	"atoll/internal/llm/quant"
	"atoll/internal/llm/weights"
	"atoll/internal/openaiwire"
	"atoll/internal/peer"
)

// Of what a line answers, a stage is audited by an owner who has no part in it, and each
// node is paid for the layers that it has computed. A node with other weights is found
// out: nobody is paid for that answer, its own record suffers alone, the line goes on
// without it, and the client gets the true text.
func TestStagesAreAudited(t *testing.T) {
	t.Parallel()
	// The planner fills places in the nodes' order: the second stage is this one's.
	const cheat = core.NodeID("paris-1")
	cheater := spec(string(cheat), "alice", "FR", 30_000, "")
	cheater.wrap = otherWeights(t)
	n, c := startTest(t, cheater, spec("rome-1", "bob", "IT", 30_000, ""), spec("bonn-1", "carol", "DE", 30_000, ""), spec("oslo-1", "dave", "NO", 30_000, ""), spec("wien-1", "erin", "AT", 30_000, ""))
	pushCoral(t, c)
	var whole openaiwire.Text
	if res, failed := post(t, n, "/v1/completions", strings.Replace(story3, "story3", "storyteller", 1)+"}", &whole); res.StatusCode != http.StatusOK {
		t.Fatalf("%s: %+v", res.Status, failed)
	}
	if _, err := c.PutService(t.Context(), "story3", api.ServiceSpec{Model: "storyteller", Pipeline: "3", Terms: api.Terms{
		Verification: &api.Verification{Method: "reexecute", Rate: 1},
	}}); err != nil {
		t.Fatal(err)
	}
	line := lineOf(t, c, func(l *api.Line) bool { return l.State == "ready" })
	holds := slices.ContainsFunc(line.Stages, func(s api.LineStage) bool { return s.Node == cheat })
	if !holds {
		t.Fatalf("%s has no stage: %+v", cheat, line.Stages)
	}
	for range 30 { // the lot picks one of three stages
		var text openaiwire.Text
		if res, failed := post(t, n, "/v1/completions", story3+"}", &text); res.StatusCode != http.StatusOK {
			t.Fatalf("%s: %+v", res.Status, failed)
		}
		leases, err := client.Collect(c.Leases(t.Context(), mustTask(t, text.ID)))
		if err != nil {
			t.Fatal(err)
		}
		if leases[0].State == "passed" { // another stage was looked at, which is honest
			continue
		}
		if leases[0].State != "rejected" || !strings.Contains(leases[0].Reason, string(cheat)+" over") || !strings.Contains(leases[0].Reason, "something else") {
			t.Errorf("%s: %s", leases[0].State, leases[0].Reason)
		}
		if text.Choices[0].Text != whole.Choices[0].Text {
			t.Errorf("in the end: %q, want %q", text.Choices[0].Text, whole.Choices[0].Text)
		}
		honest(t, c, mustTask(t, text.ID), cheat)
		return
	}
	t.Error("30 answers, and the stage with other weights was not found")
}

// honest looks at what became of a task of which the first answer was found wrong.
func honest(t *testing.T, c *client.Client, id core.TaskID, cheat core.NodeID) {
	t.Helper()
	line := lineOf(t, c, func(l *api.Line) bool { return l.State == "ready" })
	for _, s := range line.Stages {
		if s.Node == cheat {
			t.Errorf("%s holds layers again: %+v", cheat, line.Stages)
		}
	}
	nodes, err := client.Collect(c.Nodes(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range nodes {
		if wrong := x.Rejected > 0; wrong != (x.ID == cheat) {
			t.Errorf("%s: %d results found wrong", x.ID, x.Rejected)
		}
	}
	leases, err := client.Collect(c.Leases(t.Context(), id))
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(leases, func(l api.Lease) bool { return l.State == "passed" && strings.Contains(l.Reason, "bit for bit") }) {
		t.Errorf("no answer has passed an audit: %+v", leases)
	}
	eventually(t, func() string { // three stages are paid, and who has audited them
		nodes, err := client.Collect(c.Nodes(t.Context()))
		if err != nil {
			t.Fatal(err)
		}
		paid := 0
		for _, x := range nodes {
			if x.Earned > 0 {
				paid++
			}
		}
		return fmt.Sprint(paid > 3)
	}, "true")
	a, err := c.Audit(t.Context())
	if err != nil || !a.OK {
		t.Errorf("%+v, %v", a, err)
	}
}

// otherWeights has the layers that a node holds for others loaded from another file, as
// an owner could who would rather compute less.
func otherWeights(t *testing.T) func(engine.Engine) engine.Engine {
	t.Helper()
	changed := llmtest.Changed(t, func(_ weights.ID, x []float32) {
		for i := range x {
			x[i] *= 1.02
		}
	})
	m, err := weights.FromGGUF("changed", bytes.NewReader(changed), int64(len(changed)))
	if err != nil {
		t.Fatal(err)
	}
	var file bytes.Buffer
	if err := m.Export(t.Context(), &file, quant.Q8_0); err != nil {
		t.Fatal(err)
	}
	return func(e engine.Engine) engine.Engine {
		if s, ok := e.(engine.Sharer); ok {
			return &cheating{s, file.Bytes()}
		}
		return e
	}
}

// cheating is an engine that has another model's file than it should.
type cheating struct {
	engine.Sharer
	file []byte
}

func (c *cheating) Join(n engine.Neighbours) map[string]peer.Handler {
	n.Fetch = func(context.Context, core.Digest, int64) (engine.ModelFile, error) {
		return otherFile{bytes.NewReader(c.file)}, nil
	}
	return c.Sharer.Join(n)
}

type otherFile struct{ *bytes.Reader }

func (otherFile) Ensure(context.Context, ...blob.Range) error { return nil }
func (otherFile) Close()                                      {}
