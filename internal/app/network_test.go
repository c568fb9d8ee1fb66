package app

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/trace/noop"

	"atoll/api"
	"atoll/client"
	"atoll/examples/wasm"
	"atoll/internal/core"
	enginewasm "atoll/internal/engine/wasm"
	"atoll/internal/node/sandbox"
)

func TestMain(m *testing.M) {
	sandbox.MaybeWorker(enginewasm.Worker())
	untilSignalHelper()
	os.Exit(m.Run())
}

func startTest(t *testing.T, nodes ...NodeSpec) (*Network, *client.Client) {
	t.Helper()
	n, err := StartNetwork(t.Context(), HubConfig{Dir: t.TempDir(), Listen: "127.0.0.1:0", Relayed: 32, Log: testLog(t), Tracer: noop.NewTracerProvider().Tracer(""), NoSync: true}, nodes)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	c, err := client.New(client.Config{URL: n.Hub.URL, Key: n.Hub.AdminKey})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	if _, err := c.Credit(t.Context(), "admin", 1000*core.Credit, "", "test"); err != nil {
		t.Fatal(err)
	}
	return n, c
}

func spec(name, owner, country string, price core.Money, faults string) NodeSpec {
	return NodeSpec{Name: core.NodeID(name), Owner: core.AccountID(owner), Country: country, Price: price, Slots: 1, Faults: faults}
}

func push(t *testing.T, c *client.Client, name, engine string, data []byte) string {
	t.Helper()
	b, err := c.PutBlob(t.Context(), data)
	if err != nil {
		t.Fatal(err)
	}
	m, err := c.RegisterModel(t.Context(), client.NewModel{Name: name, Engine: engine, Digest: b.Digest})
	if err != nil {
		t.Fatal(err)
	}
	return m.ID
}

// The whole way: HTTP, market, bus, sandboxed child, receipt, verdict, log, pay.
func TestWholeWay(t *testing.T) {
	t.Parallel()
	_, c := startTest(t,
		spec("paris-1", "alice", "FR", 30_000, ""), spec("rome-1", "bob", "IT", 40_000, ""),
		spec("bonn-1", "carol", "DE", 20_000, "lie=1"), spec("ohio-1", "erin", "US", 10_000, ""))
	model := push(t, c, "echo", "wasm", wasm.Echo)
	var in strings.Builder
	for i := range 20 {
		fmt.Fprintf(&in, "line %d\n", i)
	}
	r, err := c.Submit(t.Context(), &api.TaskSpec{
		Model: model, Input: []api.DataPointer{client.Inline([]byte(in.String()))}, Split: &api.Split{Lines: 2}, Residency: []string{"EU"},
		Verification: &api.Verification{Method: "quorum", Replicas: 3, Agree: 2}, Budget: &api.Budget{MaxCost: core.Credit},
	}, client.SubmitOptions{Wait: 30 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	if r.State != "succeeded" {
		t.Fatalf("%s: %s %+v", r.State, r.Reason, r.NotChosen)
	}
	out, err := c.PartResult(t.Context(), r.ID, 3)
	if err != nil || string(out) != "line 6\nline 7\n" {
		t.Fatalf("part 3: %q, %v", out, err)
	}
	task, err := c.Task(t.Context(), r.ID)
	for range 200 {
		if err != nil || task.Cost.Pending == 0 && task.Cost.Paid > 0 {
			break
		}
		time.Sleep(10 * time.Millisecond)
		task, err = c.Task(t.Context(), r.ID)
	}
	if err != nil || task.Cost.Paid != 10*70_000 {
		t.Fatalf("paid %s, want .70: %v", task.Cost.Paid, err)
	}
	audit, err := c.Audit(t.Context())
	if err != nil || !audit.OK {
		t.Fatalf("audit %+v, %v", audit, err)
	}
	nodes, err := client.Collect(c.Nodes(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range nodes {
		switch n.ID {
		case "bonn-1":
			if n.Passed != 0 || n.Rejected != 10 || n.Earned != 0 {
				t.Errorf("the liar: %+v", n)
			}
		case "ohio-1":
			if n.Passed+n.Rejected != 0 {
				t.Errorf("outside the EU: %+v", n)
			}
		}
	}
}
