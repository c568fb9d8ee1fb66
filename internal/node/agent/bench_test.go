package agent

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"atoll/internal/bus"
	"atoll/internal/core"
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
		sealed := sealLeases(b, now, leases...)
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
