package node

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"atoll/internal/bus"
	"atoll/internal/core"
	"atoll/internal/peer"
	"atoll/internal/peer/echo"
	"atoll/internal/peer/relay"
	"atoll/internal/shard/charter"
)

// stream is a connection with somebody's name.
type stream struct {
	net.Conn
	of peer.Peer
}

func (s stream) Peer() peer.Peer { return s.of }

// Nodes measure the ways to their fellows, those alone to whom the name gives it, which
// can be dialled and which the hub has told of, and again when that was long ago.
func TestWays(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		address := func(name string, at ...string) peer.Address {
			return peer.Address{Node: core.NodeID(name), Key: core.DigestOf([]byte(name)), At: at}
		}
		me := address("m", "m:1")
		f := &fellows{lines: map[charter.ID]*fellowship{}, now: time.Now}
		say := func(nodes ...peer.Address) {
			c := &charter.Charter{Line: charter.ID{1}, SealedMs: time.Now().UnixMilli(), TTLMs: 1 << 40}
			for _, n := range nodes {
				c.Stages = append(c.Stages, charter.Stage{Node: n})
			}
			f.told(c)
		}
		net := peer.NewMemory()
		far, deaf := address("x", "x:1"), address("z", "z:1")
		net.Line("m", "x", peer.Conditions{RTT: 10 * time.Millisecond, Bandwidth: 100_000_000})
		l, err := net.Listen("x")
		if err != nil {
			t.Fatal(err)
		}
		their := &fellows{lines: map[charter.ID]*fellowship{{1}: {&charter.Charter{Stages: []charter.Stage{{Node: me}}}, time.Now().Add(1 << 60)}}, now: time.Now}
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				their.answer(t.Context(), stream{c, peer.Peer{Node: me.Node, Key: me.Key}})
				_ = c.Close()
			}
		}()
		var asked []core.NodeID
		w := &ways{self: me.Node, fellows: f, log: slog.New(slog.DiscardHandler), open: func(ctx context.Context, to peer.Address, protocol string) (peer.Stream, error) {
			if asked = append(asked, to.Node); to.Node != far.Node || protocol != echo.Protocol {
				return nil, peer.ErrUnreachable
			}
			c, err := net.Dialler("m")(ctx, "x")
			return stream{c, peer.Peer{}}, err
		}}
		ctx, stop := context.WithCancel(t.Context())
		var known []bus.Way
		done := make(chan struct{})
		go func() { defer close(done); w.run(ctx, func(all []bus.Way) { known = all }) }()
		say(me, address("a", "a:1"), far, address("y", relay.Address("y")), deaf)
		time.Sleep(time.Minute)
		if len(known) != 1 || known[0].Node != "x" || known[0].RTTMicros < 10_000 || known[0].RTTMicros > 11_000 || known[0].Bandwidth < 90_000_000 || known[0].Bandwidth > 110_000_000 {
			t.Errorf("%+v", known)
		}
		if !slices.Equal(asked, []core.NodeID{"x", "z"}) {
			t.Errorf("asked: %v", asked)
		}
		time.Sleep(2 * time.Hour)
		if n := len(asked); n < 4 || n > 40 {
			t.Errorf("asked after two hours: %v", asked)
		}
		stop()
		<-done
		_ = l.Close()
	})
}

// Who is no fellow has nothing measured.
func TestWaysAreForFellows(t *testing.T) {
	t.Parallel()
	f := &fellows{lines: map[charter.ID]*fellowship{}, now: time.Now}
	a, b := net.Pipe()
	go func() {
		f.answer(t.Context(), stream{b, peer.Peer{Node: "stranger"}})
		_ = b.Close()
	}()
	if w, err := echo.Measure(t.Context(), a); err == nil || errors.Is(err, context.Canceled) {
		t.Errorf("%+v, %v", w, err)
	}
}
