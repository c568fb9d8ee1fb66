package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"

	"atoll/internal/bus"
	"atoll/internal/core"
	"atoll/internal/engine"
	"atoll/internal/node/outbox"
	"atoll/internal/receipt"
)

// BenchmarkLease is what one lease costs a node besides its engine: opening and
// judging the offer, running it through the Core, receipt, signature, durable
// outbox, and the acknowledgement. signed=false leaves out the receipt, disk=false
// the SQLite outbox.
func BenchmarkLease(b *testing.B) {
	for _, batch := range []int{1, 8, 64} {
		for _, with := range []struct{ signed, disk bool }{{false, false}, {true, false}, {true, true}} {
			b.Run(fmt.Sprintf("batch=%d/signed=%v/disk=%v", batch, with.signed, with.disk), func(b *testing.B) {
				benchmarkLease(b, batch, with.signed, with.disk)
			})
		}
	}
}

func benchmarkLease(b *testing.B, batch int, sign, disk bool) {
	cfg := testConfig(&outbox.Memory{})
	cfg.Offer.Slots, cfg.Offer.Queue = batch, 2*batch
	if disk {
		out, err := outbox.Open(outbox.Config{Path: filepath.Join(b.TempDir(), "outbox.db")})
		if err != nil {
			b.Fatal(err)
		}
		defer out.Close()
		cfg.Outbox = out
	}
	if sign {
		signer, err := receipt.NewSigner(hubKey().Signer())
		if err != nil {
			b.Fatal(err)
		}
		if cfg.Signer, err = NewStatements(signer, receipt.Execution{Hub: testHub, Node: testNode, Owner: "olga"}, "FR"); err != nil {
			b.Fatal(err)
		}
	}
	c, err := NewCore(start, cfg)
	if err != nil {
		b.Fatal(err)
	}
	ids := make([]core.LeaseID, batch)
	leases := make([]bus.Lease, batch)
	next, leasesDone := core.LeaseID(0), 0
	now := start
	for b.Loop() {
		b.StopTimer()
		for i := range leases {
			next++
			leases[i], ids[i] = testLease(next), next
			leases[i].Traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
		}
		sealed := sealLeases(b, testBoot, now, leases...)
		b.StartTimer()
		fx, err := c.Lease(now, sealed)
		if err != nil || len(fx.Start) != batch {
			b.Fatal(len(fx.Start), err)
		}
		for _, id := range ids {
			c.Running(now, id)
			c.Done(now, id, Outcome{Data: []byte("result of a part"), Started: now, Finished: now})
		}
		t := c.Take()
		if _, err := c.Committed(now, t, t.Commit()); err != nil {
			b.Fatal(err)
		}
		c.Ack(now, bus.Ack{Leases: ids})
		now = now.Add(time.Millisecond)
		leasesDone += batch
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(leasesDone), "ns/lease")
}

// instant is a link to a hub that acknowledges at once.
type instant struct {
	agent *Agent
	done  chan int
}

func (l *instant) Send(kind string, data []byte, _ string) error {
	if kind != bus.KindReport {
		return nil
	}
	var r struct {
		Results []struct {
			Lease core.LeaseID `json:"lease"`
		} `json:"results"`
	}
	if err := json.Unmarshal(data, &r); err != nil {
		return err
	}
	var ack bus.Ack
	for _, x := range r.Results {
		ack.Leases = append(ack.Leases, x.Lease)
	}
	b, err := json.Marshal(ack)
	go func() {
		l.agent.Handle(bus.Inbound{Kind: bus.KindAck, Data: b})
		l.done <- len(ack.Leases)
	}()
	return err
}

// BenchmarkAgent is a whole agent with its goroutines, outbox on disk and an
// engine that does nothing; the hub's work (sealing) is in it too.
func BenchmarkAgent(b *testing.B) {
	const batch, ahead = 16, 128
	r := &rig{t: &testing.T{}, engine: &upper{}, models: map[core.Digest][]byte{core.DigestOf([]byte("upper")): []byte("upper")}}
	hub := httptest.NewServer(http.HandlerFunc(r.serve))
	defer hub.Close()
	out, err := outbox.Open(outbox.Config{Path: filepath.Join(b.TempDir(), "outbox.db")})
	if err != nil {
		b.Fatal(err)
	}
	defer out.Close()
	cfg, err := benchAgent(b, hub, out)
	if err != nil {
		b.Fatal(err)
	}
	cfg.Engines = []engine.Engine{r.engine}
	a, err := New(cfg)
	if err != nil {
		b.Fatal(err)
	}
	link := &instant{agent: a, done: make(chan int, 1024)}
	ctx, cancel := context.WithCancel(b.Context())
	ran := make(chan error, 1)
	go func() { ran <- a.Run(ctx, link) }()
	next, open := core.LeaseID(0), 0
	b.ResetTimer()
	for range b.N {
		leases := make([]bus.Lease, batch)
		for i := range leases {
			next++
			leases[i] = r.lease(next, "upper", "hello")
		}
		a.Handle(bus.Inbound{Kind: bus.KindLease, Data: sealLeases(b, a.cfg.Core.Boot, time.Now(), leases...)})
		for open += batch; open > ahead; {
			open -= <-link.done
		}
	}
	for open > 0 {
		open -= <-link.done
	}
	b.ReportMetric(float64(b.N*batch)/b.Elapsed().Seconds(), "leases/s")
	cancel()
	if err := <-ran; err != nil {
		b.Fatal(err)
	}
}

func benchAgent(b *testing.B, hub *httptest.Server, out Outbox) (cfg Config, err error) {
	if cfg.HTTP, err = NewHubHTTP(hub.URL, "the-key", hub.Client()); err != nil {
		return cfg, err
	}
	cfg.Models = testModels(b, cfg.HTTP)
	signer, err := receipt.NewSigner(hubKey().Signer())
	if err != nil {
		return cfg, err
	}
	cfg.Core = testConfig(out)
	cfg.Core.Offer.Queue, cfg.Log = 1024, quiet
	cfg.Core.Signer, err = NewStatements(signer, receipt.Execution{Hub: testHub, Node: testNode, Owner: "olga"}, "FR")
	return cfg, err
}
