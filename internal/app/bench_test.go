package app

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.opentelemetry.io/otel/trace/noop"

	"atoll/api"
	"atoll/client"
	"atoll/examples/wasm"
	"atoll/internal/core"
)

// BenchmarkTasks runs no-op tasks through the HTTP API, 64 in flight, with hub,
// nodes and client in one process: for profiles. "atoll bench tasks" measures
// from another process.
func BenchmarkTasks(b *testing.B) {
	n, err := StartNetwork(b.Context(), HubConfig{Dir: b.TempDir(), Listen: "127.0.0.1:0", Log: slog.New(slog.DiscardHandler), Tracer: noop.NewTracerProvider().Tracer("")},
		[]NodeSpec{spec("a-1", "a", "FR", 1, ""), spec("b-1", "b", "FR", 1, ""), spec("c-1", "c", "FR", 1, "")})
	if err != nil {
		b.Fatal(err)
	}
	defer n.Close()
	c, err := client.New(client.Config{URL: n.Hub.URL, Key: n.Hub.AdminKey})
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Credit(b.Context(), "admin", 1_000_000*core.Credit, "", ""); err != nil {
		b.Fatal(err)
	}
	blob, err := c.PutBlob(b.Context(), wasm.Noop)
	if err != nil {
		b.Fatal(err)
	}
	m, err := c.RegisterModel(b.Context(), client.NewModel{Name: "noop", Engine: "wasm", Digest: blob.Digest})
	if err != nil {
		b.Fatal(err)
	}
	none := &api.TaskSpec{Model: m.ID, Input: []api.DataPointer{client.Inline(nil)}, Budget: &api.Budget{MaxCost: 100}}
	quorum := *none
	quorum.Verification = &api.Verification{Method: "quorum", Replicas: 3}
	one := func(spec *api.TaskSpec) error {
		r, err := c.Submit(b.Context(), spec, client.SubmitOptions{Wait: 30 * time.Second})
		if err == nil && r.State != "succeeded" {
			b.Errorf("%s: %s", r.State, r.Reason)
		}
		return err
	}
	for _, setting := range []struct {
		name     string
		spec     *api.TaskSpec
		inFlight int
	}{{"none/1", none, 1}, {"none/64", none, 64}, {"quorum/64", &quorum, 64}} {
		b.Run(setting.name, func(b *testing.B) {
			var left atomic.Int64
			left.Store(int64(b.N))
			var wg sync.WaitGroup
			for range setting.inFlight {
				wg.Go(func() {
					for left.Add(-1) >= 0 {
						if err := one(setting.spec); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "tasks/s")
		})
	}
}
