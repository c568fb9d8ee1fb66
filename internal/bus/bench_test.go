// The CPU clock below is Unix.
//go:build unix

package bus

import (
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// BenchmarkRoundTrip is what one message each way costs, both ends and the
// server included, with many under way: ns/op is elapsed, cpu-ns/op is the
// process's.
func BenchmarkRoundTrip(b *testing.B) {
	const window = 256
	for _, tt := range []struct {
		name  string
		local bool
		size  int
		trace string
	}{
		{"in-process/512B", true, 512, ""},
		{"in-process/512B+trace", true, 512, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
		{"tcp/512B", false, 512, ""},
		{"tcp/512B+trace", false, 512, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
		{"tcp/16KiB", false, 16 << 10, ""},
	} {
		b.Run(tt.name, func(b *testing.B) {
			s := startServer(b, nil)
			h := connectHub(b, s)
			cfg := overTCP(b, s, "a")
			if tt.local {
				cfg.InProcess = s
			}
			var n *NodeConn
			tokens := make(chan struct{}, window)
			if err := h.Subscribe(func(Inbound) { tokens <- struct{}{} }); err != nil {
				b.Fatal(err)
			}
			n, err := ConnectNode(cfg)
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(n.Close)
			var failed atomic.Int64
			if err := n.Subscribe(func(m Inbound) {
				if n.Send(KindReport, m.Data, m.Traceparent) != nil {
					failed.Add(1)
				}
			}); err != nil {
				b.Fatal(err)
			}
			data := make([]byte, tt.size)
			ready(b, h, tokens, data)
			b.ReportAllocs()
			before := cpuTime(b)
			b.ResetTimer()
			for i := range b.N {
				if i >= window {
					<-tokens
				}
				if err := h.Send("a", KindLease, data, tt.trace); err != nil {
					b.Fatal(err)
				}
			}
			for range min(window, b.N) {
				<-tokens
			}
			b.StopTimer()
			b.ReportMetric(float64(cpuTime(b)-before)/float64(b.N), "cpu-ns/op")
			if failed.Load() > 0 {
				b.Fatal("sends failed")
			}
		})
	}
}

// ready sends until an answer has come, and waits until no second one does.
func ready(b *testing.B, h *HubConn, tokens <-chan struct{}, data []byte) {
	b.Helper()
	sent, got := 0, 0
	for got == 0 || got < sent {
		if got == 0 {
			if err := h.Send("a", KindLease, data, ""); err != nil {
				b.Fatal(err)
			}
			sent++
		}
		select {
		case <-tokens:
			got++
		case <-time.After(20 * time.Millisecond):
			if got > 0 {
				return // the first ones were sent before anybody listened
			}
		}
	}
}

func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkLatency is one message each way with nothing else under way.
func BenchmarkLatency(b *testing.B) {
	for name, local := range map[string]bool{"in-process": true, "tcp": false} {
		b.Run(name, func(b *testing.B) {
			s := startServer(b, nil)
			h := connectHub(b, s)
			cfg := overTCP(b, s, "a")
			if local {
				cfg.InProcess = s
			}
			tokens := make(chan struct{}, 1024)
			if err := h.Subscribe(func(Inbound) { tokens <- struct{}{} }); err != nil {
				b.Fatal(err)
			}
			n, err := ConnectNode(cfg)
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(n.Close)
			if err := n.Subscribe(func(m Inbound) { _ = n.Send(KindReport, m.Data, "") }); err != nil {
				b.Fatal(err)
			}
			data := make([]byte, 512)
			ready(b, h, tokens, data)
			for b.Loop() {
				if err := h.Send("a", KindLease, data, ""); err != nil {
					b.Fatal(err)
				}
				<-tokens
			}
		})
	}
}
