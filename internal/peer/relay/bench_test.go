package relay_test

import (
	"context"
	"io"
	"net"
	"testing"

	"atoll/internal/peer"
	"atoll/internal/peer/relay"
)

// A small message there and back, and many bytes one way, over loopback: dialled directly,
// and relayed by a hub, with TLS from node to node; and with TLS to the hub besides.
func BenchmarkRelay(b *testing.B) {
	b.Run("direct", func(b *testing.B) {
		h := newHub(b, nil)
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		benchmark(b, h, l, l.Addr().String())
	})
	for _, way := range []struct {
		name  string
		plain bool
	}{{"relayed", false}, {"relayed by a plain hub", true}} {
		b.Run(way.name, func(b *testing.B) {
			h := startHub(b, way.plain, nil)
			l := h.client("far").Listen()
			until(b, "the node is not attached", l.Attached)
			benchmark(b, h, l, relay.Address("far"))
		})
	}
}

// benchmark measures between a node that serves a listener and one that dials it.
func benchmark(b *testing.B, h *hub, l net.Listener, at string) {
	drain := func(_ context.Context, s peer.Stream) { _, _ = io.Copy(io.Discard, s) }
	far := h.endpoint("far", peer.Config{Handlers: map[string]peer.Handler{"echo": echo, "drain": drain}})
	far.address.At = []string{at}
	go func() { _ = far.Serve(l) }()
	near := h.endpoint("near", peer.Config{Dial: h.client("near").Dialler(func(ctx context.Context, at string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", at)
	})})
	b.Run("there and back", func(b *testing.B) {
		s := open(b, near, far, "echo")
		say(b, s, "near", nil)
		buf := make([]byte, 2304)
		for b.Loop() {
			if _, err := s.Write(buf); err != nil {
				b.Fatal(err)
			}
			if _, err := io.ReadFull(s, buf); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("one way", func(b *testing.B) {
		s := open(b, near, far, "drain")
		buf := make([]byte, 64<<10)
		b.SetBytes(int64(len(buf)))
		for b.Loop() {
			if _, err := s.Write(buf); err != nil {
				b.Fatal(err)
			}
		}
	})
}
